"""google-adk: DatabaseSessionService.

A turn is one `append_event` for each of its events, as its runner does; there is no other way in.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.schemas.v1 import StorageEvent, StorageSession
from google.genai import types
from sqlalchemy import update

from peers.session_base import LIVE, SESSION, USER, SessionPeer, Where, texts

APP = "app"
BULK = 100
_KEY: dict[str, Any] = {"app_name": APP, "user_id": USER, "session_id": SESSION}


def events(number: int, *, timestamp: float | None = None) -> list[Event]:
    """Give a turn as events, a millisecond apart where they are made beforehand."""
    turn = texts(number)
    parts = [
        ("user", types.Part(text=turn.question)),
        (
            "model",
            types.Part(
                function_call=types.FunctionCall(
                    id=turn.call_id, name=turn.tool, args=turn.arguments
                )
            ),
        ),
        (
            "user",
            types.Part(
                function_response=types.FunctionResponse(
                    id=turn.call_id, name=turn.tool, response={"result": turn.result}
                )
            ),
        ),
        ("model", types.Part(text=turn.answer)),
    ]
    made = []
    for place, (role, part) in enumerate(parts):
        event = Event(
            invocation_id=f"e-{number:08d}",
            author="agent" if place else "user",
            content=types.Content(role=role, parts=[part]),
        )
        if timestamp is not None:
            event.timestamp = timestamp + place / 1000
        made.append(event)
    return made


class Database:
    """SQLAlchemy's ORM over aiosqlite or asyncpg, as its documentation has it."""

    name = "google-adk DatabaseSessionService"
    load_how = "get_session()"
    next_how = f"get_session(num_recent_events={4 * LIVE})"
    save_how = "4 x append_event()"

    def __init__(self, where: Where) -> None:
        self.where = where
        self.session: Any = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        drivers = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg"}
        self.service = DatabaseSessionService(self.where.sqlalchemy("google-adk", drivers))
        yield
        await self.service.close()

    async def fill(self, turns: int) -> None:
        """Make rows by its own `StorageEvent.from_event`, a hundred turns a transaction."""
        self.session = await self.service.create_session(**_KEY)
        begun = time.time() - turns
        for first in range(0, turns, BULK):
            made = [
                event
                for number in range(first, min(first + BULK, turns))
                for event in events(number, timestamp=begun + number)
            ]
            rows = [StorageEvent.from_event(self.session, event) for event in made]
            async with self.service.database_session_factory() as session:
                session.add_all(rows)
                await session.flush()
                last = rows[-1].timestamp.replace(tzinfo=None)
                await session.execute(
                    update(StorageSession)
                    .where(StorageSession.app_name == APP, StorageSession.id == SESSION)
                    .values(update_time=last)
                )
                await session.commit()

    async def load(self) -> Sequence[Any]:
        self.session = await self.service.get_session(**_KEY)
        return self.session.events  # type: ignore[no-any-return]  # the framework is not typed

    async def load_next(self) -> Sequence[Any]:
        recent = GetSessionConfig(num_recent_events=4 * LIVE)
        self.session = await self.service.get_session(**_KEY, config=recent)
        return self.session.events  # type: ignore[no-any-return]  # the framework is not typed

    async def save(self, number: int) -> None:
        for event in events(number):
            await self.service.append_event(self.session, event)

    def forget(self) -> None:
        self.session = None


def session_peers(where: Where) -> list[SessionPeer]:
    """Give those of one kind of place."""
    return [Database(where)] if where.kind in {"sqlite", "postgres"} else []
