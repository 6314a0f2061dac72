"""Listing and searching, composed by SQLAlchemy from `schema.py`; imported by the first such call.

What they compose is kept, so that only the first call of its kind takes the time.
"""

from __future__ import annotations

import base64
import binascii
import json
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, literal_column, or_, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import Select

from turnkeep.store import Page, check_id
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.rows import Row, row_of
from turnkeep_session_postgres.schema import tables
from turnkeep_session_postgres.statements import COLUMNS, quoted
from turnkeep_session_postgres.values import INT8, TEXT, Statement, Value, int8, text

MOST_ROWS: Final = 2**31
"""Rows; a larger limit is no limit."""

STAND_IN: Final = "the schema"
"""Stands for the schema while a query is composed: in its own name, SQLAlchemy would take a
%(name)s for a parameter."""

_DIALECT: Final[Any] = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy's
_TYPES: Final = {
    "user": TEXT,
    "after": TEXT,
    "query": TEXT,
    "created": INT8,
    "seq": INT8,
    "rows": INT8,
}


async def list_page(
    link: Link,
    schema: str,
    clock: str,
    *,
    user_id: str | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """Read one page of live sessions, newest created first, then by id."""
    limit = min(limit, MOST_ROWS)
    values: dict[str, Value] = {"rows": int8(limit + 1), "user": text(user_id)}
    if cursor is not None:
        created, after = parsed_cursor(cursor)
        values |= {"created": int8(created), "after": text(after)}
    statement, names = listing(
        schema, clock, of_user=user_id is not None, continued=cursor is not None
    )
    result = await link.run(statement, [values[name] for name in names])
    rows = [row_of(result, each) for each in range(min(result.ntuples, limit))]
    more = result.ntuples > limit
    return Page([row.head() for row in rows], _cursor(rows[-1]) if more else None)


@cache
def listing(
    schema: str, clock: str, *, of_user: bool, continued: bool
) -> tuple[Statement, tuple[str, ...]]:
    """Give the statement of a listing, and the names of its parameters in their order."""
    table = tables(STAND_IN).session.c
    query = select(*(table[name.strip()] for name in COLUMNS.split(",")))
    now: Any = literal_column(clock, BigInteger)
    query = query.where(or_(table.expires_ms.is_(None), table.expires_ms > now))
    if of_user:
        query = query.where(table.user_id == bindparam("user"))
    if continued:
        # The first term alone bounds the walk along the index; the second settles equal times.
        created = bindparam("created", type_=BigInteger)
        query = query.where(
            table.created_ms <= created,
            or_(table.created_ms < created, table.id > bindparam("after")),
        )
    query = query.order_by(table.created_ms.desc(), table.id)
    return compiled(query.limit(bindparam("rows", type_=BigInteger)), schema)


def compiled(query: Select[Any], schema: str) -> tuple[Statement, tuple[str, ...]]:
    """Compile a query for the protocol: $1, $2, and the names that stand for them.

    The query has `STAND_IN` for the schema.
    """
    made: Any = query.compile(dialect=_DIALECT)
    names = tuple(dict.fromkeys(made.positiontup))
    said = str(made).replace(quoted(STAND_IN), quoted(schema))
    return Statement(said, *(_TYPES[name] for name in names)), names


def _cursor(row: Row) -> str:
    text = json.dumps([row.created, row.id], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode()


def parsed_cursor(cursor: str) -> tuple[int, str]:
    """Read what `list` gave. Raises ValueError for anything else."""
    try:
        created, session_id = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        if type(created) is int and abs(created) < 2**63:
            return created, check_id(session_id)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    raise ValueError(f"{cursor!r} is no cursor of this store: pass one that `list` returned")
