"""Fixtures: a prefix of its own for each test, stores on it, and a look at what is stored."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from redis import Redis

from turnkeep.store import Head, Record
from turnkeep.testing.servers.proxy import Proxy
from turnkeep.testing.servers.redis import RedisServer
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions
from turnkeep_session_redis.store import RedisStore

Opener = Callable[..., AbstractAsyncContextManager[RedisStore]]


@pytest.fixture
def url(redis_url: str) -> str:
    """Where the server is."""
    return redis_url


@pytest.fixture
def prefix() -> str:
    """What this test's keys begin with."""
    return f"test-{os.urandom(6).hex()}"


@pytest.fixture
def raw(url: str, prefix: str) -> Iterator[Redis]:
    """A plain client of the server; the test's keys are gone afterwards."""
    with Redis.from_url(url) as client:
        yield client
        for key in client.scan_iter(f"{prefix}:*", count=1000):
            client.delete(key)


@pytest.fixture
def through(url: str) -> Callable[[], tuple[Proxy, Callable[[], str]]]:
    """Make a proxy before the server, and give the url that leads through it."""
    port = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])

    def make() -> tuple[Proxy, Callable[[], str]]:
        proxy = Proxy(port)
        return proxy, lambda: url.replace(str(port), str(proxy.port))

    return make


@pytest.fixture
def server(redis_url: str) -> Iterator[Callable[..., RedisServer]]:  # it skips where none may run
    """Start servers with options; they are gone after the test."""
    started = []

    def start(*config: str) -> RedisServer:
        if RedisServer.program() is None:
            pytest.skip("needs a server's program")
        started.append(RedisServer(config=config))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let something happen between the first try of a store's call and the second."""

    def set_up(store: RedisStore, happens: Callable[[], Awaitable[object]]) -> None:
        look = store._link._look

        async def first(deadline: float) -> None:
            monkeypatch.setattr(store._link, "_look", look)
            await happens()
            await look(deadline)

        monkeypatch.setattr(store._link, "_look", first)

    return set_up


@pytest.fixture
def opened(url: str, prefix: str, raw: Redis) -> Opener:
    """Give a context manager that opens the store on the test's prefix, or as options say."""

    @asynccontextmanager
    async def open_it(**options: object) -> AsyncIterator[RedisStore]:
        given = {"url": url, "prefix": prefix, "retry_for": 5.0, **options}
        store = await open_store(RedisOptions.model_validate(given))
        try:
            yield store
        finally:
            await store.close()

    return open_it


@pytest.fixture
def begin() -> Callable[..., object]:
    """Create a session and append some records to it, each its own number."""

    async def make(store: RedisStore, name: str = "s", records: int = 0, **more: object) -> Head:
        head = await store.create(name, commit_id=os.urandom(16), **more)  # type: ignore[arg-type]  # mixed
        if records:
            data = [Record(b"%d" % (number + 1)) for number in range(records)]
            head = await store.append(name, data, expected=head.revision, commit_id=os.urandom(16))
        return head

    return make


@pytest.fixture
def append() -> Callable[..., object]:
    """Append records behind a head."""

    async def more(store: RedisStore, head: Head, *data: bytes, **fields: object) -> Head:
        fields = {"commit_id": os.urandom(16), "expected": head.revision, **fields}
        records = [Record(each) for each in data]
        return await store.append(head.session_id, records, **fields)  # type: ignore[arg-type]  # mixed

    return more
