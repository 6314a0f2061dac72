"""The ways from items to a store that `sessions.py` compares, over any opened store.

`append` is the store alone, with the same bytes that the floor is given; `store` builds and encodes
the events before it; `turn` is the whole way, items given to an open turn of a keeper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from turnkeep.codec import encode_event
from turnkeep.content import Item, Message, ToolCall, ToolResult
from turnkeep.events import Checkpoint, Event
from turnkeep.keeper import Keeper
from turnkeep.store import Record, SessionStore, new_commit_id

LIVE_TURNS: Final = 50
READY: Final = 20
"""Turns that stand ready beforehand: encoded for the floor, as items for the others."""
FILLED: Final = 100
"""Turns that one append of `fill_store` writes."""

Turn = Callable[[int], Awaitable[None]]
"""Does the turn of this number, from its items to the store."""
Opening = Callable[[], AbstractAsyncContextManager[SessionStore]]
"""Opens a store."""


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


AUTHORS: Final = ("user", "assistant", "tool", "assistant")


def records(of: list[Item]) -> list[bytes]:
    """Build and encode the four events of a turn."""
    return [
        encode_event(Event(author=author, content=[item]))
        for author, item in zip(AUTHORS, of, strict=True)
    ]


def checkpoint_seq(count: int) -> int:
    """Give the seq of the checkpoint in a session of so many turns; 0 in a short one."""
    return 4 * max(count - LIVE_TURNS, 0)


class Stock:
    """Records of sessions that are made in bulk: a hundred turns, again and again."""

    def __init__(self) -> None:
        self.turns = [records(items(number)) for number in range(FILLED)]
        self.checkpoint = encode_event(Checkpoint(author="system"))

    def record(self, seq: int, base: int) -> bytes:
        """Give the record at a place in a session whose checkpoint is at `base`."""
        if seq == base:
            return self.checkpoint
        return self.turns[(seq - 1) // 4 % FILLED][(seq - 1) % 4]


async def fill_store(
    store: SessionStore, sessions: Mapping[str, int], *, checkpoints: bool = True
) -> None:
    """Make sessions of so many turns, a hundred an append.

    The version counts appends, so it is lower than one by one; the records are the same.
    """
    stock = Stock()
    for name, count in sessions.items():
        head = await store.create(name, commit_id=new_commit_id())
        base = checkpoint_seq(count) if checkpoints else 0
        for first in range(1, 4 * count + 1, 4 * FILLED):
            seqs = range(first, min(first + 4 * FILLED, 4 * count + 1))
            head = await store.append(
                name,
                [Record(stock.record(seq, base)) for seq in seqs],
                expected=head.revision,
                commit_id=new_commit_id(),
                base=base if base in seqs else None,
            )


async def fill(path: Path, sessions: dict[str, int]) -> None:
    """Make a file of SQLite with sessions of so many turns."""
    from turnkeep_session_sqlite.store import SqliteStore

    store = await SqliteStore.open(path)
    try:
        await fill_store(store, sessions)
    finally:
        await store.close()


class Append:
    """`SessionStore.append` alone: the records stand ready."""

    name = "append"

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.store: SessionStore

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the store open."""
        async with self.opening() as self.store:
            yield

    async def fill(self, sessions: Mapping[str, int]) -> None:
        """Make sessions of so many turns."""
        async with self.opening() as store:
            await fill_store(store, sessions)

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Turn]:
        """Give the way to do turns of a session."""
        loaded = await self.store.load(name, limit=1)
        assert loaded is not None
        head = loaded.head
        ready = self.ready()

        async def turn(number: int) -> None:
            nonlocal head
            head = await self.store.append(
                name,
                [Record(data) for data in self.encoded(ready[number % READY])],
                expected=head.revision,
                commit_id=new_commit_id(),
            )

        yield turn

    def ready(self) -> list[Any]:
        """Give what stands ready of each turn."""
        return [records(items(number)) for number in range(READY)]

    def encoded(self, ready: Any) -> list[bytes]:
        """Give the records of a turn."""
        return ready  # type: ignore[no-any-return]  # `ready` is Any: each way has its own

    async def load(self, name: str, *, after: int | None) -> int:
        """Read records; gives how many."""
        loaded: Any = await self.store.load(name, after=after)
        return len(loaded.records)


class Store(Append):
    """Events built and encoded in the loop's thread, then `SessionStore.append`."""

    name = "store"

    def ready(self) -> list[Any]:
        return [items(number) for number in range(READY)]

    def encoded(self, ready: Any) -> list[bytes]:
        return records(ready)


class WholeTurn(Append):
    """The whole way: items given to an open turn of a keeper."""

    name = "turn"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the store open, and a keeper on it."""
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


PATHS: Final = {each.name: each for each in (Append, Store, WholeTurn)}
