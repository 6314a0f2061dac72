"""What the conformance suite cannot ask of the store in memory: a clock of its own, and words."""

from datetime import UTC, datetime, timedelta

import pytest

from turnkeep.errors import SessionExists, SessionNotFound, StoreClosed
from turnkeep.store import Record, new_commit_id
from turnkeep.stores.memory import MemoryStore


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


async def create(store, session_id="s", **fields):
    return await store.create(session_id, commit_id=new_commit_id(), **fields)


async def append(store, head, *data, **fields):
    fields.setdefault("commit_id", new_commit_id())
    return await store.append(
        head.session_id, [Record(d) for d in data], expected=head.revision, **fields
    )


async def test_create_refuses_what_exists():
    """A second create is SessionExists, which is a ValueError."""
    store = MemoryStore()
    await create(store)
    with pytest.raises(SessionExists, match="'s' exists already"):
        await create(store)
    assert issubclass(SessionExists, ValueError)


async def test_a_session_slides_and_expires_by_the_stores_clock():
    """The ttl counts from the last append; an expired session is found by nothing."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    head = await create(store, ttl=60)
    clock.now += timedelta(seconds=50)
    head = await append(store, head, b"a")
    clock.now += timedelta(seconds=50)
    assert await store.load("s") is not None
    clock.now += timedelta(seconds=10)
    assert await store.load("s") is None
    assert (await store.list()).heads == []
    assert not await store.delete("s")
    with pytest.raises(SessionNotFound):
        await append(store, head, b"b")
    assert await store.purge() == 1
    assert await store.purge() == 0


@pytest.mark.parametrize("bad", [{"limit": True}, {"cursor": "{}"}, {"cursor": "[null, 1]"}])
async def test_bad_pages_are_errors(bad):
    """A truth value is no limit, and other JSON no cursor."""
    with pytest.raises(ValueError):
        await MemoryStore().list(**bad)


async def test_a_closed_store_says_so():
    """Every call after close is StoreClosed; closing twice is fine."""
    store = MemoryStore()
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed, match="memory store is closed"):
        await store.load("s")
