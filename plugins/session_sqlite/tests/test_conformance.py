"""The conformance suite of core on the SQLite store."""

import sqlite3
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest

from turnkeep.testing.conformance import StoreConformance
from turnkeep_session_sqlite.files import SCHEMA_VERSION
from turnkeep_session_sqlite.store import SqliteStore

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_store(path, **options):
    store = await SqliteStore.open(path, **options)
    try:
        yield store
    finally:
        await store.close()


def an_hour_ago():
    return time.time_ns() // 1_000_000 - 3_600_000


def execute(path, *script):
    """Run statements on the file as another program would; gives the rows of the last."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(*statement).fetchall() for statement in script][-1]
    finally:
        connection.close()


class TestSqlite(StoreConformance):
    @pytest.fixture
    def opener(self, path):
        return partial(open_store, path)

    @pytest.fixture
    def skewed_opener(self, path):
        return partial(open_store, path, clock=an_hour_ago)

    @pytest.fixture
    def count_stored(self, path):
        tables = ("session", "state", "event")
        count = "SELECT " + " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return lambda: execute(path, (count,))[0][0]

    @pytest.fixture
    def read_raw(self, path):
        return lambda: b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))

    @pytest.fixture
    def make_newer(self, path):
        return lambda: execute(path, (f"PRAGMA user_version = {SCHEMA_VERSION + 1}",))

    @pytest.fixture
    def make_older(self, path):
        # What a file of version 0 lacks.
        return lambda: execute(path, ("DROP INDEX session_by_age",), ("PRAGMA user_version = 0",))

    @pytest.fixture
    def damage(self, path):
        delete = "DELETE FROM event WHERE seq = ? AND k = (SELECT k FROM session WHERE id = ?)"
        return lambda session_id, seq: execute(path, (delete, (seq, session_id)))
