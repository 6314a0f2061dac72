"""The session store in PostgreSQL: what each call asks, and what its answer means.

Every call runs on a connection of the pool; `calls.py` repeats it where the server was away. Times
are the server's clock in whole milliseconds; order never depends on them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from turnkeep.errors import SessionConflict, StoreError
from turnkeep.store import (
    KEEP,
    Capability,
    Durability,
    Head,
    Hits,
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
    new_incarnation,
)
from turnkeep_session_postgres import outcomes, reads
from turnkeep_session_postgres.calls import Calls, transaction
from turnkeep_session_postgres.connecting import Connector
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.opening import prepare
from turnkeep_session_postgres.plugin import CAPABILITIES, PostgresOptions
from turnkeep_session_postgres.pool import Pool
from turnkeep_session_postgres.removal import Removed, Remover, notice_texts, remove
from turnkeep_session_postgres.rows import Row, first_row, ttl_ms
from turnkeep_session_postgres.statements import CLOCK, Statements
from turnkeep_session_postgres.values import text
from turnkeep_session_postgres.versions import Server
from turnkeep_session_postgres.writes import Change, Copy, Dialect, New, Plain, Single

MAX_BYTES: Final = 2**30 - 2**20
"""Of one write with all its values: PostgreSQL takes no message, and no value, of 1 GiB."""

_logger = logging.getLogger("turnkeep.session_postgres")


class PostgresStore:
    """A `SessionStore` in PostgreSQL; see there for what each method promises."""

    name: str = "postgres"

    def __init__(
        self,
        calls: Calls,
        statements: Statements,
        server: Server,
        options: PostgresOptions,
    ) -> None:
        """Take over calls and their connections; `close` ends them."""
        self.durability: Durability = server.durability
        more = {Capability.SEARCH} if options.search else set()
        self.capabilities: frozenset[Capability] = CAPABILITIES | more
        self._calls = calls
        self._sql = statements
        self._schema = options.db_schema
        self._texts = options.search
        kind = Plain if options.statements == "plain" else Single
        self._dialect: Dialect = kind(statements)
        self._remover = Remover(statements)

    @classmethod
    async def open(
        cls,
        options: PostgresOptions,
        *,
        logger: logging.Logger = _logger,
        clock: str = CLOCK,
    ) -> PostgresStore:
        """Connect, and make or migrate the tables if need be.

        Raises StoreUnavailable where the server lets nobody in, StoreError where the tables cannot
        be used. `clock` is an expression for the server's time in ms; only tests give one.
        """
        connector = Connector(options)
        pool = Pool(
            connector.connect,
            size=options.pool_size,
            wait=options.pool_timeout,
            idle=options.pool_idle,
        )
        calls = Calls(pool, connector, name=cls.name, retry_for=options.retry_for, log=logger)
        try:
            # Not as a write: it may be given up at any moment, since all of it can be repeated.
            server, search = await calls.retrying(
                "opening the store", partial(prepare, options, connector.place)
            )
        except BaseException:
            await calls.close()
            raise
        for warning in server.warnings:
            logger.warning("%s: %s", connector.place, warning)
        statements = Statements(options.db_schema, search=search, clock=clock)
        return cls(calls, statements, server, options)

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
        new = _new(session_id, user_id, state, ttl, commit_id)
        _check_size([state])

        async def work(link: Link, _: bool) -> Head:
            while True:
                row = await self._dialect.create(link, new)
                row = row or await self._begun(link, session_id, commit_id)
                if row is not None:
                    return row.head()

        return await self._calls.write(f"creating session {session_id!r}", work)

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

        async def work(link: Link, _: bool) -> Loaded | NotModified | None:
            return await reads.load(
                link, self._sql, session_id, after=after, limit=limit, known=known
            )

        return await self._calls.read(f"loading session {session_id!r}", work)

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
        data = [bytes(record.data) for record in records]  # a str is a TypeError
        texts = [_searchable(record.text) for record in records] if self._texts else ()
        change = Change(
            session_id,
            expected,
            commit_id,
            meta,
            base,
            state,
            ttl if isinstance(ttl, Keep) else ttl_ms(ttl),
            data,
            texts if any(text is not None for text in texts) else None,
        )
        _check_size(data, change.texts or (), (state, meta))

        async def work(link: Link, doubt: bool) -> Head:
            while True:
                row = await self._dialect.append(link, change)
                row = row or await outcomes.changed(link, self._sql, change, doubt=doubt)
                if row is not None:
                    return row.head()

        return await self._calls.write(f"appending to session {session_id!r}", work)

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
        """Copy a session inside the database; see `ForkingStore.fork`."""
        check_id(session_id)
        check_base(base, upto)
        new = _new(new_id, user_id, state, ttl, commit_id)
        copy = Copy(session_id, incarnation, upto, meta, base)
        _check_size([state, meta])

        async def work(link: Link, _: bool) -> Head:
            await notice_texts(link, self._sql)
            while True:
                row = await self._dialect.fork(link, new, copy)
                row = row or await self._begun(link, new_id, commit_id)
                if row is not None:
                    return row.head()
                await outcomes.check_source(link, self._sql, copy)

        return await self._calls.write(f"forking session {session_id!r}", work)

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
        """Overwrite records; see `ErasingStore.erase`, and the README for what files keep."""
        check_id(session_id)
        data = [bytes(each) for each in replacements.values()]
        change = Change(
            session_id,
            expected,
            commit_id,
            meta,
            base,
            state,
            KEEP,
            data,
            seqs=list(replacements),
        )
        _check_size(data, (state, meta), seqs=len(change.seqs))

        async def work(link: Link, doubt: bool) -> Head:
            await notice_texts(link, self._sql)  # one that came later has changed the revision
            while True:
                row = await self._dialect.erase(link, change)
                row = row or await outcomes.changed(link, self._sql, change, doubt=doubt)
                if row is not None:
                    return row.head()

        return await self._calls.write(f"erasing in session {session_id!r}", work)

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        check_id(session_id)
        begun: bytes | None = None  # the incarnation that an earlier try may have removed

        async def work(link: Link, _: bool) -> bool:
            nonlocal begun
            async with transaction(link):
                row = first_row(await link.run(self._sql.lock, [text(session_id)]))
                if row is None or begun not in (None, row.incarnation):
                    return begun is not None
                if expected is not None and expected != row.revision:
                    raise SessionConflict(session_id, row.head())
                begun = row.incarnation
                await notice_texts(link, self._sql)
                await remove(link, self._sql, [session_id.encode()])
            return True

        return await self._calls.write(f"deleting session {session_id!r}", work)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)

        async def work(link: Link, _: bool) -> Page:
            # SQLAlchemy, a second of CPU: only in programs that list.
            from turnkeep_session_postgres.queries import list_page

            return await list_page(
                link,
                self._schema,
                self._sql.now,
                user_id=user_id,
                limit=limit,
                cursor=cursor,
            )

        return await self._calls.read("listing sessions", work)

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records by their texts: of the newest created session first, the last one first.

        With `user_id=None` those of all users. Raises StoreError unless `search = true`, and
        ValueError for a bad limit or cursor.
        """
        if not self._texts:
            raise StoreError("this store keeps no texts to search: search = true in its options")
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)

        async def work(link: Link, _: bool) -> Hits:
            from turnkeep_session_postgres.search import search_page  # SQLAlchemy, as above

            return await search_page(
                link,
                self._schema,
                self._sql.now,
                query,
                user_id=user_id,
                limit=limit,
                cursor=cursor,
            )

        return await self._calls.read("searching", work)

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove expired sessions in small transactions; see `SessionStore.purge`."""
        check_limit(limit)
        removed = 0
        more = True

        async def work(link: Link, _: bool) -> Removed:
            return await self._remover.purge(link, limit - removed)

        while more and removed < limit:
            gone, more = await self._calls.write("removing expired sessions", work)
            removed += gone
        return removed

    async def close(self) -> None:
        """Wait for what is in flight and end the connections; see `SessionStore.close`."""
        await self._calls.close()

    async def _begun(self, link: Link, session_id: str, commit_id: bytes) -> Row | None:
        return await outcomes.begun(link, self._sql, self._remover, session_id, commit_id)


def _new(session_id: str, user_id: str | None, state: bytes, ttl: Ttl, commit_id: bytes) -> New:
    check_id(session_id)
    if user_id is not None:
        check_id(user_id, "user id")
    return New(session_id, user_id, new_incarnation(), ttl_ms(ttl), commit_id, state)


def _check_size(*values: Sequence[bytes | None], seqs: int = 0) -> None:
    # Each has a length of 4 bytes before it, and in the server's memory begins at a multiple of 4.
    size = sum((len(each or b"") + 7) // 4 * 4 for every in values for each in every) + 12 * seqs
    if size > MAX_BYTES:
        raise StoreError(
            f"one write of {size:,} bytes is more than PostgreSQL takes ({MAX_BYTES:,}), and "
            "nothing was written: write it in parts, or less of it"
        )


def _searchable(said: str | None) -> bytes | None:
    """Give a text as PostgreSQL can hold it: without NUL and half surrogate pairs."""
    return None if said is None else said.replace("\0", " ").encode("utf-8", "replace")
