"""The session store on a SQLite file: what each call does inside its transaction.

Every method makes a piece of work, hands it to the writer or to the readers and awaits it. Times
are the machine's clock in whole milliseconds; order never depends on them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

from turnkeep.errors import CorruptSession, SessionConflict, SessionNotFound, StoreClosed
from turnkeep.store import (
    KEEP,
    Capability,
    Durability,
    Head,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    Ttl,
    check_base,
    check_id,
    check_limit,
    check_seqs,
    new_incarnation,
)
from turnkeep_session_sqlite import statements
from turnkeep_session_sqlite.database import Database, acquire, check_process, release
from turnkeep_session_sqlite.files import Location, empty_log
from turnkeep_session_sqlite.jobs import Queue, Work, submit
from turnkeep_session_sqlite.plugin import CAPABILITIES
from turnkeep_session_sqlite.records import (
    Change,
    Clock,
    begin,
    begun,
    copy,
    find,
    read,
    remove,
    replace,
)
from turnkeep_session_sqlite.rows import Row, expiry, moment, ttl_ms

T = TypeVar("T")
_logger = logging.getLogger("turnkeep.session_sqlite")

PURGE_SESSIONS: Final = 100
PURGE_RECORDS: Final = 5000
"""Most sessions, and (unless a single session has more) records, that a purge removes in one
transaction: appends wait for it."""


def clock_ms() -> int:
    """Give the machine's time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class SqliteStore:
    """A `SessionStore` in a SQLite file; see there for what each method promises."""

    name: str = "sqlite"
    capabilities: frozenset[Capability] = CAPABILITIES

    def __init__(self, database: Database, *, clock: Clock = clock_ms) -> None:
        """Take over a database acquired by the caller; `close` releases it."""
        full = database.location.synchronous == "full"
        self.durability: Durability = "power" if full else "process"
        self._database = database
        self._clock = clock
        self._running = 0
        self._idle: asyncio.Event | None = None  # made by close, set when nothing runs any more
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        synchronous: Literal["full", "normal"] = "full",
        busy_timeout: float = 5.0,
        clock: Clock = clock_ms,
    ) -> SqliteStore:
        """Open or create the file at `path`; raises as `files.open_writer` does."""
        opening = asyncio.ensure_future(
            asyncio.to_thread(_acquire, path, synchronous, busy_timeout)
        )
        try:
            database = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_release_unwanted)
            raise
        return cls(database, clock=clock)

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session; see `SessionStore.create`."""
        check_id(session_id)
        if user_id is not None:
            check_id(user_id, "user id")
        lifetime = ttl_ms(ttl)
        incarnation = new_incarnation()

        def work(connection: sqlite3.Connection) -> Head:
            now = self._clock()
            row = Row(
                k=0,
                id=session_id,
                user_id=user_id,
                incarnation=incarnation,
                version=0,
                seq=0,
                base=0,
                meta=b"",
                created=now,
                updated=now,
                expires=expiry(now, lifetime),
                ttl=lifetime,
                commit_id=commit_id,
            )
            return begin(connection, row, state).head()

        return await self._write(work)

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session in one snapshot; see `SessionStore.load`."""
        check_id(session_id)
        check_limit(limit)

        def work(connection: sqlite3.Connection) -> Loaded | NotModified | None:
            now = self._clock()
            found = connection.execute(statements.HEAD_AND_STATE, (session_id,)).fetchone()
            if found is None:
                return None
            row = Row(*found[:-1])
            if row.expired(now):
                return None
            if known is not None and known == row.revision():
                return NotModified(row.head(), moment(now))
            first = max(row.base, 1) if after is None else max(after, 0) + 1
            last = row.seq if limit is None else min(row.seq, first + limit - 1)
            if found[-1] is None:
                raise CorruptSession(session_id, 0, "its state is missing in the file")
            records = read(connection, session_id, row.k, first, last)
            return Loaded(row.head(), found[-1], first, records, last < row.seq, moment(now))

        return await self._read(work)

    async def append(
        self,
        session_id: str,
        records: Sequence[Record],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
        ttl: Ttl | Keep = KEEP,
    ) -> Head:
        """Add records; see `SessionStore.append`."""
        check_id(session_id)
        change = Change(
            session_id=session_id,
            data=[bytes(record.data) for record in records],  # a str is a TypeError
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
            ttl=ttl if isinstance(ttl, Keep) else ttl_ms(ttl),
        )
        return await self._write(partial(change.apply, self._clock, self._database.writer.rows))

    async def fork(
        self,
        session_id: str,
        new_id: str,
        *,
        upto: int,
        incarnation: bytes,
        user_id: str | None = None,
        state: bytes = b"{}",
        meta: bytes = b"",
        base: int = 0,
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Copy a session inside the file; see `ForkingStore.fork`."""
        check_id(session_id)
        check_id(new_id)
        if user_id is not None:
            check_id(user_id, "user id")
        check_base(base, upto)
        lifetime = ttl_ms(ttl)
        new_life = new_incarnation()

        def work(connection: sqlite3.Connection) -> Head:
            now = self._clock()
            if (done := begun(connection, new_id, now, commit_id)) is not None:
                return done.head()
            source = find(connection, session_id)
            if source is None or source.expired(now):
                raise SessionNotFound(session_id)
            if source.incarnation != incarnation or source.seq < upto:
                raise SessionConflict(session_id, source.head())
            row = Row(
                k=0,
                id=new_id,
                user_id=user_id,
                incarnation=new_life,
                version=0,
                seq=upto,
                base=base,
                meta=meta,
                created=now,
                updated=now,
                expires=expiry(now, lifetime),
                ttl=lifetime,
                commit_id=commit_id,
            )
            made = begin(connection, row, state)
            copy(connection, source, made)
            return made.head()

        return await self._write(work)

    async def erase(
        self,
        session_id: str,
        replacements: Mapping[int, bytes],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
    ) -> Head:
        """Overwrite records, in the write-ahead log too; see `ErasingStore.erase`."""
        check_id(session_id)
        data = {seq: bytes(each) for seq, each in replacements.items()}
        change = Change(
            session_id=session_id,
            data=[],
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
            ttl=KEEP,
        )

        def work(connection: sqlite3.Connection) -> Head:
            row = find(connection, session_id)
            if row is not None and row.revision() == expected:
                check_seqs(data, row.seq)
            head = change.apply(self._clock, self._database.writer.rows, connection)
            if row is not None:
                replace(connection, row, data)
            return head

        head = await self._write(work)
        location = self._database.location
        if not await asyncio.to_thread(empty_log, location):
            _logger.warning(
                "%s: what was erased from session %r stays in the write-ahead log until the next "
                "checkpoint, because a reader holds it; close other readers and erase again",
                location.path,
                session_id,
            )
        return head

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        check_id(session_id)

        def work(connection: sqlite3.Connection) -> bool:
            row = find(connection, session_id)
            if row is None or row.expired(self._clock()):
                return False
            if expected is not None and expected != row.revision():
                raise SessionConflict(session_id, row.head())
            remove(connection, row.k)
            return True

        return await self._write(work)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)

        def work(connection: sqlite3.Connection) -> Page:
            # SQLAlchemy, a second of CPU: in a reader's thread, and only in programs that list.
            from turnkeep_session_sqlite.queries import list_page

            return list_page(connection, user_id, limit, cursor, self._clock())

        return await self._read(work)

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove expired sessions in small transactions; see `SessionStore.purge`."""
        check_limit(limit)
        removed = 0
        while removed < limit:
            batch = min(limit - removed, PURGE_SESSIONS)
            gone = await self._write(partial(self._purge_some, batch))
            if not gone:
                break
            removed += gone
        return removed

    async def close(self) -> None:
        """Wait for what is in flight and let go of the file; see `SessionStore.close`."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Shielded: a cancelled close must not leave the file open.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._running:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await asyncio.to_thread(release, self._database)

    async def _write(self, work: Work[T]) -> T:
        return await self._submit(self._database.writer.queue, work)

    async def _read(self, work: Work[T]) -> T:
        return await self._submit(self._database.readers.queue, work)

    async def _submit(self, queue: Queue, work: Work[T]) -> T:
        if self._closing is not None:
            raise StoreClosed(self.name)
        check_process(self._database)
        self._running += 1
        try:
            return await submit(queue, work)
        finally:
            self._running -= 1
            if self._idle is not None and not self._running:
                self._idle.set()

    def _purge_some(self, limit: int, connection: sqlite3.Connection) -> int:
        victims = connection.execute(statements.EXPIRED, (self._clock(), limit)).fetchall()
        records = removed = 0
        for k, seq in victims:
            if removed and records + seq > PURGE_RECORDS:
                break
            remove(connection, k)
            records += seq
            removed += 1
        return removed


def _acquire(path: Path, synchronous: Literal["full", "normal"], busy_timeout: float) -> Database:
    return acquire(Location(path.resolve(), synchronous, busy_timeout))


def _release_unwanted(opening: asyncio.Task[Database]) -> None:
    # Whoever opened the store was cancelled meanwhile. Seldom, so blocking for it is fine.
    if not opening.cancelled() and opening.exception() is None:
        release(opening.result())
