"""From any earlier schema to the current one: ordered, small, each safe to repeat.

A version is the number of steps done, kept in the table `schema_version`. All steps run in one
transaction with the change of the version. Rules for a new step: append it to the component's
tuple, change `schema.py` alike, and let it do nothing where its change is there already, since step
1 makes the newest tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from turnkeep_session_postgres.schema import FILLFACTOR, Tables, tables
from turnkeep_session_postgres.statements import quoted
from turnkeep_session_postgres.versions import SEARCH, SESSIONS, VERSIONS

Step = Callable[[Tables], Iterator[str]]
"""Gives the statements of a step."""


def m001_sessions(made: Tables) -> Iterator[str]:
    """Create the tables and indexes."""
    yield from _create(made.session)
    yield f"ALTER TABLE {_name(made.session)} SET (fillfactor = {FILLFACTOR})"
    yield from _create(made.state)
    yield from _create(made.record)


def m001_search(made: Tables) -> Iterator[str]:
    """Create the table of texts."""
    yield from _create(made.record_text)


def m002_search(made: Tables) -> Iterator[str]:
    """Give texts the incarnation of their session; those without a session go."""
    texts, session = _name(made.record_text), _name(made.session)
    yield f"ALTER TABLE {texts} ADD COLUMN IF NOT EXISTS incarnation bytea"
    yield f"DELETE FROM {texts} WHERE session_id NOT IN (SELECT id FROM {session})"  # noqa: S608  # quoted names
    yield (
        f"UPDATE {texts} AS t SET incarnation = s.incarnation FROM {session} AS s"  # noqa: S608
        " WHERE s.id = t.session_id AND t.incarnation IS NULL"
    )
    yield f"ALTER TABLE {texts} DROP CONSTRAINT IF EXISTS record_text_pkey"
    yield f"ALTER TABLE {texts} ADD PRIMARY KEY (session_id, incarnation, seq)"


STEPS: Final[dict[str, tuple[Step, ...]]] = {
    SESSIONS: (m001_sessions,),
    SEARCH: (m001_search, m002_search),
}


def beginning(schema: str) -> Iterator[str]:
    """Give what makes the table of versions, in a schema that is there."""
    yield from _create(tables(schema).schema_version)


def steps(schema: str, component: str, done: int) -> Iterator[str]:
    """Give the statements that bring a component from version `done` to the current one."""
    made = tables(schema)
    for step in STEPS[component][done:]:
        yield from step(made)
    version = VERSIONS[component]
    yield (
        f"INSERT INTO {_name(made.schema_version)}"  # noqa: S608  # a quoted name, and constants
        f" (component, version) VALUES ('{component}', {version})"
        f" ON CONFLICT (component) DO UPDATE SET version = {version}"
    )


def script(schema: str, *, search: bool) -> str:
    """Write all that a new database needs, for whoever may run it."""
    statements = [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}",
        *beginning(schema),
        *steps(schema, SESSIONS, 0),
    ]
    if search:
        statements += steps(schema, SEARCH, 0)
    return "".join(f"{each};\n" for each in ["BEGIN", *statements, "COMMIT"])


def _create(table: Table) -> Iterator[str]:
    # Named, since others have % doubled in names, as for a driver that halves it again.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    yield str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)).strip()
    for index in sorted(table.indexes, key=lambda each: each.name or ""):
        yield str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)).strip()


def _name(table: Table) -> str:
    assert table.schema is not None
    return f"{quoted(table.schema)}.{quoted(table.name)}"
