"""`python -m turnkeep_model_local serve`: one model for several programs, over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from turnkeep.errors import TurnkeepError
from turnkeep_model_local.client import LocalModel
from turnkeep_model_local.weights import SMOLLM2

KEY: str = "TURNKEEP_LOCAL_API_KEY"
"""The environment variable with the key to ask for; no key is asked for without it."""


async def serve(args: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; the first line printed is the address."""
    model = LocalModel(
        args.model,
        port=args.port,
        slots=args.slots,
        context_window=args.context_window,
        max_output=args.max_output,
        threads=args.threads,
        quiet=not args.verbose,
        api_key=os.environ.get(KEY, ""),
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with model:
        print(model.url, flush=True)
        print(f"{model.model_id}: {model.limits.context_window} tokens, {args.slots} calls at once")
        print(f"key: {'of ' + KEY if model.api_key else 'none'}; stop with Ctrl+C", flush=True)
        await stop.wait()


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m turnkeep_model_local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("serve", help="serve a model on 127.0.0.1 as OpenAI's API")
    command.add_argument("--model", default=SMOLLM2, help="a GGUF file (default: smollm2)")
    command.add_argument("--port", type=int, default=0, help="default: any that is free")
    command.add_argument("--slots", type=int, default=2, help="calls at once (default: 2)")
    command.add_argument("--context-window", type=int, default=4096, help="tokens of each call")
    command.add_argument("--max-output", type=int, default=512, help="tokens of an answer")
    command.add_argument(
        "--threads", type=int, default=None, help="default: half of the processors"
    )
    command.add_argument("--verbose", action="store_true", help="show llama.cpp's log")
    args = parser.parse_args()
    try:
        asyncio.run(serve(args))
    except TurnkeepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
