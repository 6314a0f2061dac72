"""langgraph: the checkpoint savers for SQLite and PostgreSQL, used as a graph does.

One checkpoint a turn, as with `durability="exit"`, which is the least: by default there is one for
each step of the graph. Each holds the whole list of messages; there is no call that loads fewer.
The saver for Redis needs the modules RedisJSON and RediSearch, so it cannot run on a plain server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import create_checkpoint, empty_checkpoint

from peers.session_base import SESSION, SessionPeer, Where, texts

_THREAD: Any = {"configurable": {"thread_id": SESSION, "checkpoint_ns": ""}}


def messages(number: int) -> list[Any]:
    """Give a turn as messages."""
    turn = texts(number)
    call: Any = {"name": turn.tool, "args": turn.arguments, "id": turn.call_id}
    return [
        HumanMessage(turn.question, id=f"q-{number}"),
        AIMessage("", tool_calls=[call], id=f"c-{number}"),
        ToolMessage(turn.result, tool_call_id=turn.call_id, name=turn.tool, id=f"r-{number}"),
        AIMessage(turn.answer, id=f"a-{number}"),
    ]


class Saver:
    """Either of its savers."""

    load_how = "aget_tuple()"
    next_how = "the same: a checkpoint holds all messages"
    save_how = "aput(a checkpoint with all messages)"

    def __init__(self, where: Where) -> None:
        self.where = where
        self.saver: Any
        self.config = _THREAD
        self.checkpoint: Any = empty_checkpoint()
        self.step = 0

    async def fill(self, turns: int) -> None:
        """Put the last checkpoint only: those before it are never read, and take 1.8 GB."""
        every = [message for number in range(turns) for message in messages(number)]
        self.step = turns
        await self.put(every)

    async def put(self, every: list[Any]) -> None:
        """Store a checkpoint with these messages behind the one that was loaded last."""
        version = self.saver.get_next_version(
            self.checkpoint["channel_versions"].get("messages"), None
        )
        checkpoint = create_checkpoint(self.checkpoint, None, self.step)
        checkpoint["channel_values"] = {"messages": every}
        checkpoint["channel_versions"] = {"messages": version}
        about: Any = {"source": "loop", "step": self.step, "parents": {}}
        await self.saver.aput(self.config, checkpoint, about, {"messages": version})
        self.step += 1

    async def load(self) -> Sequence[Any]:
        found = await self.saver.aget_tuple(_THREAD)
        self.config, self.checkpoint = found.config, found.checkpoint
        return found.checkpoint["channel_values"]["messages"]  # type: ignore[no-any-return]  # the framework is not typed

    async def load_next(self) -> Sequence[Any]:
        return await self.load()

    async def save(self, number: int) -> None:
        await self.put([*self.checkpoint["channel_values"]["messages"], *messages(number)])

    def forget(self) -> None:
        self.checkpoint = empty_checkpoint()


class Sqlite(Saver):
    """aiosqlite."""

    name = "langgraph AsyncSqliteSaver"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        file = str(self.where.folder / "langgraph.db")
        async with AsyncSqliteSaver.from_conn_string(file) as self.saver:
            yield


class Postgres(Saver):
    """psycopg, with a pipeline."""

    name = "langgraph AsyncPostgresSaver"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(self.where.url) as self.saver:
            await self.saver.setup()
            yield


def session_peers(where: Where) -> list[SessionPeer]:
    """Give those of one kind of place."""
    kinds: dict[str, list[type[Any]]] = {"sqlite": [Sqlite], "postgres": [Postgres]}
    return [each(where) for each in kinds.get(where.kind, [])]
