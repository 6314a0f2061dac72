"""The conformance suite on the store in memory."""

import pickle
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from turnkeep.events import utc_now
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.conformance import StoreConformance

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_handle(root, **options):
    store = root.handle(**options)
    try:
        yield store
    finally:
        await store.close()


class TestMemory(StoreConformance):
    @pytest.fixture
    def root(self):
        return MemoryStore()

    @pytest.fixture
    def opener(self, root):
        return partial(open_handle, root)

    @pytest.fixture
    def skewed_opener(self, root):
        return partial(open_handle, root, clock=lambda: utc_now() - timedelta(hours=1))

    @pytest.fixture
    def count_stored(self, root):
        return lambda: len(root._sessions)

    @pytest.fixture
    def read_raw(self, root):
        return lambda: pickle.dumps(root._sessions)
