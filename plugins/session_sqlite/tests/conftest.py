"""Fixtures: a store on a real file, a clock that tests set, and child processes.

Coroutine tests are run by the workspace's conftest.py.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from turnkeep.store import Head, Record
from turnkeep_session_sqlite.store import SqliteStore

CHILD = """
import asyncio, os, sys
from pathlib import Path
from turnkeep.errors import *
from turnkeep.store import Record, new_commit_id
from turnkeep_session_sqlite.store import SqliteStore
"""


class Clock:
    """The store's time in ms, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is moved."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the tests' database lies."""
    return tmp_path / "sessions.db"


Opener = Callable[..., AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def opened(path: Path, clock: Clock) -> Opener:
    """Give a context manager that opens the store on `path`, or on another file."""

    @asynccontextmanager
    async def open_it(at: Path = path, **options: object) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(at, **{"clock": clock, **options})  # type: ignore[arg-type]  # mixed
        try:
            yield store
        finally:
            await store.close()

    return open_it


@pytest.fixture
def begin() -> Callable[..., object]:
    """Create a session and append some records to it, each its own number."""

    async def make(store: SqliteStore, name: str = "s", records: int = 0, **more: object) -> Head:
        head = await store.create(name, commit_id=os.urandom(16), **more)  # type: ignore[arg-type]  # mixed
        if records:
            data = [Record(b"%d" % (number + 1)) for number in range(records)]
            head = await store.append(name, data, expected=head.revision, commit_id=os.urandom(16))
        return head

    return make


@pytest.fixture
def child(path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a Python process that runs `code`; `main` in it is a coroutine given a store."""
    started = []

    def start(
        code: str, *arguments: object, prefix: tuple[str, ...] = ()
    ) -> "subprocess.Popen[str]":
        text = CHILD + textwrap.dedent(code)
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", text, str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish() -> Callable[..., str]:
    """Wait for a child; gives its output, or fails with its errors."""

    def wait(process: "subprocess.Popen[str]", timeout: float = 60) -> str:
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == 0, err
        return out

    return wait
