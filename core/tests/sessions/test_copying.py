"""Copying sessions between stores: what goes over, what is completed, what is left alone."""

import asyncio
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from turnkeep import copying
from turnkeep.content import Message, ToolCall
from turnkeep.copying import copy_session, sessions_to_copy
from turnkeep.errors import StoreUnavailable
from turnkeep.events import Event
from turnkeep.keeper import Keeper
from turnkeep.manager import SessionManager
from turnkeep.meta import Meta
from turnkeep.store import Record, new_commit_id
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore
from turnkeep.transfer import export_session, session_line


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """So that a session of ten events has several."""
    monkeypatch.setattr(copying, "PAGE", 3)


@pytest.fixture
def source():
    return MemoryStore()


@pytest.fixture
def target():
    return MemoryStore()


async def write(store, session_id="s", events=10, user_id=None, ttl=None):
    """Add events with a state that changes, and give the manager."""
    manager = SessionManager(store, ttl=ttl)
    session = await manager.get_or_create(session_id, user_id)
    for number in range(events):
        text = Message(role="user", content=f"event {number}")
        session.events.append(Event(author="user", content=[text]))
    session.state["events"] = len(session.events)
    await manager.save(session)
    return manager


async def exported(store, session_id="s"):
    return await export_session(SessionManager(store), session_id)


async def same(source, target, session_id="s"):
    assert await exported(target, session_id) == await exported(source, session_id)
    [a, b] = [await store.load(session_id, after=0) for store in (source, target)]
    assert (a.records, a.state, a.head.base, a.head.ttl, a.head.user_id) == (
        b.records,
        b.state,
        b.head.base,
        b.head.ttl,
        b.head.user_id,
    )


@pytest.mark.parametrize("events", [0, 1, 3, 10])
async def test_a_session_goes_over_as_it_is(source, target, events):
    """Events, state, owner, times and ttl; its export is the same, byte for byte."""
    await write(source, events=events, user_id="ann", ttl=3600)
    done = await copy_session(source, target, "s")
    expected = events or 1  # a state alone is an event too
    assert (done.outcome, done.events, done.problem) == ("copied", expected, None)
    await same(source, target)


async def test_what_is_there_already_is_left(source, target):
    """It is known by its revision; no event is read."""
    await write(source)
    await copy_session(source, target, "s")
    before = (await target.load("s")).head
    assert (await copy_session(source, target, "s")).outcome == "same"
    assert (await target.load("s")).head == before


async def test_a_session_that_has_grown_is_continued(source, target):
    """Only what is new is written; header, state and times follow."""
    await write(source)
    await copy_session(source, target, "s")
    await write(source, events=5)
    done = await copy_session(source, target, "s")
    assert (done.outcome, done.events) == ("continued", 5)
    await same(source, target)
    manager = SessionManager(source)
    await manager.rewind("s", 3)
    assert (await copy_session(source, target, "s")).outcome == "continued"
    await same(source, target)


async def test_a_write_without_events_goes_over_too(source, target):
    """The revision tells that there was one."""
    await write(source)
    await copy_session(source, target, "s")
    head = (await source.load("s")).head
    await source.append("s", [], expected=head.revision, commit_id=b"x", state=b'{"a":1}')
    assert (await copy_session(source, target, "s")).outcome == "continued"
    await same(source, target)


@pytest.mark.parametrize("cut", range(6))
async def test_a_copy_that_was_cut_off_is_completed(source, target, cut):
    """Wherever it ended: the next run goes on from there."""
    await write(source)
    plan = [None] * cut + ["cancel after" if cut % 2 else "cancel before"]
    faulty = FaultyStore(target, plan)
    with suppress(asyncio.CancelledError):
        await copy_session(source, faulty, "s")
    done = await copy_session(source, target, "s")
    assert done.outcome in {"copied", "same"}
    await same(source, target)


async def test_a_lost_answer_writes_nothing_twice(source, target):
    """Each page is repeated with its commit id."""
    await write(source)
    faulty = FaultyStore(target, ["lose answer", "refuse", None, "lose answer"])
    assert (await copy_session(source, faulty, "s")).outcome == "copied"
    await same(source, target)


async def test_a_part_is_no_session_to_work_in(source, target):
    """As long as it is one, a turn in it is running."""
    await write(source)
    plan = [None, None, "cancel before"]
    with pytest.raises(asyncio.CancelledError):
        await copy_session(source, FaultyStore(target, plan), "s")
    [info], _ = await SessionManager(target).list()
    assert (info.busy, info.events) == (True, 6)


async def test_a_target_that_went_on_by_itself_is_refused(source, target):
    """And left as it is, whether the source has grown or not."""
    await write(source)
    await copy_session(source, target, "s")
    await write(target, events=1)
    before = await exported(target)
    for more in (0, 3):
        await write(source, events=more)
        done = await copy_session(source, target, "s")
        assert done.outcome == "refused"
        assert "'s' is another one in the target, from event 11 on" in done.problem
    assert await exported(target) == before


async def test_a_session_of_the_targets_own_is_refused(source, target):
    """Of the same id, with other events, another owner or none at all."""
    for name, owner, events in (("a", None, 2), ("b", "bob", 0), ("c", None, 0)):
        await write(source, name, user_id="ann")
        manager = SessionManager(target)
        if events:
            await write(target, name, events)
        else:
            await manager.create(name, owner)
        before = (await target.load(name)).head
        assert (await copy_session(source, target, name)).outcome == "refused"
        assert (await target.load(name)).head == before


async def test_an_equal_session_that_is_no_copy_is_the_same(source, target):
    """As one that a backup or an import brought there."""
    await write(source)
    found = await source.load("s", after=0)
    head = await target.create("s", commit_id=b"1")
    await target.append(
        "s",
        [Record(each) for each in found.records],
        expected=head.revision,
        commit_id=b"2",
        meta=found.head.meta,
        state=found.state,
    )
    assert (await copy_session(source, target, "s")).outcome == "same"


async def test_another_life_of_a_session_is_not_written_over_its_copy(source, target):
    """The copy may be the only one left of the first."""
    await write(source)
    await copy_session(source, target, "s")
    before = await exported(target)
    await source.delete("s")
    await write(source, events=2)
    done = await copy_session(source, target, "s")
    assert (done.outcome, "a copy of an earlier session" in done.problem) == ("refused", True)
    assert await exported(target) == before


async def test_what_was_erased_does_not_stay_in_the_copy(source, target):
    """An untouched copy is made anew; one that went on by itself is refused."""
    manager = await write(source)
    await copy_session(source, target, "s")
    await manager.erase("s", [2])
    assert (await copy_session(source, target, "s", dry_run=True)).outcome == "renewed"
    assert (await copy_session(source, target, "s")).outcome == "renewed"
    await same(source, target)
    assert b"event 1" not in b"".join((await target.load("s", after=0)).records)


@pytest.mark.parametrize("part", [None, 0, 1, 2])
@pytest.mark.parametrize("cut", range(6))
async def test_what_was_erased_between_runs_that_were_cut_off_does_not_stay(
    source, target, part, cut
):
    """The first whole or a part, the second killed at any of its writes: the third sees to it."""
    manager = await write(source)
    first = [] if part is None else [None] * part + ["cancel after"]
    with suppress(asyncio.CancelledError):
        await copy_session(source, FaultyStore(target, first), "s")
    await manager.erase("s", [2])
    with suppress(asyncio.CancelledError):
        await copy_session(source, FaultyStore(target, [None] * cut + ["cancel after"]), "s")
    await copy_session(source, target, "s")
    assert b"event 1" not in b"".join((await target.load("s", after=0)).records)
    await same(source, target)


async def test_a_copy_that_was_damaged_is_made_anew(source, target):
    """Only the copy wrote there, so nothing is lost by it."""
    await write(source)
    await copy_session(source, target, "s")
    target._sessions["s"].records[1] = b"damaged"
    await write(source, events=1)
    assert (await copy_session(source, target, "s")).outcome == "renewed"
    await same(source, target)


async def test_a_copy_that_was_whole_outlives_its_source(source, target):
    """Also where a later run was cut off just before it was whole again."""
    await write(source)
    await copy_session(source, target, "s")
    await write(source, events=1)
    with suppress(asyncio.CancelledError):
        await copy_session(source, FaultyStore(target, ["cancel after"]), "s")
    await source.delete("s")
    assert (await copy_session(source, target, "s")).outcome == "gone"
    assert (await target.load("s")).head.seq == 11


async def test_a_source_that_was_put_back_and_went_on_takes_nothing_from_its_copy(source, target):
    """Other events stand in their places: the copy may be all that there is of the first ones."""
    await write(source, events=4)
    before = deepcopy(source._sessions["s"])
    await write(source, events=4)
    await copy_session(source, target, "s")
    source._sessions["s"] = before  # from a backup
    await asyncio.sleep(0.002)  # its clock ticks in milliseconds
    await write(source, events=9)
    for dry_run in (True, False):
        done = await copy_session(source, target, "s", dry_run=dry_run)
        assert done.outcome == "refused"
        assert "from event 5 on: the source was put back" in done.problem
    assert (await target.load("s")).head.seq == 8


class Watched(MemoryStore):
    """Does something before a certain load."""

    def __init__(self, at, what):
        super().__init__()
        self.loads, self.at, self.what = 0, at, what

    async def load(self, *args, **fields):
        self.loads += 1
        if self.loads == self.at:
            await self.what(self)
        return await super().load(*args, **fields)


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_source_that_is_written_to_meanwhile_is_copied_as_it_was(target, at):
    """At the moment it was first read; what came later is for the next run."""

    async def grow(store):
        await write(store.handle(), events=4)

    source = Watched(0, grow)
    await write(source)
    source.loads, source.at = 0, at
    done = await copy_session(source, target, "s")
    assert done.outcome == "copied"
    assert done.events == (14 if at == 1 else 10)
    source.at = 0
    assert (await copy_session(source, target, "s")).outcome == ("same" if at == 1 else "continued")
    await same(source, target)


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_source_that_is_erased_from_meanwhile_leaves_nothing_in_the_copy(target, at):
    """The copy is made anew where what was read of it is no more."""

    async def erase(store):
        await SessionManager(store.handle()).erase("s", [1, 5])

    source = Watched(0, erase)
    await write(source)
    source.loads, source.at = 0, at
    await copy_session(source, target, "s")
    source.at = 0
    await copy_session(source, target, "s")
    await same(source, target)


async def test_a_source_that_is_deleted_meanwhile_leaves_no_part(target):
    """The failure is told, and the part removed."""

    async def delete(store):
        await store.delete("s")

    source = Watched(0, delete)
    await write(source)
    source.loads, source.at = 0, 2
    done = await copy_session(source, target, "s")
    assert (done.outcome, "was deleted in the source" in done.problem) == ("failed", True)
    assert await target.load("s") is None
    assert (await copy_session(source, target, "s")).outcome == "gone"


async def test_a_part_whose_source_is_gone_is_removed(source, target):
    """Nobody could complete it."""
    await write(source)
    with pytest.raises(asyncio.CancelledError):
        await copy_session(source, FaultyStore(target, [None, "cancel before"]), "s")
    await source.delete("s")
    assert (await copy_session(source, target, "s", dry_run=True)).outcome == "gone"
    assert await target.load("s") is not None
    assert (await copy_session(source, target, "s")).outcome == "gone"
    assert await target.load("s") is None


async def test_a_copy_that_cannot_be_continued_keeps_what_it_was(source, target):
    """Its title, its times: only that it is not whole is noted."""
    from turnkeep.stores.compress import CompressedStore

    await write(source)
    meta = Meta(header={"title": "Taxes"}, rest={"mine": 1})
    head = (await source.load("s")).head
    await source.append("s", [], expected=head.revision, commit_id=b"m", meta=meta.encode("s"))
    await copy_session(source, target, "s")
    await write(source, events=20)
    source._sessions["s"].records[25] = b"\xfftk?"
    assert (await copy_session(CompressedStore(source), target, "s")).outcome == "failed"
    found = Meta.of((await target.load("s")).head)
    assert (found.header, found.rest["mine"], found.turn) == ({"title": "Taxes"}, 1, "copy")


async def test_a_damaged_record_is_told_and_leaves_no_part(source, target):
    """In the words of the store; other sessions are not concerned."""
    from turnkeep.stores.compress import CompressedStore

    await write(source)
    source._sessions["s"].records[7] = b"\xfftk?"
    done = await copy_session(CompressedStore(source), target, "s")
    assert (done.outcome, "'s', record 8 cannot be read" in done.problem) == ("failed", True)
    assert await target.load("s") is None


async def test_a_store_that_stays_away_is_told(source, target, monkeypatch):
    """What was written stays, for the next run."""
    monkeypatch.setattr("turnkeep.log.RETRY_DELAYS", (0.0,))
    await write(source)
    done = await copy_session(source, FaultyStore(target, [None, "refuse", "refuse"]), "s")
    assert (done.outcome, done.away) == ("failed", True)
    assert (await copy_session(source, target, "s")).outcome == "copied"
    await same(source, target)


async def test_a_copy_that_does_not_read_back_is_told(source, target):
    """And removed: a store that changes what it is given is no place for it."""

    class Lossy(MemoryStore):
        async def append(self, session_id, records, **fields):
            records = [Record(record.data.replace(b"7", b"8")) for record in records]
            return await super().append(session_id, records, **fields)

    await write(source)
    done = await copy_session(source, target := Lossy(), "s")
    assert done.outcome == "failed"
    assert "does not read back as it was copied" in done.problem
    assert await target.load("s") is None


async def test_an_open_turn_does_not_follow_its_session(source, target):
    """What it wrote is there; the next turn of the target begins at once and closes its calls."""
    async with Keeper(store=source) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        await turn.add_response(ToolCall(tool_call_id="c", name="look", arguments={}))
        assert (await copy_session(source, target, "s")).outcome == "copied"
        assert await exported(source) == await exported(target)
        [[here], _], [[there], _] = [
            await SessionManager(store).list() for store in (source, target)
        ]
        assert (here.busy, there.busy) == (True, False)
        async with Keeper(store=target) as other, other.turn("s") as next_turn:
            await next_turn.add(Message(role="user", content="go on"))
        events = (await SessionManager(target).get("s")).events
        assert "interrupted" in str(events[2].content[0])


async def test_a_copy_of_a_copy_is_one(source, target):
    """Its mark says of which session it is one."""
    third = MemoryStore()
    await write(source)
    await copy_session(source, target, "s")
    assert (await copy_session(target, third, "s")).outcome == "copied"
    assert await exported(source) == await exported(third)
    await write(source, events=1)
    await copy_session(source, target, "s")
    assert (await copy_session(target, third, "s")).outcome == "continued"
    await same(source, third)


async def test_nothing_is_written_in_a_dry_run(source, target):
    """The outcomes are what they would be."""
    for name in ("new", "grown", "same", "other"):
        await write(source, name)
    for name in ("grown", "same"):
        await copy_session(source, target, name)
    await write(source, "grown", 2)
    await write(target, "other", 1)
    before = {each.head.session_id: each for each in target.snapshot()}
    done = [
        await copy_session(source, target, name, dry_run=True)
        for name in ("new", "grown", "same", "other", "none")
    ]
    assert [(each.outcome, each.events) for each in done] == [
        ("copied", 10), ("continued", 2), ("same", 0), ("refused", 0), ("gone", 0),
    ]  # fmt: skip
    after = {each.head.session_id: each for each in target.snapshot()}
    assert {name: each.head for name, each in before.items()} == {
        name: each.head for name, each in after.items()
    }


async def test_sessions_are_chosen_by_owner_and_by_time():
    """The oldest first; page by page."""
    clock = datetime(2026, 11, 1, tzinfo=UTC)
    store = MemoryStore(clock=lambda: clock)
    for number in range(250):
        clock += timedelta(hours=1)
        await store.create(f"{number:03}", user_id="ab"[number % 2], commit_id=new_commit_id())
    assert await sessions_to_copy(store) == [f"{number:03}" for number in range(250)]
    assert (await sessions_to_copy(store, user_id="a"))[:3] == ["000", "002", "004"]
    since = clock - timedelta(hours=2)
    assert await sessions_to_copy(store, since=since) == ["247", "248", "249"]


async def test_the_line_of_a_session_is_that_of_its_export(source):
    """Made without its events."""
    await write(source, user_id="ann")
    found = await source.load("s")
    assert session_line(found.head, found.state) == (await exported(source))[0]


async def test_a_store_that_cannot_be_listed_is_told(source):
    """As by any command."""

    async def away(**_):
        raise StoreUnavailable("away")

    source.list = away
    with pytest.raises(StoreUnavailable):
        await sessions_to_copy(source)
