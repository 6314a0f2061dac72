"""turnkeep's conformance suite on this store."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
from turnkeep_session_jsonl.lines import now_ms
from turnkeep_session_jsonl.store import JsonlStore

from turnkeep.testing.conformance import StoreConformance

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_store(folder, **options):
    store = JsonlStore(folder, **options)
    try:
        yield store
    finally:
        await store.close()


def an_hour_ago():
    return now_ms() - 3_600_000


class TestJsonl(StoreConformance):
    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "sessions"

    @pytest.fixture
    def opener(self, folder):
        return partial(open_store, folder)

    @pytest.fixture
    def skewed_opener(self, folder):
        return partial(open_store, folder, clock=an_hour_ago)

    @pytest.fixture
    def count_stored(self, folder):
        return lambda: len(list(folder.glob("*.jsonl")))

    @pytest.fixture
    def damage(self, folder):
        """Make the line of a record unreadable."""

        def damage(session_id, seq):
            [path] = [each for each in folder.glob("*.jsonl") if session_id in each.read_text()]
            lines = path.read_bytes().splitlines(keepends=True)
            records = [number for number, line in enumerate(lines) if line.startswith(b'"')]
            lines[records[seq - 1]] = b"damaged\n"
            path.write_bytes(b"".join(lines))

        return damage
