"""Opening a database: what it is, whether its tables are ours, and making or migrating them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from turnkeep.errors import StoreError
from turnkeep.store import Durability
from turnkeep_session_postgres.calls import transaction
from turnkeep_session_postgres.faults import DUPLICATE, ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.statements import quoted
from turnkeep_session_postgres.values import INT8, TEXT, Statement, int8, text, to_int

SESSIONS: Final = "sessions"
SEARCH: Final = "search"
VERSIONS: Final = {SESSIONS: 1, SEARCH: 2}
"""The current version of each component: how many steps `migrations.py` has for it."""

TABLES: Final = {SESSIONS: ("session", "state", "record"), SEARCH: ("record_text",)}
"""The names that each component takes in the schema."""

MIGRATING: Final = 3600.0
"""Seconds that a statement of a migration may take."""
TRIES: Final = 20
"""How often tables are tried to be made while others make the same ones."""

_LOCK: Final = 0x7475726E_6B656570
"""The number of the advisory lock: ASCII for turnkeep."""
_NO_FUNCTION: Final = frozenset({"42883", "0A000"})

_SERVER: Final = Statement(
    "SELECT current_setting('synchronous_commit', true), current_setting('fsync', true),"
    " current_setting('full_page_writes', true), current_setting('server_encoding', true)"
)
_FIND: Final = Statement("SELECT to_regclass($1) IS NOT NULL", TEXT)
_FIND_SCHEMA: Final = Statement(
    "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1", TEXT
)


class Server(NamedTuple):
    """What a server says of its durability."""

    durability: Durability
    warnings: tuple[str, ...]


async def look_at_server(link: Link, place: str) -> Server:
    """Ask what an append that has returned survives there.

    Raises StoreError for a database that cannot hold every text.
    """
    result = await link.run(_SERVER, ())
    commit, fsync, pages, encoding = (
        (result.get_value(0, column) or b"").decode() for column in range(4)
    )
    if encoding not in {"", "UTF8"}:
        raise StoreError(
            f"{place}: the database has the encoding {encoding}, and ids and texts need UTF8: make "
            "one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0. Nothing was changed"
        )
    warnings = []
    if fsync == "off":
        warnings.append("fsync is off: a loss of power may take or damage everything")
    if pages == "off":
        warnings.append("full_page_writes is off: a loss of power may damage pages")
    if commit == "off":
        warnings.append("synchronous_commit is off: a crash of the server takes the last appends")
    safe = commit not in {"", "off"} and fsync == "on"
    return Server("power" if safe else "process", tuple(warnings))


async def found_versions(link: Link, schema: str) -> dict[str, int]:
    """Give the version of each component that is there."""
    table = f"{quoted(schema)}.schema_version"
    if (await link.run(_FIND, (text(table),))).get_value(0, 0) != b"\1":
        return {}
    select = f"SELECT component, version FROM {table}"  # noqa: S608  # a quoted name
    result = await link.run(Statement(select), ())
    rows = range(result.ntuples)
    return {
        (result.get_value(row, 0) or b"").decode(): to_int(result.get_value(row, 1) or b"")
        for row in rows
    }


def missing(found: dict[str, int], schema: str, place: str, *, search: bool) -> list[str]:
    """Name the components that are to be made or migrated. Raises StoreError for a newer one."""
    wanted = [SESSIONS, *([SEARCH] if search or SEARCH in found else [])]
    for component in wanted:
        if found.get(component, 0) > VERSIONS[component]:
            raise StoreError(
                f"{place}: the tables in schema {schema!r} have version {found[component]}, and "
                f"this turnkeep-session-postgres knows versions up to {VERSIONS[component]}: "
                "install a newer one. Nothing was changed"
            )
    return [each for each in wanted if found.get(each, 0) < VERSIONS[each]]


async def bring_up(link: Link, schema: str, place: str, *, search: bool) -> None:
    """Make or migrate the tables, together with whoever else does so at this moment.

    Raises StoreError for a newer schema, ServerError for a lack of rights.
    """
    for tries in range(TRIES):
        try:
            async with transaction(link):
                await _migrate(link, schema, place, search=search)
        except ServerError as error:
            # Without the lock (not every database has it) others may have made the same table.
            if error.sqlstate not in DUPLICATE or tries == TRIES - 1:
                raise
        else:
            return


async def _migrate(link: Link, schema: str, place: str, *, search: bool) -> None:
    # SQLAlchemy, a second of CPU: only in the process that makes the tables.
    from turnkeep_session_postgres import migrations

    await _run(link, [f"SET LOCAL statement_timeout = {MIGRATING * 1000:.0f}"])
    if await _has_locks(link):
        lock = Statement("SELECT pg_advisory_xact_lock($1)", INT8)
        await link.run(lock, (int8(_LOCK),), within=MIGRATING)
    there = await link.run(_FIND_SCHEMA, (text(schema),))
    if to_int(there.get_value(0, 0) or b"") == 0:  # else the right to make it would be asked for
        await _run(link, [f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"])
    found = await found_versions(link, schema)
    todo = missing(found, schema, place, search=search)
    await _refuse_others(link, schema, place, [each for each in todo if each not in found])
    if not found:
        await _run(link, migrations.beginning(schema))
    for component in todo:
        await _run(link, migrations.steps(schema, component, found.get(component, 0)))


async def _refuse_others(link: Link, schema: str, place: str, new: Iterable[str]) -> None:
    """Raise StoreError for a table of somebody else under a name of ours."""
    for component in new:
        for name in TABLES[component]:
            table = text(f"{quoted(schema)}.{name}")
            if (await link.run(_FIND, (table,))).get_value(0, 0) != b"\1":
                continue
            # Without the lock, it may have been made just now by a process like this one.
            if component not in await found_versions(link, schema):
                raise StoreError(
                    f"{place}: schema {schema!r} has a table {name!r} that is not this store's: "
                    "say another schema in [session.postgres]. Nothing was changed"
                )


async def _has_locks(link: Link) -> bool:
    find = Statement("SELECT count(*) FROM pg_catalog.pg_proc WHERE proname = $1", TEXT)
    result = await link.run(find, (text("pg_advisory_xact_lock"),))
    return to_int(result.get_value(0, 0) or b"") > 0


async def _run(link: Link, statements: Iterable[str]) -> None:
    for each in statements:
        await link.run(Statement(each), (), within=MIGRATING)
