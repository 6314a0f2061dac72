"""`turnkeep schema`: the JSON Schema of turnkeep.toml, for editors and linters."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of turnkeep.toml",
        description="Print the JSON Schema of turnkeep.toml over core and the installed plugins, "
        "for editors and linters. The same plugins give the same text.",
    )
    parser.add_argument("--output", metavar="FILE", default="-", help="default: standard output")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.files import whole_file
    from turnkeep.config.schema import schema
    from turnkeep.plugins import Plugins

    made, problems = schema(Plugins())
    with whole_file(args.output) as out:
        out.write(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    for problem in problems:
        print(f"turnkeep: {problem}; any key passes there: tell its author", file=sys.stderr)
    return 0
