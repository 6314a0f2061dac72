"""Removing sessions whole: their rows in every table, a part at a time where there are many.

What has expired is seen by nobody, so that it may go in parts. A part is taken from its end, and
its head's `seq` tells where the next one begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg.pq.abc import PGresult

from turnkeep_session_postgres.calls import transaction
from turnkeep_session_postgres.faults import TOO_LONG, LinkLost, ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.statements import Statements
from turnkeep_session_postgres.values import TEXT, array, int8, text, to_int

MOST_SESSIONS: Final = 100
MOST_RECORDS: Final = 10_000
"""What is removed in one transaction."""


class Removed(NamedTuple):
    """What a transaction did: how many sessions are gone, and whether it found any to begin."""

    sessions: int
    more: bool


class Remover:
    """Removes what has expired, in parts of which none takes longer than a statement may."""

    def __init__(self, sql: Statements) -> None:
        self._sql = sql
        self._records = MOST_RECORDS

    async def purge(self, link: Link, limit: int) -> Removed:
        """Remove expired sessions in one transaction, `limit` at most."""
        sql = self._sql
        try:
            async with transaction(link):
                found = await link.run(sql.expired, [int8(min(limit, MOST_SESSIONS))])
                sessions = [_place(found, row) for row in range(found.ntuples)]
                if not sessions:
                    return Removed(0, more=False)
                done = await self._remove(link, sessions)
        except (ServerError, LinkLost) as error:
            if not self._smaller(error):
                raise
            return Removed(0, more=True)
        self._records = min(2 * self._records, MOST_RECORDS)
        return Removed(done, more=True)

    async def make_room(self, link: Link, session_id: str) -> None:
        """Remove all of a session if it has expired still."""
        while True:
            try:
                async with transaction(link):
                    found = await link.run(self._sql.lock_expired, [text(session_id)])
                    if not found.ntuples or await self._remove(link, [_place(found, 0)]):
                        return
            except (ServerError, LinkLost) as error:
                if not self._smaller(error):
                    raise

    async def _remove(self, link: Link, sessions: Sequence[tuple[bytes, int]]) -> int:
        """Remove the first of some sessions, or a part of the very first; gives how many."""
        chosen, total = 0, 0
        for _, seq in sessions:
            total += seq
            if total > self._records:
                break
            chosen += 1
        await notice_texts(link, self._sql)
        if chosen:
            await remove(link, self._sql, [each for each, _ in sessions[:chosen]])
        else:
            name, seq = sessions[0]
            for statement in self._sql.shorten:
                await link.run(statement, [name, int8(seq - self._records)])
        return chosen

    def _smaller(self, error: ServerError | LinkLost) -> bool:
        """Take less the next time; tells whether to go on with this connection."""
        if isinstance(error, ServerError) and error.sqlstate != TOO_LONG:
            return False
        at_end = self._records == 1
        self._records = max(1, self._records // 8)
        return isinstance(error, ServerError) and not at_end


async def notice_texts(link: Link, sql: Statements) -> None:
    """See whether there is a table of texts, which another process may have made meanwhile.

    Called where no text can come to the sessions in question any more.
    """
    if not sql.search:
        found = await link.run(sql.find_texts, [sql.words_name])
        if found.get_value(0, 0) == b"\1":
            sql.add_texts()


async def remove(link: Link, sql: Statements, session_ids: Sequence[bytes]) -> None:
    """Remove all of some sessions, whose heads are locked."""
    ids = array(TEXT, session_ids)
    for statement in sql.remove:
        await link.run(statement, [ids])


def _place(found: PGresult, row: int) -> tuple[bytes, int]:
    return found.get_value(row, 0) or b"", to_int(found.get_value(row, 1) or b"")
