"""The steps that bring a file to the current schema: ordered, small, each safe to repeat.

The version is the number of steps done, kept in PRAGMA user_version
(https://sqlite.org/pragma.html#pragma_user_version). A step runs inside one transaction with all
others and the change of the version, so a file is never between two versions. Rules for a new
step: append it to MIGRATIONS, raise `files.SCHEMA_VERSION`, change `schema.py` alike, and let it do
nothing where its change is there already, since step 1 makes the newest tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from turnkeep_session_sqlite.schema import METADATA

Migration = Callable[[sqlite3.Connection], None]


def m001_sessions_and_events(connection: sqlite3.Connection) -> None:
    """Create the tables and indexes."""
    dialect = sqlite.dialect()
    for table in METADATA.sorted_tables:
        connection.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        for index in sorted(table.indexes, key=lambda each: each.name or ""):
            connection.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)))


MIGRATIONS: Final[tuple[Migration, ...]] = (m001_sessions_and_events,)


def migrate(connection: sqlite3.Connection, version: int) -> int:
    """Run the steps after `version` in the caller's transaction; returns the new version."""
    for step in MIGRATIONS[version:]:
        step(connection)
    return len(MIGRATIONS)
