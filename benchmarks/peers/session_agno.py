"""agno: SqliteDb, PostgresDb and RedisDb, called as its agent does.

A turn is a run, with its messages: `upsert_session`, then `upsert_run`. The calls block; agno makes
them in the loop's thread, and so they are here. Reading a whole session again, SqliteDb and
PostgresDb take runs whose text is the same from objects that this process keeps, so what a new
process pays is measured beside it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agno.db.base import SessionType
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session.agent import AgentSession

from peers.session_base import LIVE, SESSION, USER, SessionPeer, Where, texts

AGENT = "agent"


def run_of(number: int) -> RunOutput:
    """Give a turn as a run."""
    turn = texts(number)
    call = {
        "id": turn.call_id,
        "type": "function",
        "function": {"name": turn.tool, "arguments": turn.arguments_json},
    }
    return RunOutput(
        run_id=f"run-{number:08d}",
        agent_id=AGENT,
        session_id=SESSION,
        user_id=USER,
        content=turn.answer,
        status=RunStatus.completed,
        messages=[
            Message(role="user", content=turn.question),
            Message(role="assistant", tool_calls=[call]),
            Message(
                role="tool", content=turn.result, tool_call_id=turn.call_id, tool_name=turn.tool
            ),
            Message(role="assistant", content=turn.answer),
        ],
    )


class Agno:
    """Any of its databases."""

    load_how = "get_session(), get_messages()"
    next_how = f"get_session(runs_limit={LIVE}), get_messages()"
    save_how = "upsert_session(), upsert_run()"

    def __init__(self, where: Where) -> None:
        self.where = where
        self.db: Any = None
        self.session: Any = None
        self.runs = 0

    def database(self) -> Any:
        """Make the database object."""
        raise NotImplementedError  # each kind has its own

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.db = self.database()
        yield
        if hasattr(self.db, "close"):
            self.db.close()

    async def fill(self, turns: int) -> None:
        """Save one by one, without the session's own row in between, which does not change."""
        self.session = AgentSession(
            session_id=SESSION, agent_id=AGENT, user_id=USER, created_at=int(time.time())
        )
        self.db.upsert_session(self.session)
        for number in range(turns):
            self.db.upsert_run(
                run=run_of(number), session_id=SESSION, user_id=USER, run_index=number
            )
        self.runs = turns

    async def load(self) -> Sequence[Any]:
        return self.read()

    async def load_next(self) -> Sequence[Any]:
        return self.read(runs_limit=LIVE)

    def read(self, **options: Any) -> Sequence[Any]:
        """Read the session, and its messages."""
        self.session = self.db.get_session(
            session_id=SESSION, session_type=SessionType.AGENT, user_id=USER, **options
        )
        found: list[Any] = self.session.get_messages()
        return found

    async def save(self, number: int) -> None:
        del number  # a run's id is new each time
        run = run_of(self.runs)
        self.session.upsert_run(run)
        self.db.upsert_session(self.session)
        self.db.upsert_run(run=run, session_id=SESSION, user_id=USER, run_index=self.runs)
        self.runs += 1

    def forget(self) -> None:
        self.session = None


class Anew(Agno):
    """The same without what it has read before, as in a process that begins."""

    load_how = "without its cache: get_session(), get_messages()"

    def forget(self) -> None:
        super().forget()
        self.db._run_object_cache = type(self.db._run_object_cache)()


class Sqlite(Agno):
    """SQLAlchemy over sqlite3."""

    name = "agno SqliteDb"
    file = "agno"

    def database(self) -> Any:
        from agno.db.sqlite import SqliteDb

        return SqliteDb(db_file=str(self.where.folder / f"{self.file}.db"))


class SqliteAnew(Anew, Sqlite):
    """Without its cache."""

    name = "agno SqliteDb, new process"
    file = "agno-anew"


class Postgres(Agno):
    """SQLAlchemy over psycopg."""

    name = "agno PostgresDb"
    schema = "agno"

    def database(self) -> Any:
        from agno.db.postgres import PostgresDb

        url = self.where.sqlalchemy("", {"postgres": "postgresql+psycopg"})
        return PostgresDb(db_url=url, db_schema=self.schema)


class PostgresAnew(Anew, Postgres):
    """Without its cache."""

    name = "agno PostgresDb, new process"
    schema = "agno_anew"


class Redis(Agno):
    """redis-py."""

    name = "agno RedisDb"

    def database(self) -> Any:
        from agno.db.redis import RedisDb

        return RedisDb(db_url=self.where.url)


def session_peers(where: Where) -> list[SessionPeer]:
    """Give those of one kind of place."""
    kinds: dict[str, list[type[Any]]] = {
        "sqlite": [Sqlite, SqliteAnew],
        "postgres": [Postgres, PostgresAnew],
        "redis": [Redis],
    }
    return [each(where) for each in kinds[where.kind]]
