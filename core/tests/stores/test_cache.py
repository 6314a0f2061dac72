"""`cache`: what comes from memory, and that it is what the store would have given."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeep.errors import StoreError
from turnkeep.store import Loaded, NotModified, Record, new_commit_id
from turnkeep.stores.cache import CachedStore, CacheOptions
from turnkeep.stores.memory import MemoryStore


class Asked(MemoryStore):
    """Notes how loads were answered."""

    def __init__(self):
        super().__init__()
        self.answers = []

    async def load(self, *args, **fields):
        found = await super().load(*args, **fields)
        self.answers.append(type(found))
        return found


async def begun(store, *data, name="s", **fields):
    head = await store.create(name, commit_id=new_commit_id())
    return await appended(store, head, *data, **fields)


async def appended(store, head, *data, **fields):
    return await store.append(
        head.session_id,
        [Record(each) for each in data],
        expected=head.revision,
        commit_id=new_commit_id(),
        **fields,
    )


async def test_a_load_of_what_is_known_moves_no_records():
    """The store is asked, and says that nothing has changed."""
    inner = Asked()
    store = CachedStore(inner)
    await begun(store, b"1", b"2", b"3")
    first = await store.load("s", after=0)
    for after, limit in ((0, None), (None, None), (1, None), (0, 2), (3, None), (7, 1)):
        found = await store.load("s", after=after, limit=limit)
        assert found == (await inner.load("s", after=after, limit=limit))._replace(now=found.now)
    assert inner.answers == [Loaded, *[NotModified, Loaded] * 6]
    assert (store.hits, store.misses) == (6, 1)
    assert first.records is not (await store.load("s", after=0)).records


async def test_an_append_through_it_is_known():
    """The next load needs no records, state or meta either."""
    inner = Asked()
    store = CachedStore(inner)
    head = await begun(store, b"1")
    await store.load("s")
    for number in range(5):
        head = await appended(store, head, b"%d" % number, state=b"%d" % number, meta=b"m")
        found = await store.load("s")
        assert (found.head, found.state, found.records[-1]) == (
            head,
            b"%d" % number,
            b"%d" % number,
        )
    assert inner.answers == [Loaded, *[NotModified] * 5]


async def test_what_others_write_is_seen_at_once():
    """Appends, erasures, deletions, and another life of the same id at the same version."""
    inner = Asked()
    store = CachedStore(inner)
    head = await begun(store, b"1", b"2")
    await store.load("s", after=0)
    head = await appended(inner, head, b"3")
    assert (await store.load("s", after=0)).records == [b"1", b"2", b"3"]
    await inner.erase("s", {2: b"x"}, expected=head.revision, commit_id=b"e")
    assert (await store.load("s", after=0)).records == [b"1", b"x", b"3"]
    await inner.delete("s")
    assert await store.load("s") is None
    await begun(inner, b"a")
    assert (await store.load("s")).records == [b"a"]


async def test_an_append_after_a_strangers_is_no_part_of_what_is_known():
    """It conflicts; or, from the new head, it is not put behind the old records."""
    inner = Asked()
    store = CachedStore(inner)
    head = await begun(store, b"1")
    await store.load("s")
    head = await appended(inner, head, b"2")
    await appended(store, head, b"3")
    assert (await store.load("s")).records == [b"1", b"2", b"3"]


async def test_a_load_by_revision_passes_through():
    """Who keeps a snapshot of their own gets the store's answer."""
    inner = Asked()
    store = CachedStore(inner)
    head = await begun(store, b"1")
    assert isinstance(await store.load("s", known=head.revision), NotModified)
    await store.load("s")
    assert isinstance(await store.load("s", known=head.revision), NotModified)
    other = head.revision._replace(version=0)
    assert (await store.load("s", known=other)).records == [b"1"]


async def test_more_than_is_known_comes_from_the_store():
    """A live context does not answer for the whole log; once that was read, it answers for both."""
    inner = Asked()
    store = CachedStore(inner)
    await begun(store, b"1", b"2", b"3", base=2)
    assert (await store.load("s")).records == [b"2", b"3"]
    assert (await store.load("s", after=0)).records == [b"1", b"2", b"3"]
    assert (await store.load("s")).records == [b"2", b"3"]
    assert (await store.load("s", after=0)).records == [b"1", b"2", b"3"]
    assert inner.answers == [Loaded, Loaded, NotModified, NotModified]


async def test_what_lies_before_a_new_base_is_let_go():
    """The live context is what is asked for."""
    inner = Asked()
    store = CachedStore(inner)
    head = await begun(store, *[b"x" * 1000] * 10)
    await store.load("s")
    full = store._size
    await appended(store, head, b"checkpoint", base=11)
    assert store._size < full / 5
    assert (await store.load("s")).records == [b"checkpoint"]
    assert inner.answers == [Loaded, NotModified]


@pytest.mark.parametrize("how", ["erase", "delete"])
async def test_a_load_under_way_does_not_bring_erased_records_back(how):
    """What it read before is given to who asked, and not kept."""
    read, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def load(self, *args, **fields):
            found = await super().load(*args, **fields)
            read.set()
            await go_on.wait()
            return found

    store = CachedStore(Slow())
    head = await begun(store, b"secret")
    loading = asyncio.create_task(store.load("s"))
    await read.wait()
    if how == "erase":
        await store.erase("s", {1: b"x"}, expected=head.revision, commit_id=b"e")
    else:
        await store.delete("s")
    go_on.set()
    assert (await loading).records == [b"secret"]
    assert not store._entries


async def test_an_erased_record_is_not_kept():
    """Not even until the next load."""
    store = CachedStore(MemoryStore())
    head = await begun(store, b"a secret", b"2")
    await store.load("s")
    await store.erase("s", {1: b"x"}, expected=head.revision, commit_id=b"e")
    assert store._size == 0
    assert not store._entries


async def test_memory_is_bounded():
    """By sessions and by bytes; the longest unused goes first; a size that was left out is none."""
    store = CachedStore(MemoryStore(), CacheOptions(sessions=3, bytes=5000))
    for name in "abcd":
        await begun(store, b"x" * 500, name=name)
        await store.load(name)
    assert list(store._entries) == ["b", "c", "d"]
    await store.load("b")
    head = (await store.load("d")).head
    await appended(store, head, b"x" * 3500)
    assert "d" in store._entries
    assert "c" not in store._entries
    assert store._size <= 5000
    await begun(store, b"x" * 9000, name="huge")
    await store.load("huge")
    assert "huge" not in store._entries
    await store.delete("d")
    await store.delete("b")
    assert (store._size, dict(store._entries)) == (0, {})


async def test_an_append_while_a_load_is_under_way_mixes_nothing():
    """The load shows one of the two moments, whole."""
    inner = MemoryStore()
    store = CachedStore(inner)
    head = await begun(store, b"1", state=b"1")
    await store.load("s")
    load = inner.load

    async def slow(*args, **fields):
        found = await load(*args, **fields)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return found

    inner.load = slow
    loading = asyncio.create_task(store.load("s"))
    await asyncio.sleep(0)
    await appended(store, head, b"2", state=b"2")
    found = await loading
    assert (found.head, found.state, found.records) == (head, b"1", [b"1"])


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.booleans(),
        st.sampled_from(["append", "state", "base", "erase", "delete", "load", "page", "lost"]),
        st.integers(0, 6),
    ),
    max_size=40,
)


@given(OPERATIONS, st.sampled_from([300, 10**6]))
@settings(max_examples=150)
def test_every_answer_is_the_stores_own(operations, room):
    """Whatever is done through it and beside it, in whatever order."""

    async def run():
        inner = MemoryStore()
        store = CachedStore(inner, CacheOptions(sessions=2, bytes=room))
        for number, (name, beside, what, value) in enumerate(operations):
            through = inner if beside else store
            now = await inner.load(name, after=0)
            data = b"%d" % number
            if now is None:
                await begun(through, data, name=name)
            elif what == "append":
                await appended(through, now.head, *[data] * value)
            elif what == "state":
                await appended(through, now.head, state=data, meta=data)
            elif what == "base":
                await appended(through, now.head, base=min(value, now.head.seq))
            elif what == "erase" and 0 < value <= now.head.seq:
                fields = {"expected": now.head.revision, "commit_id": data}
                await through.erase(name, {value: data}, **fields)
            elif what == "delete":
                await through.delete(name)
            elif what == "lost":
                fields = {"expected": now.head.revision, "commit_id": data}
                await inner.append(name, [Record(data)], **fields)
                await store.append(name, [Record(data)], **fields)
            after, limit = (None, None) if what != "page" else (value - 1, value + 1)
            found = await store.load(name, after=after, limit=limit)
            expected = await inner.load(name, after=after, limit=limit)
            assert found == (expected and expected._replace(now=found.now))

    asyncio.run(run())


async def test_a_closed_cache_keeps_nothing():
    """And the store says that it is closed."""
    store = CachedStore(MemoryStore())
    await begun(store, b"1")
    await store.load("s")
    await store.close()
    assert not store._entries
    with pytest.raises(StoreError, match="closed"):
        await store.load("s")
