"""`turnkeep sessions`: look into the configured store, change it, move conversations in and out."""

from __future__ import annotations

from typing import Any

from turnkeep.cli.sessions import amend, copy, look, transfer


def register(commands: Any) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser("sessions", help="look at, change, import and export sessions")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in (look, transfer, copy, amend):
        module.register(actions)
