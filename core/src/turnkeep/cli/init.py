"""`turnkeep init`: a commented turnkeep.toml to start from."""

from __future__ import annotations

import argparse
from typing import Any


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init",
        help="write a commented turnkeep.toml",
        description="Write a commented turnkeep.toml from the options of the installed plugins. "
        "With a turnkeep.schema.json beside it, its first line names that for editors.",
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", default="turnkeep.toml", help="default: turnkeep.toml"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from turnkeep.cli.files import whole_file
    from turnkeep.config.template import template
    from turnkeep.errors import TurnkeepError
    from turnkeep.plugins import Plugins

    file = Path(args.file)
    if args.file != "-" and file.exists() and not args.force:
        raise TurnkeepError(f"{file} is there already; --force writes over it")
    beside = file.with_name("turnkeep.schema.json")
    text = template(Plugins(), schema=f"./{beside.name}" if beside.is_file() else None)
    with whole_file(args.file) as out:
        out.write(text)
    if args.file != "-":
        print(f"{file} is written; next: turnkeep check")
    return 0
