"""openai-agents: SQLiteSession, SQLAlchemySession and RedisSession.

A session keeps input items of the Responses API, which are dicts; no state, no version. A runner
calls `add_items` two or three times a turn; here it is once, which is the least.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers.session_base import LIVE, SESSION, SessionPeer, Where, texts

BULK = 100
"""Turns of one `add_items` in a fill: the same rows, with equal times."""


def input_items(number: int) -> list[Any]:
    """Give a turn as input items."""
    turn = texts(number)
    return [
        {"role": "user", "content": turn.question},
        {
            "type": "function_call",
            "call_id": turn.call_id,
            "name": turn.tool,
            "arguments": turn.arguments_json,
        },
        {"type": "function_call_output", "call_id": turn.call_id, "output": turn.result},
        {"role": "assistant", "content": turn.answer},
    ]


class Agents:
    """Any of its sessions."""

    load_how = "get_items()"
    next_how = f"get_items(limit={4 * LIVE})"
    save_how = "add_items(4 items)"

    def __init__(self, where: Where) -> None:
        self.where = where
        self.session: Any

    async def fill(self, turns: int) -> None:
        for first in range(0, turns, BULK):
            numbers = range(first, min(first + BULK, turns))
            await self.session.add_items([item for n in numbers for item in input_items(n)])

    async def load(self) -> Sequence[Any]:
        found: list[Any] = await self.session.get_items()
        return found

    async def load_next(self) -> Sequence[Any]:
        found: list[Any] = await self.session.get_items(limit=4 * LIVE)
        return found

    async def save(self, number: int) -> None:
        await self.session.add_items(input_items(number))

    def forget(self) -> None:
        """Nothing is held."""


class Sqlite(Agents):
    """sqlite3 in a thread."""

    name = "openai-agents SQLiteSession"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from agents.memory.sqlite_session import SQLiteSession

        self.session = SQLiteSession(SESSION, self.where.folder / "openai-agents.db")
        yield
        self.session.close()


class SqlAlchemy(Agents):
    """aiosqlite or asyncpg, as its documentation has it."""

    name = "openai-agents SQLAlchemySession"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from agents.extensions.memory.sqlalchemy_session import SQLAlchemySession
        from sqlalchemy.ext.asyncio import create_async_engine

        drivers = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg"}
        engine = create_async_engine(self.where.sqlalchemy("openai-agents-sa", drivers))
        self.session = SQLAlchemySession(SESSION, engine=engine, create_tables=True)
        yield
        await engine.dispose()


class Redis(Agents):
    """redis-py, lists."""

    name = "openai-agents RedisSession"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        from agents.extensions.memory.redis_session import RedisSession

        self.session = RedisSession.from_url(SESSION, url=self.where.url, key_prefix="openai")
        yield
        await self.session.close()


def session_peers(where: Where) -> list[SessionPeer]:
    """Give those of one kind of place."""
    kinds: dict[str, list[type[Any]]] = {
        "sqlite": [Sqlite, SqlAlchemy],
        "postgres": [SqlAlchemy],
        "redis": [Redis],
    }
    return [each(where) for each in kinds[where.kind]]
