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


async def test_a_store_that_stays_away_is_said_and_the_handle_stays_usable():
    """After the last try the error comes out; the same write can be repeated later."""
    store, log = await begin(["refuse"] * 3 + ["lose answer"])
    mine = event("mine")
    with pytest.raises(StoreUnavailable):
        await log.append([mine])
    await log.append([mine])
    await log.append([event("next")])
    assert await texts(store) == ["mine", "next"]


@pytest.mark.parametrize(("fault", "kept"), [("cancel before", []), ("cancel after", ["cut"])])
async def test_a_cancelled_append_is_all_or_nothing(fault, kept):
    """After a cancellation the log is as before or as after, and goes on."""
    store, log = await begin([fault])
    with pytest.raises(asyncio.CancelledError):
        await log.append([event("cut")])
    await log.append([event("next")])
    assert await texts(store) == [*kept, "next"]


async def test_long_logs_are_read_in_pages():
    """Reading whole logs does not depend on the page size."""
    _, log = await begin()
    await log.append([event(str(number)) for number in range(2500)])
    loaded, records = await read_records(log.store, "s", after=0)
    assert (loaded.first, len(records)) == (1, 2500)
    assert len(await texts(log.store)) == 2500
