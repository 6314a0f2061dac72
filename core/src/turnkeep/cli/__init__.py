"""The command line. Each command is a module with `register` (its options) and what it runs.

Only argparse is imported to show help: what a command needs, it imports when it runs.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from turnkeep import __version__
from turnkeep.cli import chat, check, init, plugins, replay, schema, sessions, tokens


def build_parser() -> argparse.ArgumentParser:
    """Put the commands together."""
    parser = argparse.ArgumentParser(
        prog="turnkeep", description="Keep an LLM agent's turns: sessions, counts, replay."
    )
    parser.add_argument("--version", action="version", version=f"turnkeep {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show a traceback when something fails"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (chat, sessions, replay, tokens, init, check, schema, plugins):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    _prepare_output()
    args = build_parser().parse_args(argv)
    from turnkeep.errors import ConfigError, PluginError, TurnkeepError

    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing to say, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (TurnkeepError, OSError) as error:
        if args.debug:
            raise
        for line in str(error).split("\n"):
            print(f"turnkeep: {line}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | PluginError) else 1
    return code


def _prepare_output() -> None:
    """Make output the same everywhere: UTF-8 into files and pipes, and never an error on a screen.

    The locale would otherwise decide whether an export can be read back.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # until the end
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None:
        return
    if sys.stdout.isatty():
        reconfigure(errors="backslashreplace")
    else:
        reconfigure(encoding="utf-8", newline="\n")
