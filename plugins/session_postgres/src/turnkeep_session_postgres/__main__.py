"""Prints the DDL: `python -m turnkeep_session_postgres ddl [--schema NAME] [--search]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what an administrator runs where a program may make no tables."""
    parser = argparse.ArgumentParser(
        prog="python -m turnkeep_session_postgres",
        description="Tables for turnkeep's sessions in PostgreSQL.",
    )
    commands = parser.add_subparsers(required=True)
    ddl = commands.add_parser("ddl", help="print the SQL that makes the tables")
    ddl.add_argument("--schema", default="turnkeep", help="where; default: turnkeep")
    ddl.add_argument("--search", action="store_true", help="with the table for search = true")
    given = parser.parse_args(arguments)

    from turnkeep_session_postgres.migrations import script

    sys.stdout.write(script(given.schema, search=given.search))


if __name__ == "__main__":
    main()
