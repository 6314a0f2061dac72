"""Appending with lost answers, cancellation and competition."""

import asyncio

import pytest

from turnkeep import log as log_module
from turnkeep.content import Message
from turnkeep.errors import SessionConflict, StoreUnavailable
from turnkeep.events import Event
from turnkeep.log import Log, read_records, stream_events
from turnkeep.store import new_commit_id
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(log_module, "RETRY_DELAYS", (0.001, 0.001, 0.001))


def event(text="x"):
    return Event(content=[Message(role="user", content=text)])


async def begin(plan=()):
    store = FaultyStore(MemoryStore(), plan)
    return store, Log(store, await store.create("s", commit_id=new_commit_id()))


async def texts(store):
    return [each.content[0].content async for each in stream_events(store, "s")]


@pytest.mark.parametrize("fault", ["lose answer", "refuse"])
async def test_a_lost_answer_is_retried_and_written_once(fault):
    """Whether or not the write was kept, it stands exactly once."""
    store, log = await begin([fault, fault])
    await log.append([event("a")])
    await log.append([event("b")])
    assert await texts(store) == ["a", "b"]


async def test_seqs_are_noted_on_the_events():
    """An event knows its seq once it is stored."""
    _, log = await begin()
    first, second = event(), event()
    await log.append([first, second])
    assert (first.seq, second.seq) == (1, 2)


async def test_an_own_write_behind_a_conflict_is_found():
    """A retry that conflicts looks for its own event ids before it gives up."""
    store, log = await begin(["lose answer"])
    inner = store._store
    real_append = inner.append

    async def forgetful(*args, **fields):
        return await real_append(*args, **{**fields, "commit_id": new_commit_id()})

    inner.append = forgetful
    mine = event("mine")
    await log.append([mine])
    assert (mine.seq, await texts(store)) == (1, ["mine"])


async def test_a_stranger_behind_a_lost_answer_is_a_conflict():
    """Somebody else's write is not taken for one's own."""
    store, log = await begin(["refuse"])
    other = Log(store._store, log.head)
    await other.append([event("theirs")])
    with pytest.raises(SessionConflict):
        await log.append([event("mine")])
    assert await texts(store) == ["theirs"]


@pytest.mark.parametrize(("fault", "kept"), [("refuse", []), ("lose answer", ["cut"])])
async def test_a_store_that_stays_away_is_said_and_the_outcome_can_be_learnt(fault, kept):
    """After the last try the error comes out; settling tells whether the write was kept."""
    store, log = await begin([fault, *["refuse"] * 3])
    cut = event("cut")
    with pytest.raises(StoreUnavailable):
        await log.append([cut])
    settled = await log.settle()
    assert (settled is not None) == bool(kept)
    assert cut.seq == (1 if kept else None)
    await log.append([event("next")])
    assert await texts(store) == [*kept, "next"]


@pytest.mark.parametrize(("fault", "kept"), [("cancel before", []), ("cancel after", ["cut"])])
async def test_a_cancelled_append_is_all_or_nothing(fault, kept):
    """After a cancellation the log is as before or as after, and goes on."""
    store, log = await begin([fault])
    with pytest.raises(asyncio.CancelledError):
        await log.append([event("cut")])
    await log.settle()
    await log.append([event("next")])
    assert await texts(store) == [*kept, "next"]


async def test_a_cancellation_between_tries_leaves_the_outcome_open(monkeypatch):
    """The answer was lost, then the waiter gave up: settling finds what was kept."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", (60,))
    store, log = await begin(["lose answer"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.append([event("a")]), 0.05)
    assert log.unsettled
    assert await log.settle() is not None
    await log.append([event("b")])
    assert await texts(store) == ["a", "b"]


async def test_an_unknown_error_of_a_store_leaves_the_outcome_open():
    """A third party's store may raise anything."""
    store, log = await begin()
    real = store._store.append

    async def broken(*args, **fields):
        await real(*args, **fields)
        raise OSError("the network cable")

    store._store.append = broken
    with pytest.raises(OSError, match="cable"):
        await log.append([event("a")])
    store._store.append = real
    assert await log.settle() is not None


async def test_a_kept_write_is_found_below_a_strangers():
    """What was kept counts as kept, although others have written since; the next append conflicts."""
    store, log = await begin(["lose answer"])
    real = store.append

    async def stranger_first(*args, **fields):
        store.append = real
        try:
            return await real(*args, **fields)
        finally:
            other = Log(store._store, (await store._store.load("s")).head)
            await other.append([event("theirs")])

    store.append = stranger_first
    mine = event("mine")
    head = await log.append([mine])
    assert (mine.seq, head.seq) == (1, 1)
    with pytest.raises(SessionConflict):
        await log.append([event("more")])
    assert await texts(store) == ["mine", "theirs"]


async def test_a_lost_begin_is_begun_once():
    """The same key begins the same session."""
    store = MemoryStore()
    real, tries = store.create, []

    async def losing(*args, **fields):
        head = await real(*args, **fields)
        tries.append(head)
        if len(tries) == 1:
            raise StoreUnavailable("lost")
        return head

    store.create = losing
    log = await log_module.begin(store, "s", commit_id=new_commit_id())
    assert (len(tries), log.head) == (2, tries[0])


async def test_a_stream_of_events_stays_with_its_session():
    """Deleted and begun anew meanwhile, it is a conflict, not a mixture."""
    store, log = await begin()
    await log.append([event(str(number)) for number in range(1500)])
    stream = stream_events(store, "s")
    assert (await anext(stream)).seq == 1
    await store.delete("s")
    again = Log(store, await store.create("s", commit_id=new_commit_id()))
    await again.append([event("other")] + [event(str(number)) for number in range(1400)])
    with pytest.raises(SessionConflict):
        async for _ in stream:
            pass


async def test_long_logs_are_read_in_pages():
    """Reading whole logs does not depend on the page size."""
    _, log = await begin()
    await log.append([event(str(number)) for number in range(2500)])
    loaded, records = await read_records(log.store, "s", after=0)
    assert (loaded.first, len(records)) == (1, 2500)
    assert len(await texts(log.store)) == 2500
