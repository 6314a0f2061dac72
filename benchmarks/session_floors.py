"""Raw drivers doing what a store does, with the fewest calls that keep its promises.

Each writes a turn, encoded beforehand, by one step that checks the version: SQLite by a transaction
in the calling thread, PostgreSQL by one statement of psycopg, Redis by one Lua call of redis-py,
which are the drivers that the stores use. None of them builds events, checks a ttl, knows a retry
from a new write or survives a lost connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, Protocol

from session_paths import READY, Stock, Turn, checkpoint_seq, fill, items, records

COMMIT: Final = b"0123456789abcdef"
"""A commit id; the floor writes one as a store does, and never looks at it."""


class Contender(Protocol):
    """What is measured: a floor, or one of the ways in `session_paths`."""

    name: str

    async def fill(self, sessions: Mapping[str, int]) -> None:
        """Make sessions of so many turns, in bulk, before it is opened."""
        ...

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Hold open what its calls need."""
        ...

    def session(self, name: str) -> AbstractAsyncContextManager[Turn]:
        """Give the way to do turns of a session."""
        ...

    async def load(self, name: str, *, after: int | None) -> int:
        """Read records as the contract says; gives how many."""
        ...


def ready_turns() -> list[list[bytes]]:
    """Encode the turns that stand ready."""
    return [records(items(number)) for number in range(READY)]


class SqliteFloor:
    """Raw sqlite3, committing in the calling thread, on the store's own tables."""

    name = "floor"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def fill(self, sessions: Mapping[str, int]) -> None:
        await fill(self.path, dict(sessions))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from turnkeep_session_sqlite.files import CHECKPOINT_PAGES

        with closing(sqlite3.connect(self.path, isolation_level=None)) as self.connection:
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            yield

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        execute = self.connection.execute
        k, seq, version = execute(
            "SELECT k, seq, version FROM session WHERE id = ?", (name,)
        ).fetchone()
        ready = ready_turns()

        async def turn(number: int) -> None:
            nonlocal seq, version
            data = ready[number % READY]
            execute("BEGIN IMMEDIATE")
            done = execute(
                "UPDATE session SET version = ?, seq = ?, updated_ms = ?, commit_id = ?"
                " WHERE k = ? AND version = ?",
                (version + 1, seq + 4, number, COMMIT, k, version),
            )
            assert done.rowcount == 1
            values: list[Any] = []
            for offset, record in enumerate(data, 1):
                values += k, seq + offset, record
            execute(
                "INSERT INTO event (k, seq, data) VALUES (?,?,?),(?,?,?),(?,?,?),(?,?,?)", values
            )
            execute("COMMIT")
            version += 1
            seq += 4

        yield turn

    async def load(self, name: str, *, after: int | None) -> int:
        execute = self.connection.execute
        k, seq, base = execute("SELECT k, seq, base FROM session WHERE id = ?", (name,)).fetchone()
        first = max(base, 1) if after is None else after + 1
        return len(
            execute(
                "SELECT data FROM event WHERE k = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                (k, first, seq),
            ).fetchall()
        )


class PostgresFloor:
    """Raw psycopg: one prepared statement, parameters and rows in binary, a connection each."""

    name = "floor"

    SCHEMA: Final = """
        CREATE SCHEMA floor;
        CREATE TABLE floor.session (
            id text PRIMARY KEY, version bigint NOT NULL, seq bigint NOT NULL, base bigint NOT NULL,
            updated timestamptz NOT NULL, commit_id bytea NOT NULL
        ) WITH (fillfactor = 70);
        CREATE TABLE floor.event (
            session text NOT NULL, seq bigint NOT NULL, data bytea NOT NULL,
            PRIMARY KEY (session, seq)
        );
    """
    APPEND: Final = """
        WITH head AS (
            UPDATE floor.session
            SET version = version + 1, seq = seq + 4, updated = now(), commit_id = %b
            WHERE id = %b AND version = %b RETURNING id, version, seq
        ), added AS (
            INSERT INTO floor.event (session, seq, data)
            SELECT head.id, head.seq - 4 + given.place, given.data
            FROM head, unnest(%b::bytea[]) WITH ORDINALITY AS given (data, place)
        )
        SELECT version, seq FROM head
    """
    LOAD: Final = """
        SELECT NULL::bytea, seq, base FROM floor.session WHERE id = %b
        UNION ALL (
            SELECT data, NULL, NULL FROM floor.event WHERE session = %b AND seq >= coalesce(
                %b::bigint + 1, (SELECT greatest(base, 1) FROM floor.session WHERE id = %b)
            )
            ORDER BY seq
        )
    """

    def __init__(self, url: str) -> None:
        self.url = url

    async def connect(self) -> Any:
        import psycopg

        # Else the planner sorts where a table holds few sessions, by way of the disk.
        return await psycopg.AsyncConnection.connect(
            self.url, autocommit=True, options="-c enable_sort=off -c enable_seqscan=off"
        )

    async def fill(self, sessions: Mapping[str, int]) -> None:
        stock = Stock()
        async with await self.connect() as connection:
            await connection.execute(self.SCHEMA)
            for name, count in sessions.items():
                base = checkpoint_seq(count)
                await connection.execute(
                    "INSERT INTO floor.session VALUES (%s, %s, %s, %s, now(), %s)",
                    (name, count, 4 * count, base, COMMIT),
                )
                rows = "COPY floor.event FROM STDIN (FORMAT binary)"
                async with connection.cursor().copy(rows) as copy:
                    copy.set_types(["text", "int8", "bytea"])
                    for seq in range(1, 4 * count + 1):
                        await copy.write_row((name, seq, stock.record(seq, base)))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with await self.connect() as self.connection:
            yield

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        ready = ready_turns()
        async with await self.connect() as connection, connection.cursor(binary=True) as cursor:
            found = await cursor.execute("SELECT version FROM floor.session WHERE id = %b", (name,))
            (version,) = await found.fetchone()

            async def turn(number: int) -> None:
                nonlocal version
                values = (COMMIT, name, version, ready[number % READY])
                await cursor.execute(self.APPEND, values, prepare=True)
                version, _ = await cursor.fetchone()

            yield turn

    async def load(self, name: str, *, after: int | None) -> int:
        async with self.connection.cursor(binary=True) as cursor:
            await cursor.execute(self.LOAD, (name, name, after, name), prepare=True)
            rows = await cursor.fetchall()
        return len([row[0] for row in rows[1:]])


class RedisFloor:
    """Raw redis-py: a hash and a list, one Lua call by its digest."""

    name = "floor"

    APPEND: Final = """
        local head = redis.call('HMGET', KEYS[1], 'version', 'seq')
        if head[1] ~= ARGV[1] then return redis.error_reply('conflict') end
        redis.call('RPUSH', KEYS[2], unpack(ARGV, 3))
        redis.call('HSET', KEYS[1], 'version', head[1] + 1, 'seq', head[2] + #ARGV - 2,
            'commit_id', ARGV[2], 'updated', redis.call('TIME')[1])
        return head[1] + 1
    """
    LIVE: Final = """
        local head = redis.call('HMGET', KEYS[1], 'version', 'seq', 'base')
        return {head, redis.call('LRANGE', KEYS[2], math.max(head[3] - 1, 0), -1)}
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def keys(self, name: str) -> tuple[str, str]:
        return f"floor:{{{name}}}:head", f"floor:{{{name}}}:events"

    def client(self) -> Any:
        import redis.asyncio

        return redis.asyncio.Redis.from_url(self.url)

    async def fill(self, sessions: Mapping[str, int]) -> None:
        stock = Stock()
        async with self.client() as client:
            for name, count in sessions.items():
                base = checkpoint_seq(count)
                head, events = self.keys(name)
                fields = {"version": count, "seq": 4 * count, "base": base, "commit_id": COMMIT}
                await client.hset(head, mapping=fields | {"updated": 0})
                for first in range(1, 4 * count + 1, 1000):
                    seqs = range(first, min(first + 1000, 4 * count + 1))
                    await client.rpush(events, *(stock.record(seq, base) for seq in seqs))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self.client() as self.redis:
            self.append = await self.redis.script_load(self.APPEND)
            self.live = await self.redis.script_load(self.LIVE)
            yield

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        ready = ready_turns()
        head, events = self.keys(name)
        version = int(await self.redis.hget(head, "version"))

        async def turn(number: int) -> None:
            nonlocal version
            data = ready[number % READY]
            version = await self.redis.evalsha(self.append, 2, head, events, version, COMMIT, *data)

        yield turn

    async def load(self, name: str, *, after: int | None) -> int:
        head, events = self.keys(name)
        if after is None:  # where they begin is known to the head
            _, found = await self.redis.evalsha(self.live, 2, head, events)
            return len(found)
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(head, "version", "seq", "base")
            pipeline.lrange(events, after, -1)
            _, found = await pipeline.execute()
        return len(found)
