"""`turnkeep chat`: talk to a model in the terminal, in a session that is kept."""

from __future__ import annotations

import argparse
from typing import Any


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "chat",
        help="talk to a model, in a session that is kept",
        description="Talk to the model of the configuration, or to --model. Each thing said is "
        "kept as it is said: leave whenever you like, and go on tomorrow. /help lists the "
        "commands; Ctrl-C stops an answer, Ctrl-D leaves.",
    )
    parser.add_argument("--config", metavar="TOML", help="default: the turnkeep.toml found")
    parser.add_argument("--session", metavar="ID", default="chat", help='default: "chat"')
    parser.add_argument(
        "--model", metavar="ID", help='such as openai/gpt-4o-mini or "local:smollm2"'
    )
    parser.add_argument("--instructions", metavar="TEXT", default="", help="what the model is told")
    parser.add_argument(
        "--tools",
        metavar="MODULE",
        action="append",
        default=[],
        help="a Python module or file: every tool in it may be called; may be repeated",
    )
    parser.add_argument("--max-steps", metavar="N", type=int, default=20, help="default: 20")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from turnkeep.cli.chat.talk import talk

    return talk(args)
