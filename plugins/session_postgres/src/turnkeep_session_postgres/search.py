"""Searching the texts of messages; imported by the first call that searches.

A hit is a record whose text has all the words of the query, as whole words and in any case; words
in quotes follow each other, `-word` excludes, `or` is either. Words are taken as they are written,
in every language (the configuration `simple`).
"""

from __future__ import annotations

import base64
import binascii
import json
from functools import cache
from typing import Any, Final

from psycopg.pq.abc import PGresult
from sqlalchemy import BigInteger, and_, bindparam, func, literal_column, or_, select

from turnkeep.store import Hit, Hits, check_id
from turnkeep_session_postgres.faults import TOO_COMPLEX, ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.queries import MOST_ROWS, STAND_IN, compiled
from turnkeep_session_postgres.schema import tables
from turnkeep_session_postgres.statements import INDEXED
from turnkeep_session_postgres.values import Statement, Value, int8, text, to_int

MAX_QUERY: Final = 1000
"""Characters of a query; a longer one finds nothing. The server gives up on some of 20,000."""

_SIMPLE: Final[Any] = literal_column("'simple'::regconfig")
_INDEXED: Final[Any] = literal_column(str(INDEXED))
_HEADLINE: Final[Any] = literal_column(
    '\'StartSel="", StopSel="", MaxWords=24, MinWords=8, ShortWord=0\''
)


async def search_page(
    link: Link,
    schema: str,
    clock: str,
    query: str,
    *,
    user_id: str | None,
    limit: int,
    cursor: str | None,
) -> Hits:
    """Read one page of hits: of the newest created session first, in it the last record first."""
    limit = min(limit, MOST_ROWS)
    values: dict[str, Value] = {
        "query": query.replace("\0", " ").encode("utf-8", "replace"),
        "rows": int8(limit + 1),
        "user": text(user_id),
    }
    if cursor is not None:
        created, after, seq = _parsed(cursor)
        values |= {"created": int8(created), "after": text(after), "seq": int8(seq)}
    if len(query) > MAX_QUERY:
        return Hits([], None)
    statement, names = searching(
        schema, clock, of_user=user_id is not None, continued=cursor is not None
    )
    try:
        result = await link.run(statement, [values[name] for name in names])
    except ServerError as error:
        if error.sqlstate in TOO_COMPLEX:
            return Hits([], None)
        raise
    count = min(result.ntuples, limit)
    more = result.ntuples > limit
    return Hits(
        [_hit(result, row) for row in range(count)], _cursor(result, count) if more else None
    )


@cache
def searching(
    schema: str, clock: str, *, of_user: bool, continued: bool
) -> tuple[Statement, tuple[str, ...]]:
    """Give the statement of a search, and the names of its parameters in their order."""
    made = tables(STAND_IN)
    session, texts = made.session.c, made.record_text.c
    now: Any = literal_column(clock, BigInteger)
    wanted = func.websearch_to_tsquery(_SIMPLE, bindparam("query"))
    found = (
        select(session.id, session.user_id, texts.seq, session.created_ms, texts.body)
        .join_from(
            made.record_text,
            made.session,
            and_(session.id == texts.session_id, session.incarnation == texts.incarnation),
        )
        .where(texts.words.op("@@")(wanted))
        .where(or_(session.expires_ms.is_(None), session.expires_ms > now))
    )
    if of_user:
        found = found.where(session.user_id == bindparam("user"))
    if continued:
        created = bindparam("created", type_=BigInteger)
        after: Any = bindparam("after")
        seq = bindparam("seq", type_=BigInteger)
        found = found.where(
            or_(
                session.created_ms < created,
                and_(session.created_ms == created, session.id > after),
                and_(session.created_ms == created, session.id == after, texts.seq < seq),
            )
        )
    order = (session.created_ms.desc(), session.id, texts.seq.desc())
    page = found.order_by(*order).limit(bindparam("rows", type_=BigInteger)).subquery()
    # Snippets are cut from the rows of the page only.
    shown = func.ts_headline(_SIMPLE, func.left(page.c.body, _INDEXED), wanted, _HEADLINE)
    query = select(page.c.id, page.c.user_id, page.c.seq, page.c.created_ms, shown)
    query = query.order_by(page.c.created_ms.desc(), page.c.id, page.c.seq.desc())
    return compiled(query, schema)


def _hit(result: PGresult, row: int) -> Hit:
    session_id, user_id, seq, _, excerpt = (result.get_value(row, each) for each in range(5))
    return Hit(
        (session_id or b"").decode(),
        None if user_id is None else user_id.decode(),
        to_int(seq or b""),
        (excerpt or b"").decode(),
    )


def _cursor(result: PGresult, count: int) -> str:
    last = _hit(result, count - 1)
    created = to_int(result.get_value(count - 1, 3) or b"")
    key = json.dumps([created, last.session_id, last.seq], ensure_ascii=False)
    return base64.urlsafe_b64encode(key.encode()).decode()


def _parsed(cursor: str) -> tuple[int, str, int]:
    try:
        created, session_id, seq = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        if type(created) is type(seq) is int and max(abs(created), abs(seq)) < 2**63:
            return created, check_id(session_id), seq
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    raise ValueError(f"{cursor!r} is no cursor of a search: pass one that `search` returned")
