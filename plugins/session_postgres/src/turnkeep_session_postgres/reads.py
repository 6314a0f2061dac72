"""Reading a session: its rows put together, and the record named that cannot be read."""

from __future__ import annotations

from psycopg.pq.abc import PGresult

from turnkeep.errors import CorruptSession
from turnkeep.store import Loaded, NotModified, Revision
from turnkeep_session_postgres.faults import CORRUPT, ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.outcomes import find
from turnkeep_session_postgres.rows import Row, moment, row_of
from turnkeep_session_postgres.statements import MOST, Statements
from turnkeep_session_postgres.values import Value, int8, number, text, to_int

_HEAD = 2
_NOW = _HEAD + len(Row._fields)


async def load(
    link: Link,
    sql: Statements,
    session_id: str,
    *,
    after: int | None,
    limit: int | None,
    known: Revision | None,
) -> Loaded | NotModified | None:
    """Read a session by one statement."""
    if after is not None:
        after = min(max(after, 0), MOST)
    most = MOST if limit is None else min(limit, MOST)
    values: list[Value] = [text(session_id), number(after), int8(most)]
    statement = sql.load
    if known is not None and abs(known.version) < MOST:
        statement = sql.load_unless
        values += int8(known.version), known.incarnation
    try:
        result = await link.run(statement, values)
    except ServerError as error:
        if error.sqlstate not in CORRUPT:
            raise
        seq = await _first_fault(link, sql, session_id, after, most)
        raise CorruptSession(session_id, seq, f"the database says: {error}") from None
    return put_together(result, session_id, after, most, known)


def put_together(
    result: PGresult, session_id: str, after: int | None, most: int, known: Revision | None
) -> Loaded | NotModified | None:
    """Make the answer of the rows: one of the head, the others of records."""
    get, count = result.get_value, result.ntuples
    if not count:
        return None
    seqs = [to_int(get(each, 0) or b"") for each in range(count)]
    order: range | list[int] = range(1, count)
    top = seqs.index(0)
    row = row_of(result, top, _HEAD)
    now = moment(to_int(get(top, _NOW) or b""))
    if known is not None and known == row.revision:
        return NotModified(row.head(), now)
    first = max(row.base, 1) if after is None else after + 1
    last = min(row.seq, first + most - 1)
    wanted = [0, *range(first, last + 1)]
    if seqs != wanted:
        order = sorted(range(count), key=seqs.__getitem__)
        there = [seqs[each] for each in order]
        if there != wanted:
            missing = next(seq for seq in wanted if seq not in set(there))
            raise CorruptSession(session_id, missing, "it is missing in the database")
        order = order[1:]
    state = get(top, 1)
    if state is None:
        raise CorruptSession(session_id, 0, "its state is missing in the database")
    records = [get(each, 1) or b"" for each in order]
    return Loaded(row.head(), state, first, records, last < row.seq, now)


async def _first_fault(
    link: Link, sql: Statements, session_id: str, after: int | None, most: int
) -> int:
    """Find the record that cannot be read, one by one; 0 if it is none of them."""
    row, _ = await find(link, sql, session_id)
    if row is None:
        return 0
    first = max(row.base, 1) if after is None else after + 1
    for seq in range(first, min(row.seq, first + most - 1) + 1):
        try:
            await link.run(sql.one_record, [text(session_id), int8(seq)])
        except ServerError as error:
            if error.sqlstate not in CORRUPT:
                raise
            return seq
    return 0
