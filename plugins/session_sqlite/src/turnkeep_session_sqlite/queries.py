"""Listing, composed by SQLAlchemy from `schema.py`; imported by the first call that lists."""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import INTEGER, bindparam, or_, select
from sqlalchemy.dialects import sqlite

from turnkeep.store import Page
from turnkeep_session_sqlite.rows import Row
from turnkeep_session_sqlite.schema import SESSION
from turnkeep_session_sqlite.statements import HEAD_COLUMNS

_MOST: Final = 2**31
"""Rows; a larger limit is no limit."""


def list_page(
    connection: sqlite3.Connection, user_id: str | None, limit: int, cursor: str | None, now: int
) -> Page:
    """Read one page of live sessions, newest created first, then by id."""
    limit = min(limit, _MOST)
    values: dict[str, Any] = {"now": now, "rows": limit + 1, "user": user_id}
    if cursor is not None:
        values["created"], values["after"] = _parse_cursor(cursor)
    statement, constants = compiled(of_user=user_id is not None, continued=cursor is not None)
    found = connection.execute(statement, constants | values)
    rows = [Row(*each) for each in found]
    more = len(rows) > limit
    del rows[limit:]
    return Page([row.head() for row in rows], _cursor(rows[-1]) if more else None)


@lru_cache
def compiled(*, of_user: bool, continued: bool) -> tuple[str, dict[str, Any]]:
    """Give the text of a listing, and the parameters that SQLAlchemy adds to it."""
    table = SESSION.c
    query = select(*(table[name.strip()] for name in HEAD_COLUMNS.split(",")))
    query = query.where(or_(table.expires_ms.is_(None), table.expires_ms > bindparam("now")))
    if of_user:
        query = query.where(table.user_id == bindparam("user"))
    if continued:
        # The first term alone bounds the walk along the index; the second settles equal times.
        created = bindparam("created", type_=INTEGER)
        query = query.where(
            table.created_ms <= created,
            or_(table.created_ms < created, table.id > bindparam("after")),
        )
    query = query.order_by(table.created_ms.desc(), table.id).limit(bindparam("rows"))
    made = query.compile(dialect=sqlite.dialect(paramstyle="named"))
    return str(made), dict(made.params or {})


def _cursor(row: Row) -> str:
    text = json.dumps([row.created, row.id], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode()


def _parse_cursor(cursor: str) -> tuple[int, str]:
    try:
        created, session_id = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        if type(created) is int and type(session_id) is str and abs(created) < 2**63:
            return created, session_id
    except (ValueError, TypeError, binascii.Error):
        pass
    raise ValueError(f"{cursor!r} is no cursor of this store: pass one that `list` returned")
