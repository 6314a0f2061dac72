"""Opening the store: what the server is, and whether the tables are there or may be made."""

from __future__ import annotations

from typing import Final

from turnkeep.errors import StoreError
from turnkeep_session_postgres.faults import ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.versions import (
    SEARCH,
    Server,
    bring_up,
    found_versions,
    look_at_server,
    missing,
)

_NO_RIGHT: Final = "42501"


async def prepare(options: PostgresOptions, place: str, link: Link, _: bool) -> tuple[Server, bool]:
    """Look at the server and its tables; gives whether texts are kept there, too."""
    schema, search = options.db_schema, options.search
    server = await look_at_server(link, place)
    found = await found_versions(link, schema)
    if todo := missing(found, schema, place, search=search):
        hint = "python -m turnkeep_session_postgres ddl" + (" --search" if SEARCH in todo else "")
        if not options.create_schema:
            raise StoreError(
                f"{place}: the tables for {' and '.join(todo)} in schema {schema!r} are missing or "
                f"old, and create_schema = false: run what `{hint}` prints"
            )
        try:
            await bring_up(link, schema, place, search=search)
        except ServerError as error:
            if error.sqlstate != _NO_RIGHT:
                raise
            raise StoreError(
                f"{place}: the user may not make the tables in schema {schema!r} ({error}): GRANT "
                f"CREATE, or let an administrator run what `{hint}` prints"
            ) from None
    return server, search or SEARCH in found
