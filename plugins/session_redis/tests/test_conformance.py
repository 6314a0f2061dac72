"""The conformance suite of core on the Redis store."""

import time
from contextlib import asynccontextmanager
from functools import partial
from unittest.mock import patch

import pytest

from turnkeep.testing.conformance import StoreConformance
from turnkeep_session_redis.keys import FORMAT, Keys
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_redis(url, prefix):
    store = await open_store(RedisOptions(url=url, prefix=prefix))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_an_hour_behind(url, prefix):
    """A client with a wrong clock: the server's is the store's, so nothing may change."""
    now, now_ns = time.time, time.time_ns
    with (
        patch("time.time", lambda: now() - 3600),
        patch("time.time_ns", lambda: now_ns() - 3_600_000_000_000),
    ):
        async with open_redis(url, prefix) as store:
            yield store


def stored(client, prefix):
    """What each key under a prefix holds, apart from the mark of its version."""
    for key in client.scan_iter(f"{prefix}:*", count=1000):
        kind = client.type(key)
        if kind == b"list":
            yield from client.lrange(key, 0, -1)
        elif kind == b"zset":
            yield from client.zrange(key, 0, -1)


class TestRedis(StoreConformance):
    @pytest.fixture
    def opener(self, raw, url, prefix):
        return partial(open_redis, url, prefix)

    @pytest.fixture
    def skewed_opener(self, raw, url, prefix):
        return partial(open_an_hour_behind, url, prefix)

    @pytest.fixture
    def count_stored(self, raw, prefix):
        return lambda: len(list(stored(raw, prefix)))

    @pytest.fixture
    def read_raw(self, raw, prefix):
        """What the server has in memory; that its files keep more for a while is documented."""
        return lambda: b"\n".join(stored(raw, prefix))

    @pytest.fixture
    def make_newer(self, raw, prefix):
        return lambda: raw.set(Keys(prefix).format, FORMAT + 1)

    @pytest.fixture
    def make_older(self, raw, prefix):
        # The first format: what there is of older ones is the lack of the mark.
        return lambda: raw.delete(Keys(prefix).format)

    @pytest.fixture
    def damage(self, raw, prefix):
        return lambda session_id, seq: raw.lset(Keys(prefix).session(session_id), seq + 3, "")
