"""The conformance suite on every broken store; run by test_broken.py, which expects the failures."""

import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from turnkeep.events import utc_now
from turnkeep.testing.conformance import StoreConformance

sys.path.insert(0, str(Path(__file__).parent))
from broken import BROKEN
from filed import FILED

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_handle(root, **options):
    store = root.handle(**options)
    try:
        yield store
    finally:
        await store.close()


class _Suite(StoreConformance):
    @pytest.fixture
    def root(self):
        return self.store()

    @pytest.fixture
    def opener(self, root):
        return partial(open_handle, root)

    @pytest.fixture
    def skewed_opener(self, root):
        return partial(open_handle, root, clock=lambda: utc_now() - timedelta(hours=1))

    @pytest.fixture
    def damage(self, root):
        return root.spoil

    @pytest.fixture
    def count_stored(self, root):
        return root.stored

    @pytest.fixture
    def read_raw(self, root):
        return root.raw


@asynccontextmanager
async def open_file(store, path):
    opened = store(path)
    try:
        yield opened
    finally:
        await opened.close()


class _FileSuite(StoreConformance):
    @pytest.fixture
    def opener(self, tmp_path):
        return partial(open_file, self.store, tmp_path / "sessions")


for stores, base in ((BROKEN, _Suite), (FILED, _FileSuite)):
    for name, (store, _) in stores.items():
        globals()[f"Test{name}"] = type(f"Test{name}", (base,), {"store": store})
