"""The ways from items to disk that `sessions.py` compares, and the files they work on."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from turnkeep.codec import encode_event
from turnkeep.content import Item, Message, ToolCall, ToolResult
from turnkeep.events import Checkpoint, Event
from turnkeep.keeper import Keeper
from turnkeep.store import Record, new_commit_id
from turnkeep_session_sqlite.files import CHECKPOINT_PAGES
from turnkeep_session_sqlite.store import SqliteStore

LIVE_TURNS = 50
READY = 20
"""Turns that stand ready beforehand: encoded for the floor, as items for the others."""

Turn = Callable[[int], Awaitable[None]]
"""Does the turn of this number, from its items to the disk."""


def items(number: int) -> list[Item]:
    """Build the four items of a turn; each turn has the same size."""
    text = f"turn {number:06d}: the quick brown fox jumps over the lazy dog. "
    call_id = f"call_{number:08d}"
    return [
        Message(role="user", content=text * 10),
        ToolCall(
            tool_call_id=call_id,
            name="read_file",
            arguments={
                "file_path": f"/src/module_{number:06d}.py",
                "range": [1, 200],
                "why": text * 3,
            },
        ),
        ToolResult(tool_call_id=call_id, name="read_file", content=[text * 24]),
        Message(role="assistant", content=text * 12),
    ]


AUTHORS = ("user", "assistant", "tool", "assistant")


def records(of: list[Item]) -> list[bytes]:
    """Build and encode the four events of a turn."""
    return [
        encode_event(Event(author=author, content=[item]))
        for author, item in zip(AUTHORS, of, strict=True)
    ]


async def fill(path: Path, sessions: dict[str, int]) -> None:
    """Make a file with sessions of so many turns, by bulk inserts."""
    store = await SqliteStore.open(path)
    for name in sessions:
        await store.create(name, commit_id=new_commit_id())
    await store.close()
    turns = [records(items(number)) for number in range(100)]
    checkpoint = encode_event(Checkpoint(author="system"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for name, count in sessions.items():
            (k,) = connection.execute("SELECT k FROM session WHERE id = ?", (name,)).fetchone()
            base = max(4 * (count - LIVE_TURNS), 0)
            connection.executemany(
                "INSERT INTO event (k, seq, data) VALUES (?, ?, ?)",
                (
                    (k, seq, checkpoint if seq == base else turns[seq // 4 % 100][seq % 4])
                    for seq in range(1, 4 * count + 1)
                ),
            )
            connection.execute(
                "UPDATE session SET seq = ?, base = ?, version = ? WHERE k = ?",
                (4 * count, base, count, k),
            )
        connection.execute("COMMIT")


class Floor:
    """Raw sqlite3, committing in the calling thread."""

    name = "floor"

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the file open."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as self.connection:
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            yield

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        """Give the way to do turns of a session."""
        execute = self.connection.execute
        k, seq, version = execute(
            "SELECT k, seq, version FROM session WHERE id = ?", (name,)
        ).fetchone()
        ready = [records(items(number)) for number in range(READY)]

        async def turn(number: int) -> None:
            nonlocal seq, version
            data = ready[number % READY]
            execute("BEGIN IMMEDIATE")
            done = execute(
                "UPDATE session SET version = ?, seq = ?, updated_ms = ?, commit_id = ?"
                " WHERE k = ? AND version = ?",
                (version + 1, seq + 4, number, b"0123456789abcdef", k, version),
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
        """Read records; gives how many."""
        execute = self.connection.execute
        k, seq, base = execute("SELECT k, seq, base FROM session WHERE id = ?", (name,)).fetchone()
        first = max(base, 1) if after is None else after + 1
        return len(
            execute(
                "SELECT data FROM event WHERE k = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                (k, first, seq),
            ).fetchall()
        )


class Store:
    """Events built and encoded in the loop's thread, then `SqliteStore.append`."""

    name = "store"

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the file open."""
        self.store = await SqliteStore.open(self.path)
        yield
        await self.store.close()

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        """Give the way to do turns of a session."""
        loaded = await self.store.load(name, limit=1)
        assert loaded is not None
        head = loaded.head
        ready = [items(number) for number in range(READY)]

        async def turn(number: int) -> None:
            nonlocal head
            head = await self.store.append(
                name,
                [Record(data) for data in records(ready[number % READY])],
                expected=head.revision,
                commit_id=new_commit_id(),
            )

        yield turn

    async def load(self, name: str, *, after: int | None) -> int:
        """Read records; gives how many."""
        loaded: Any = await self.store.load(name, after=after)
        return len(loaded.records)


class WholeTurn(Store):
    """The whole way: items given to an open turn of a keeper."""

    name = "turn"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the file open."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(super().opened())
            self.keeper = await stack.enter_async_context(Keeper(store=self.store))
            yield

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        """Give the way to do turns of a session."""
        async with self.keeper.turn(name) as open_turn:
            ready = [items(number) for number in range(READY)]
            await open_turn.add(*ready[0])  # opens the turn

            async def turn(number: int) -> None:
                await open_turn.add(*ready[number % READY])

            yield turn


PATHS = {each.name: each for each in (Store, WholeTurn)}
