"""`retry`: what is repeated, for how long, and what stays unknown."""

import asyncio
import logging

import pytest

from turnkeep.content import Message
from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionExists,
    StoreClosed,
    StoreUnavailable,
)
from turnkeep.events import Event
from turnkeep.log import Log
from turnkeep.store import Record, new_commit_id
from turnkeep.stores.memory import MemoryStore
from turnkeep.stores.retry import RetryingStore, RetryOptions


class Away(MemoryStore):
    """Is away as planned: for each call None, "before" or "after" the work; or does something.

    `handle()` gives the same sessions without the plan.
    """

    def __init__(self, *plan):
        super().__init__()
        self.plan, self.calls = list(plan), []

    def handle(self):
        other = MemoryStore()
        other._sessions = self._sessions
        return other

    async def _met(self, name, *args, **fields):
        self.calls.append(name)
        fault = self.plan.pop(0) if self.plan else None
        if fault == "before":
            raise StoreUnavailable("away (planned)")
        done = await getattr(MemoryStore, name)(self, *args, **fields)
        if fault == "after":
            raise StoreUnavailable("the answer was lost (planned)")
        if callable(fault):
            await fault(self.handle())
            raise StoreUnavailable("the answer was lost (planned)")
        return done

    async def load(self, *args, **fields):
        return await self._met("load", *args, **fields)

    async def append(self, *args, **fields):
        return await self._met("append", *args, **fields)

    async def delete(self, *args, **fields):
        return await self._met("delete", *args, **fields)

    async def list(self, *args, **fields):
        return await self._met("list", *args, **fields)

    async def purge(self, *args, **fields):
        return await self._met("purge", *args, **fields)


def retrying(*plan, **options):
    return RetryingStore(Away(*plan), RetryOptions(**{"first": 0, **options}))


async def begun(store, name="s"):
    return await store.inner.handle().create(name, commit_id=new_commit_id())


async def appended(store, head, data=b"1", **fields):
    fields = {"expected": head.revision, "commit_id": new_commit_id()} | fields
    return await store.append(head.session_id, [Record(data)], **fields)


@pytest.mark.parametrize("plan", [["before"], ["after"], ["before", "after", "after", "before"]])
async def test_reads_and_writes_are_repeated(plan):
    """A write by its commit id, so that it is done once."""
    store = retrying(*plan)
    head = await begun(store)
    head = await appended(store, head)
    assert store.inner.calls == ["append"] * (len(plan) + 1)
    store.inner.plan = list(plan)
    assert (await store.load("s")).records == [b"1"]
    store.inner.plan = list(plan)
    assert [each.session_id for each in (await store.list()).heads] == ["s"]
    store.inner.plan = list(plan)
    assert await store.purge() == 0
    assert head.revision.version == 1


async def test_the_same_is_written_whatever_becomes_of_what_was_given():
    """While a write waits, its caller may use the buffer for something else."""
    store = retrying("before")
    head = await begun(store)
    buffer, records = bytearray(b"1"), []

    async def change(_):
        buffer[:] = b"9"

    store.inner.plan = [change]
    records.append(Record(buffer))
    await store.append("s", records, expected=head.revision, commit_id=b"1")
    assert (await store.load("s")).records == [b"1"]


async def test_tries_and_patience_end_it():
    """With the store's own error; nothing is tried after that."""
    store = retrying(*["before"] * 9, tries=3)
    with pytest.raises(StoreUnavailable, match="planned"):
        await store.load("s")
    assert len(store.inner.calls) == 3
    store = retrying(*["before"] * 9, patience=0, first=10, longest=10)
    with pytest.raises(StoreUnavailable):
        await store.load("s")
    assert len(store.inner.calls) == 1


async def test_waits_are_jittered_and_bounded(monkeypatch):
    """Each is anywhere up to a bound, which doubles up to the longest."""
    bounds = []
    monkeypatch.setattr(
        "turnkeep.stores.retry.random.uniform", lambda low, high: bounds.append((low, high)) or 0
    )
    store = retrying(*["before"] * 9, tries=6, first=0.5, longest=3)
    with pytest.raises(StoreUnavailable):
        await store.load("s")
    assert bounds == [(0, 0.5), (0, 1), (0, 2), (0, 3), (0, 3), (0, 3)]


async def test_other_errors_are_answers():
    """They are told at once."""
    store = retrying()
    head = await begun(store)
    await appended(store, head)
    with pytest.raises(SessionConflict):
        await appended(store, head)
    with pytest.raises(SessionExists):
        await store.create("s", commit_id=b"x")
    assert store.inner.calls == ["append", "append"]


async def test_a_conflict_after_a_lost_answer_is_unknown():
    """Our write may have been first: only a look can tell, and core looks."""
    store = retrying()
    head = await begun(store)

    async def another(handle):
        now = (await handle.load("s")).head
        await appended(handle, now, b"{}")

    store.inner.plan = [another]
    with pytest.raises(StoreUnavailable, match=r"the answer to append was lost, and then: .*'s'"):
        await appended(store, head)


async def test_core_finds_its_own_write_behind_a_retry():
    """So that nothing is written twice, though another writer came between."""
    store = retrying()
    log = Log(store, await begun(store))

    async def another(handle):
        stranger = Log(handle, (await handle.load("s")).head)
        text = Message(role="user", content="theirs")
        await stranger.append([Event(author="user", content=[text])])

    store.inner.plan = [another]
    event = Event(author="user", content=[Message(role="user", content="ours")])
    await log.append([event])
    assert event.seq == 1
    found = (await store.load("s", after=0)).records
    assert [b"ours" in found[0], b"theirs" in found[1], len(found)] == [True, True, 2]


async def test_a_repeated_delete_says_that_it_is_gone():
    """Also where the first try had removed it; where there never was one, False."""
    store = retrying()
    assert not await store.delete("s")
    for plan in (["before"], [None, "after"], [None, "before", "after"], []):
        head = await begun(store)
        store.inner.plan = list(plan)
        assert await store.delete("s")
        head = await begun(store)
        store.inner.plan = list(plan[1:])
        assert await store.delete("s", expected=head.revision)
        assert await store.inner.handle().load("s") is None


async def test_a_repeated_delete_spares_what_was_begun_anew():
    """Whoever began it did so after what was to be deleted had gone."""
    store = retrying()
    for fenced in (False, True):
        head = await begun(store)

        async def anew(handle):
            await handle.create("s", state=b"new", commit_id=b"new")

        store.inner.plan = [anew] if fenced else [None, anew]
        assert await store.delete("s", expected=head.revision if fenced else None)
        assert (await store.load("s")).state == b"new"
        await store.inner.handle().delete("s")


@pytest.mark.parametrize("lost", [False, True])
async def test_what_cannot_be_read_can_be_deleted(lost):
    """Once: after a lost answer a repeat could take what has begun anew."""
    store = retrying()
    await begun(store)

    async def unreadable(*args, **fields):
        raise CorruptSession("s", 0, "damaged")

    store.inner.load = unreadable
    store.inner.plan = ["after"] if lost else []
    store.inner.calls.clear()
    if lost:
        with pytest.raises(StoreUnavailable):
            await store.delete("s")
    else:
        assert await store.delete("s")
    assert store.inner.calls == ["delete"]
    assert await store.inner.handle().load("s") is None


async def test_a_look_that_failed_deleted_nothing():
    """What others do to the session meanwhile is not said to be done by this call."""
    store = retrying()
    await begun(store)

    async def replaced(handle):
        await handle.delete("s")
        await handle.create("s", state=b"new", commit_id=b"new")

    store.inner.plan = [replaced]  # as the session is looked at
    assert await store.delete("s")
    assert await store.inner.handle().load("s") is None  # the one that was there then

    async def deleted(handle):
        await handle.delete("s")

    await begun(store)
    store.inner.plan = [deleted]
    assert not await store.delete("s")


async def test_a_session_that_exists_after_a_lost_answer_is_unknown():
    """It may be the one that the lost try began, with somebody's append behind it."""
    store = retrying()

    async def gone_on(handle):
        await appended(handle, (await handle.load("s")).head)
        raise StoreUnavailable("the answer was lost (planned)")

    async def create(*args, **fields):
        head = await MemoryStore.create(store.inner, *args, **fields)
        if store.inner.plan:
            store.inner.plan.clear()
            await gone_on(store.inner.handle())
        return head

    store.inner.create, store.inner.plan = create, ["once"]
    with pytest.raises(StoreUnavailable, match=r"lost, and then: .*exists"):
        await store.create("s", commit_id=b"ours")
    with pytest.raises(SessionExists):
        await store.create("s", commit_id=b"theirs")


async def test_a_delete_of_what_is_written_meanwhile_comes_through():
    """Unless a revision was asked for: then it conflicts, as ever."""
    store = retrying()
    head = await begun(store)
    load = store.inner.load

    async def written_after(*args, **fields):
        found = await load(*args, **fields)
        if store.inner.calls.count("load") == 1:
            await appended(store.inner.handle(), found.head)
        return found

    store.inner.load = written_after
    assert await store.delete("s")
    store.inner.load = load
    head = await begun(store)
    await appended(store.inner.handle(), head)
    store.inner.plan = ["before"]
    with pytest.raises(SessionConflict):
        await store.delete("s", expected=head.revision)


async def test_close_cuts_a_wait_short_with_a_last_try(caplog):
    """The call that waits is neither lost nor waited for longer than it takes."""
    caplog.set_level(logging.INFO, "turnkeep.stores")
    store = retrying("before", "before", first=1000, longest=1000, patience=5000)
    head = await begun(store)
    waiting = asyncio.create_task(appended(store, head))
    while not caplog.messages:
        await asyncio.sleep(0)
    store.inner.plan = []
    await store.close()
    assert (await waiting).seq == 1
    with pytest.raises(StoreClosed):
        await store.load("s")


async def test_a_cancelled_wait_ends_at_once():
    """Nothing of the call goes on."""
    store = retrying("before", first=1000, longest=1000, patience=5000)
    head = await begun(store)
    waiting = asyncio.create_task(appended(store, head))
    while not store.inner.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert store.inner.calls == ["append"]
    await store.close()
