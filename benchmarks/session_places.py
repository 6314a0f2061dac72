"""Where the sessions of a benchmark are kept: a folder for SQLite, a server of its own for others.

A server runs as it is delivered (PostgreSQL with fsync, Redis with a log that is synced each
second), on 127.0.0.1, with its data in a temporary folder. The floor and each way to the store have
a database, a schema or a number of their own in it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from session_floors import Contender, PostgresFloor, RedisFloor, SqliteFloor
from session_paths import PATHS, Opening

from turnkeep.errors import TurnkeepError
from turnkeep.hookspecs import Env
from turnkeep.plugins import Plugins
from turnkeep.store import SessionStore


class Place:
    """A kind of store, opened by its plugin as a program would."""

    kind: str
    program: str = ""
    """What its server needs, for who has none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self) -> str | None:
        """Tell what is not installed here, if anything is."""
        if self.program and not self.has_program():
            return f"needs {self.program} on this machine"
        try:
            Plugins(warn=False).store(self.kind)
        except TurnkeepError as error:
            return str(error)
        return None

    def has_program(self) -> bool:
        """Whether the server's program is there."""
        return True

    def start(self) -> None:
        """Start the server."""

    def stop(self) -> None:
        """End it."""

    async def settle(self) -> None:
        """Have the server do now, once, what it would do of itself some time after a bulk fill."""

    async def version(self) -> str:
        """Name the server's version and how durable it is set."""
        raise NotImplementedError  # each kind has its own

    def options(self, name: str) -> dict[str, Any]:
        """Options of a store that has a part of the place for itself."""
        raise NotImplementedError  # each kind has its own

    def floor(self) -> Contender:
        """Give the raw driver's way."""
        raise NotImplementedError  # each kind has its own

    def opening(self, name: str) -> Opening:
        """Give what opens a store in a part of the place."""
        return partial(self.opened, name)

    @asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator[SessionStore]:
        """Open a store as its plugin says."""
        spec = Plugins(warn=False).store(self.kind)
        options = spec.options.model_validate(self.options(name))
        env = Env(data_dir=self.folder, logger=logging.getLogger("turnkeep"))
        async with spec.open(options, env) as store:
            yield store

    def contenders(self, paths: list[str]) -> list[Contender]:
        """Give the floor and the ways of these names."""
        return [self.floor(), *(PATHS[name](self.opening(name)) for name in paths)]


class SqlitePlace(Place):
    """A file for each, in one folder."""

    kind = "sqlite"

    def options(self, name: str) -> dict[str, Any]:
        return {"path": str(self.folder / f"{name}.db")}

    def floor(self) -> Contender:
        return SqliteFloor(self.folder / "floor.db")

    async def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL"


class PostgresPlace(Place):
    """A server, and a schema for each."""

    kind = "postgres"
    program = "postgres and initdb"

    def has_program(self) -> bool:
        from turnkeep.testing.servers.postgres import PostgresServer

        return PostgresServer.program() is not None

    def start(self) -> None:
        from turnkeep.testing.servers.postgres import PostgresServer

        self.server = PostgresServer()
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    @property
    def url(self) -> str:
        """How to reach the server."""
        return self.server.url

    async def ask(self, statement: str) -> Any:
        """Run a statement and give its row, if it has one."""
        import psycopg

        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as link:
            done = await link.execute(statement.encode())
            return await done.fetchone() if done.description else None

    async def settle(self) -> None:
        await self.ask("VACUUM ANALYZE")
        await self.ask("CHECKPOINT")

    async def version(self) -> str:
        (version,) = await self.ask("SHOW server_version")
        (fsync,) = await self.ask("SHOW fsync")
        (synchronous,) = await self.ask("SHOW synchronous_commit")
        return f"PostgreSQL {version.split()[0]}, fsync={fsync}, synchronous_commit={synchronous}"

    def options(self, name: str) -> dict[str, Any]:
        return {"url": self.url, "schema": f"turnkeep_{name}"}

    def floor(self) -> Contender:
        return PostgresFloor(self.url)


class RedisPlace(Place):
    """A server, and keys with a prefix for each."""

    kind = "redis"
    program = "redis-server or valkey-server"

    def has_program(self) -> bool:
        from turnkeep.testing.servers.redis import RedisServer

        return RedisServer.program() is not None

    def start(self) -> None:
        from turnkeep.testing.servers.redis import RedisServer

        self.server = RedisServer()
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    @property
    def url(self) -> str:
        """How to reach the server."""
        return self.server.url

    async def settle(self) -> None:
        # Else the log is rewritten, by a fork, in the middle of what is measured.
        with suppress(Exception):  # one may be running already
            self.server.ask("BGREWRITEAOF")
        while self.server.info("persistence")["aof_rewrite_in_progress"] != "0":
            await asyncio.sleep(0.1)

    async def version(self) -> str:
        server = self.server.info("server")
        name = "Valkey" if "valkey_version" in server else "Redis"
        number = server.get("valkey_version", server["redis_version"])
        log = self.server.ask("CONFIG", "GET", "appendfsync")
        assert isinstance(log, list)
        assert isinstance(log[1], bytes)
        return f"{name} {number}, appendonly, appendfsync={log[1].decode()}"

    def options(self, name: str) -> dict[str, Any]:
        return {"url": self.url, "prefix": f"turnkeep-{name}"}

    def floor(self) -> Contender:
        return RedisFloor(self.url)


PLACES: Final = {each.kind: each for each in (SqlitePlace, PostgresPlace, RedisPlace)}
