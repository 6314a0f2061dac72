"""Fixtures of the proofs: worker processes, writers that note what was acknowledged, figures."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from turnkeep.errors import SessionConflict, StoreUnavailable
from turnkeep.store import Record, new_commit_id

WORKER = Path(__file__).with_name("worker.py")
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def worker(schema: str) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a process of worker.py on the test's schema."""
    started = []

    def start(url: str, **options: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(WORKER), url, schema, json.dumps(options)],
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


class Load:
    """Writers of several sessions in this process, and what they were told."""

    SESSIONS = 12

    def __init__(self, store, prefix: str = "s") -> None:
        self.prefix = prefix
        self.store = store
        self.heads = {}
        self.conflicts = 0
        self.unknown = 0
        self._stop = False

    @property
    def appends(self) -> int:
        return sum(head.revision.version for head in self.heads.values())

    async def begin(self) -> None:
        for number in range(self.SESSIONS):
            name = f"{self.prefix}{number}"
            self.heads[name] = await self.store.create(name, commit_id=new_commit_id())

    async def _write(self, name: str) -> None:
        while not self._stop:
            head = self.heads[name]
            number = head.revision.version + 1
            records = [Record(f"{name} {number} {part} {'x' * 300}".encode()) for part in (0, 1)]
            state = b"%d" % number
            try:
                self.heads[name] = await self.store.append(
                    name, records, expected=head.revision, commit_id=new_commit_id(), state=state
                )
            except SessionConflict:
                self.conflicts += 1  # each session has one writer: this would be a lie
                return
            except StoreUnavailable:
                self.unknown += 1
                found = await self._found(name)
                assert found.revision.version in {number - 1, number}
                self.heads[name] = found

    async def _found(self, name: str):
        while True:  # the outcome is unknown until the server is back
            with contextlib.suppress(StoreUnavailable):
                return (await self.store.load(name, limit=1)).head

    @asynccontextmanager
    async def running(self):
        """Write until the end of the block."""
        tasks = [asyncio.create_task(self._write(name)) for name in self.heads]
        try:
            yield self
        finally:
            self._stop = True
            await asyncio.gather(*tasks)

    async def progress(self, appends: int = 100) -> None:
        """Wait until so many more appends have been acknowledged."""
        wanted = self.appends + appends
        while self.appends < wanted:
            await asyncio.sleep(0.01)

    async def check(self) -> None:
        """Each acknowledged append is there, once, whole and in order, and nothing else is."""
        assert self.conflicts == 0
        for name, head in self.heads.items():
            found = await self.store.load(name, after=0)
            version = found.head.revision.version
            assert version == head.revision.version
            assert found.state == (b"%d" % version if version else b"{}")
            said = [each.split()[:3] for each in found.records]
            assert said == [
                [name.encode(), b"%d" % number, b"%d" % part]
                for number in range(1, version + 1)
                for part in (0, 1)
            ]


@pytest.fixture
def loads() -> type[Load]:
    """Writers under load, to be begun on a store."""
    return Load


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show a figure at the end of the run."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what was reported."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("figures of the proofs of PostgreSQL")
        for figure in figures:
            terminalreporter.line(figure)
