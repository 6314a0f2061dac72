"""The conformance suite of core on encrypted sessions, around the store in memory."""

import pickle
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from turnkeep.events import utc_now
from turnkeep.stores.cache import CachedStore
from turnkeep.stores.coded import Place
from turnkeep.stores.compress import CompressedStore, CompressOptions
from turnkeep.stores.memory import MemoryStore
from turnkeep.stores.metrics import MeasuredStore
from turnkeep.stores.retry import RetryingStore
from turnkeep.testing.conformance import StoreConformance
from turnkeep_wrap_encrypt.keys import Keyring
from turnkeep_wrap_encrypt.store import EncryptedStore

pytest_plugins = ["turnkeep.testing.plugin"]


def encrypted(store):
    return EncryptedStore(store, Keyring({"a": bytes(range(32))}, "a"))


def in_all(store):
    """As `wrap = ["encrypt", "compress", "cache", "retry", "metrics"]` puts them."""
    compressed = CompressedStore(encrypted(store), CompressOptions(above=0))
    return MeasuredStore(RetryingStore(CachedStore(compressed)))


@asynccontextmanager
async def open_wrapped(root, wrap, **options):
    store = wrap(root.handle(**options))
    try:
        yield store
    finally:
        await store.close()


class TestEncrypted(StoreConformance):
    @pytest.fixture
    def root(self):
        return MemoryStore()

    @pytest.fixture
    def wrap(self):
        return encrypted

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
    def damage(self, root):
        """Change the last byte of a record."""

        def damage(session_id, seq):
            records = root._sessions[session_id].records
            records[seq - 1] = records[seq - 1][:-1] + bytes([records[seq - 1][-1] ^ 1])

        return damage

    @pytest.fixture
    def read_raw(self, root):
        """Read all bytes, and what the seals among them hold."""

        def read():
            store = encrypted(root)
            opened = [pickle.dumps(root._sessions)]
            for name, session in root._sessions.items():
                life = session.head.revision.incarnation
                opened += [
                    store.decode(Place(name, "record", seq, life), record)
                    for seq, record in enumerate(session.records, 1)
                ]
            return b"".join(opened)

        return read


class TestEncryptedInAll(TestEncrypted):
    @pytest.fixture
    def wrap(self):
        return in_all
