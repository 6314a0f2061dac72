"""The conformance suite on real stores with wrappers around them, as a configuration puts them."""

import logging
import os
import sqlite3
from base64 import b64encode
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from turnkeep.config import load_config
from turnkeep.hookspecs import Env
from turnkeep.plugins import Plugins
from turnkeep.testing.conformance import StoreConformance

pytest_plugins = ["turnkeep.testing.plugin"]

ALL = ("encrypt", "compress", "cache", "retry", "metrics")
OPTIONS = {
    "encrypt": {"keys": {"k": b64encode(bytes(range(32))).decode()}},
    "compress": {"above": 0},
}
COORDINATES = {"redis": "prefix", "postgres": "schema"}


@cache
def plugins():
    return Plugins(warn=False)


@asynccontextmanager
async def open_wrapped(session, wrap):
    tables = {"session": {**session, "wrap": list(wrap)}}
    tables["session"] |= {name: OPTIONS[name] for name in wrap if name in OPTIONS}
    config = load_config(tables, environ={}, plugins=plugins())
    env = Env(data_dir=Path(), logger=logging.getLogger("test"))
    async with config.open_store(env) as (store, _):
        yield store


class Wrapped(StoreConformance):
    """Around one place; `wrap` is what stands there, from the store outwards."""

    wrap: tuple[str, ...] = ()

    @pytest.fixture(autouse=True)
    def installed(self):
        if "encrypt" in self.wrap and find_spec("turnkeep_wrap_encrypt") is None:
            pytest.skip("needs turnkeep-wrap-encrypt")

    @pytest.fixture
    def opener(self, place):
        return partial(open_wrapped, place, self.wrap)


class Alone:
    """One wrapper. Twenty kills are for all of them at once; this one bears a single one, too."""

    test_many_killed_processes_lose_nothing_acknowledged = None


class OnSqlite(Wrapped):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "s.db"

    @pytest.fixture
    def place(self, path):
        return {"store": "sqlite", "sqlite": {"path": str(path), "synchronous": "normal"}}

    @pytest.fixture
    def count_stored(self, path):
        return lambda: execute(
            path,
            "SELECT (SELECT count(*) FROM session) + (SELECT count(*) FROM event)",
        )

    @pytest.fixture
    def damage(self, path):
        delete = "DELETE FROM event WHERE seq = ? AND k = (SELECT k FROM session WHERE id = ?)"
        return lambda session_id, seq: execute(path, delete, seq, session_id)


def execute(path, statement, *values):
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return (connection.execute(statement, values).fetchone() or [None])[0]
    finally:
        connection.close()


class TestSqliteInAll(OnSqlite):
    wrap = ALL


@pytest.mark.prove
class TestSqliteEncrypted(Alone, OnSqlite):
    wrap = ("encrypt",)


@pytest.mark.prove
class TestSqliteCompressed(Alone, OnSqlite):
    wrap = ("compress",)


@pytest.mark.prove
class TestSqliteCached(Alone, OnSqlite):
    wrap = ("cache",)


@pytest.mark.prove
class TestSqliteRetried(Alone, OnSqlite):
    wrap = ("retry",)


@pytest.mark.prove
class TestSqliteMeasured(Alone, OnSqlite):
    wrap = ("metrics",)


class OnServer(Wrapped):
    kind = ""

    @pytest.fixture
    def place(self, request):
        if find_spec(f"turnkeep_session_{self.kind}") is None:
            pytest.skip(f"needs turnkeep-session-{self.kind}")
        url = request.getfixturevalue(f"{self.kind}_url")
        name = f"wrapped_{os.getpid()}_{'_'.join(self.wrap)}"  # one for all tests of a class
        return {"store": self.kind, self.kind: {"url": url, COORDINATES[self.kind]: name}}


@pytest.mark.prove
class TestRedisInAll(OnServer):
    kind, wrap = "redis", ALL


@pytest.mark.prove
class TestRedisEncrypted(Alone, OnServer):
    kind, wrap = "redis", ("encrypt",)


@pytest.mark.prove
class TestRedisCompressed(Alone, OnServer):
    kind, wrap = "redis", ("compress",)


@pytest.mark.prove
class TestRedisCached(Alone, OnServer):
    kind, wrap = "redis", ("cache",)


@pytest.mark.prove
class TestRedisRetried(Alone, OnServer):
    kind, wrap = "redis", ("retry",)


@pytest.mark.prove
class TestRedisMeasured(Alone, OnServer):
    kind, wrap = "redis", ("metrics",)


@pytest.mark.prove
class TestPostgresInAll(OnServer):
    kind, wrap = "postgres", ALL


@pytest.mark.prove
class TestPostgresEncrypted(Alone, OnServer):
    kind, wrap = "postgres", ("encrypt",)


@pytest.mark.prove
class TestPostgresCompressed(Alone, OnServer):
    kind, wrap = "postgres", ("compress",)


@pytest.mark.prove
class TestPostgresCached(Alone, OnServer):
    kind, wrap = "postgres", ("cache",)


@pytest.mark.prove
class TestPostgresRetried(Alone, OnServer):
    kind, wrap = "postgres", ("retry",)


@pytest.mark.prove
class TestPostgresMeasured(Alone, OnServer):
    kind, wrap = "postgres", ("metrics",)
