"""Why a fenced write changed nothing: done before, not there, changed by others, a bad argument."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
)
from turnkeep.store import check_base, check_seqs
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.removal import Remover
from turnkeep_session_postgres.rows import Row, row_of
from turnkeep_session_postgres.statements import Statements
from turnkeep_session_postgres.values import int8, text, to_int
from turnkeep_session_postgres.writes import Change, Copy


async def find(link: Link, sql: Statements, session_id: str) -> tuple[Row | None, bool]:
    """Read a head, and whether it has expired."""
    result = await link.run(sql.head, [text(session_id)])
    if not result.ntuples:
        return None, False
    return row_of(result, 0), result.get_value(0, len(Row._fields)) == b"\1"


async def changed(link: Link, sql: Statements, change: Change, *, doubt: bool) -> Row | None:
    """Give the row of a change that was done before; None if it can be tried again.

    Raises SessionNotFound and SessionConflict; ValueError for a base or a seq that is not there,
    CorruptSession for a record that should be; StoreUnavailable where an earlier try may have been
    kept and somebody has written since.
    """
    row, expired = await find(link, sql, change.session_id)
    if row is None or expired:
        raise SessionNotFound(change.session_id)
    if row.commit_id == change.commit_id:
        return row
    if row.revision != change.expected:
        later = row.version > change.expected.version
        if doubt and later and row.incarnation == change.expected.incarnation:
            raise StoreUnavailable(
                f"the answer to a write of session {change.session_id!r} was lost, and others have "
                "written since: whether it was kept is unknown; load the session to see"
            )
        raise SessionConflict(change.session_id, row.head())
    if change.base is not None:
        check_base(change.base, row.seq + (0 if change.seqs else len(change.data)))
    check_seqs(change.seqs, row.seq)
    if change.seqs:
        await _check_records(link, sql, row, change.seqs)
    return None


async def begun(
    link: Link, sql: Statements, remover: Remover, session_id: str, commit_id: bytes
) -> Row | None:
    """Give the row of a session that this very call began before; None if the id is free.

    Raises SessionExists. What has expired under the id is removed.
    """
    row, expired = await find(link, sql, session_id)
    if row is None:
        return None
    if expired:
        await remover.make_room(link, session_id)
        return None
    if row.version == 0 and row.commit_id == commit_id:
        return row
    raise SessionExists(session_id)


async def check_source(link: Link, sql: Statements, copy: Copy) -> None:
    """Tell why a session was not copied.

    Raises SessionNotFound, SessionConflict, CorruptSession.
    """
    row, expired = await find(link, sql, copy.source)
    if row is None or expired:
        raise SessionNotFound(copy.source)
    if row.incarnation != copy.incarnation or row.seq < copy.upto:
        raise SessionConflict(copy.source, row.head())
    await _check_records(link, sql, row, range(1, copy.upto + 1))


async def _check_records(link: Link, sql: Statements, row: Row, wanted: Sequence[int]) -> None:
    """Raise CorruptSession for the first wanted record that is not there.

    Raises SessionNotFound, SessionConflict where the session went since its head was read.
    """
    first, last = min(wanted, default=1), max(wanted, default=0)
    result = await link.run(sql.seqs, [text(row.id), int8(first), int8(last)])
    there = {to_int(result.get_value(each, 0) or b"") for each in range(result.ntuples)}
    for seq in sorted(wanted):
        if seq not in there:
            now, expired = await find(link, sql, row.id)
            if now is None or expired:
                raise SessionNotFound(row.id)
            if now.incarnation != row.incarnation:
                raise SessionConflict(row.id, now.head())
            raise CorruptSession(row.id, seq, "it is missing in the database")
