"""The store contract, shown on the store in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from turnkeep.errors import SessionConflict, SessionExists, SessionNotFound, StoreClosed
from turnkeep.store import Loaded, NotModified, Record, new_commit_id
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


async def test_a_new_session_is_empty_at_version_0():
    """Create gives a head; load gives the same one, and no records."""
    store = MemoryStore()
    head = await create(store, user_id="u", ttl=60)
    loaded = await store.load("s")
    assert isinstance(loaded, Loaded)
    assert loaded.head == head
    assert (head.revision.version, head.seq, head.base, loaded.records) == (0, 0, 0, [])


async def test_appends_are_numbered_and_counted():
    """Seqs go 1 to n without gaps, the version counts appends."""
    store = MemoryStore()
    head = await append(store, await create(store), b"a", b"b", state=b'{"k":1}', meta=b"m")
    head = await append(store, head, b"c")
    loaded = await store.load("s", after=0)
    assert (head.seq, head.revision.version, head.meta) == (3, 2, b"m")
    assert (loaded.first, loaded.records, loaded.state) == (1, [b"a", b"b", b"c"], b'{"k":1}')


async def test_a_stale_writer_conflicts_and_writes_nothing():
    """Of two writers one wins; the other learns the current head."""
    store = MemoryStore()
    head = await create(store)
    won = await append(store, head, b"a")
    with pytest.raises(SessionConflict) as caught:
        await append(store, head, b"b", state=b"{}")
    assert caught.value.head == won
    assert (await store.load("s", after=0)).records == [b"a"]


async def test_an_earlier_incarnation_always_conflicts():
    """A handle from before a deletion is refused at equal versions too."""
    store = MemoryStore()
    old = await create(store)
    assert await store.delete("s")
    new = await create(store)
    assert new.revision.version == old.revision.version
    with pytest.raises(SessionConflict):
        await append(store, old, b"a")


async def test_a_retry_writes_nothing_twice():
    """The same commit id answers with the head it made."""
    store = MemoryStore()
    made = new_commit_id()
    head = await store.create("s", commit_id=made)
    assert await store.create("s", commit_id=made) == head
    key = new_commit_id()
    after = await append(store, head, b"a", commit_id=key)
    assert await append(store, head, b"a", commit_id=key) == after
    assert (await store.load("s", after=0)).records == [b"a"]


async def test_create_refuses_what_exists():
    """A second create is SessionExists, which is a ValueError."""
    store = MemoryStore()
    await create(store)
    with pytest.raises(SessionExists, match="'s' exists already"):
        await create(store)
    assert issubclass(SessionExists, ValueError)


async def test_loads_page_and_start_at_the_base():
    """A limit pages without gap; no `after` starts with the checkpoint at the base."""
    store = MemoryStore()
    head = await append(store, await create(store), b"1", b"2", b"3", b"4", base=3)
    first = await store.load("s", after=0, limit=2)
    rest = await store.load("s", after=2, limit=2)
    assert (first.records, first.more, rest.records, rest.more) == (
        [b"1", b"2"],
        True,
        [b"3", b"4"],
        False,
    )
    live = await store.load("s")
    assert (live.first, live.records) == (3, [b"3", b"4"])
    assert isinstance(await store.load("s", known=head.revision), NotModified)


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


async def test_an_expired_session_can_be_created_anew():
    """After expiry the id is free again, with another incarnation."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    old = await create(store, ttl=1)
    clock.now += timedelta(seconds=1)
    assert (await create(store)).revision.incarnation != old.revision.incarnation


async def test_listing_pages_are_stable_and_by_owner():
    """Newest created first; a cursor goes on where the page ended, whatever is written."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(5):
        await create(store, f"s{number}", user_id="ann" if number % 2 else "bob")
        clock.now += timedelta(seconds=1)
    page = await store.list(limit=2)
    await create(store, "later")
    rest = await store.list(limit=10, cursor=page.cursor)
    assert [head.session_id for head in [*page.heads, *rest.heads]] == [
        "s4",
        "s3",
        "s2",
        "s1",
        "s0",
    ]
    assert [head.session_id for head in (await store.list(user_id="ann")).heads] == ["s3", "s1"]


@pytest.mark.parametrize("bad", ["", "a\0b", "\ud800", "ä" * 257])
async def test_bad_ids_are_refused(bad):
    """An id has 1 to 512 bytes, no NUL and no lone surrogate."""
    with pytest.raises(ValueError, match="session id"):
        await create(MemoryStore(), bad)


@pytest.mark.parametrize(
    "odd", ["a/b", "../x", "%", "{x}:*", "A", "a", "é", "é", "💾", " ", "'; --", "x" * 512]
)
async def test_odd_ids_are_kept_apart(odd):
    """Ids are compared byte for byte and mean nothing else."""
    store = MemoryStore()
    await create(store, odd, user_id=odd)
    assert (await store.load(odd)).head.session_id == odd
    assert [head.session_id for head in (await store.list(user_id=odd)).heads] == [odd]


@pytest.mark.parametrize(
    "bad", [{"limit": 0}, {"limit": -1}, {"limit": True}, {"cursor": "?"}, {"cursor": "[1]"}]
)
async def test_bad_pages_are_errors(bad):
    """A limit below 1 and a foreign cursor are refused."""
    with pytest.raises(ValueError):
        await MemoryStore().list(**bad)


async def test_a_closed_store_says_so():
    """Every call after close is StoreClosed; closing twice is fine."""
    store = MemoryStore()
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed, match="memory store is closed"):
        await store.load("s")
