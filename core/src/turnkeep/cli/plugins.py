"""`turnkeep plugins`: what is installed, what it offers, and what is wrong with it."""

from __future__ import annotations

import argparse
from typing import Any


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("plugins", help="list the plugins and what they offer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.table import table
    from turnkeep.plugins import Plugins

    found = Plugins().found
    if args.json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "offers": list(plugin.offers),
                "problem": plugin.problem,
            }
            for plugin in found
        ]
        print(json.dumps({"plugins": rows}, indent=2))
        return 0
    print(
        table(
            ("PLUGIN", "FROM", "OFFERS"),
            [
                (
                    plugin.name,
                    f"{plugin.distribution} {plugin.version}".strip(),
                    f"cannot be used: {plugin.problem}"
                    if plugin.problem
                    else ", ".join(plugin.offers),
                )
                for plugin in found
            ],
        )
    )
    return 0
