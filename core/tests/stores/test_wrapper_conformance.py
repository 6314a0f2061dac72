"""The conformance suite of stores on each wrapper of core, around the store in memory.

Those that only pass calls on are in the long run; all of them together are in the short one.
"""

import pickle
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from turnkeep.events import utc_now
from turnkeep.stores.cache import CachedStore, CacheOptions
from turnkeep.stores.compress import CompressedStore, CompressOptions
from turnkeep.stores.memory import MemoryStore
from turnkeep.stores.metrics import MeasuredStore
from turnkeep.stores.retry import RetryingStore
from turnkeep.stores.wrapped import StoreWrapper
from turnkeep.testing.conformance import StoreConformance

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_wrapped(root, wrap, **options):
    store = wrap(root.handle(**options))
    try:
        yield store
    finally:
        await store.close()


def cached(store):
    return CachedStore(CompressedStore(store))


def in_all(store):
    return MeasuredStore(RetryingStore(cached(store)))


class Wrapped(StoreConformance):
    """Around one place in memory; `wrap` puts the wrapper around a handle."""

    @pytest.fixture
    def root(self):
        return MemoryStore()

    @pytest.fixture
    def wrap(self):
        raise NotImplementedError

    @pytest.fixture
    def opener(self, root, wrap):
        return partial(open_wrapped, root, wrap)

    @pytest.fixture
    def skewed_opener(self, root, wrap):
        return partial(open_wrapped, root, wrap, clock=lambda: utc_now() - timedelta(hours=1))

    @pytest.fixture
    def count_stored(self, root):
        return lambda: len(root._sessions)

    @pytest.fixture
    def read_raw(self, root):
        return lambda: pickle.dumps(root._sessions)


@pytest.mark.prove
class TestPassedOn(Wrapped):
    @pytest.fixture
    def wrap(self):
        return StoreWrapper


class TestCompressed(Wrapped):
    @pytest.fixture
    def wrap(self):
        return partial(CompressedStore, options=CompressOptions(above=0))

    @pytest.fixture
    def damage(self, root):
        """Put bytes in the place of a record that no compressed store wrote."""

        def damage(session_id, seq):
            root._sessions[session_id].records[seq - 1] = b"\xfftkz damaged"

        return damage


class TestCached(TestCompressed):
    """Damage is of the compressed store inside: a store in memory has none."""

    @pytest.fixture
    def wrap(self):
        return cached


class TestCachedInNoRoom(Wrapped):
    @pytest.fixture
    def wrap(self):
        return partial(CachedStore, options=CacheOptions(sessions=1, bytes=600))


@pytest.mark.prove
class TestRetrying(Wrapped):
    @pytest.fixture
    def wrap(self):
        return RetryingStore


@pytest.mark.prove
class TestMeasured(Wrapped):
    @pytest.fixture
    def wrap(self):
        return MeasuredStore


class TestAllOfThem(TestCompressed):
    """As `wrap = ["compress", "cache", "retry", "metrics"]` puts them."""

    @pytest.fixture
    def wrap(self):
        return in_all
