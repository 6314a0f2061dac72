"""Turns of one session keep out of each other's way."""

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta

import pytest

from turnkeep import Keeper, Message, SessionBusy, SessionConflict, StoreUnavailable, TurnkeepError
from turnkeep import log as log_module
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(log_module, "RETRY_DELAYS", (0.001, 0.001))


def user(text="Hi"):
    return Message(role="user", content=text)


async def texts(keep):
    events = (await keep.sessions.get("s")).events
    return [item.content for event in events for item in event.content]


async def test_a_second_turn_is_told_before_it_spends():
    """While one turn runs, the other's first append raises; nothing of it is kept."""
    async with Keeper(store=MemoryStore()) as keep:
        async with keep.turn("s") as first:
            await first.add(user("first"))
            async with keep.turn("s") as second:
                with pytest.raises(SessionBusy, match="'s' has a turn running"):
                    await second.add(user("second"))
            await first.add_response("answer")
        assert await texts(keep) == ["first", "answer"]


async def test_a_turn_that_lost_the_race_to_open_is_told_too():
    """Both loaded a free session; the first append decides."""
    async with Keeper(store=MemoryStore()) as keep:
        async with keep.turn("s") as first, keep.turn("s") as second:
            await first.add(user("first"))
            with pytest.raises(SessionBusy):
                await second.add(user("second"))
            await first.add_response("answer")
            await second.add(user("after"))
        assert await texts(keep) == ["first", "answer", "after"]


async def test_the_final_answer_frees_the_session():
    """A turn that ended inside its `async with` is in nobody's way."""
    async with Keeper(store=MemoryStore()) as keep, keep.turn("s") as first:
        await first.add(user())
        await first.add_response("done")
        async with keep.turn("s") as second:
            await second.add(user("next"))


async def test_leaving_frees_the_session_whatever_happened():
    """A turn that ends by an error is closed."""
    async with Keeper(store=MemoryStore()) as keep:
        with pytest.raises(RuntimeError):
            async with keep.turn("s") as turn:
                await turn.add(user())
                raise RuntimeError
        async with keep.turn("s") as turn:
            await turn.add(user("next"))


async def test_waiting_turns_take_their_turn():
    """With on_conflict="wait" turns follow one another, none is lost, none interleaves."""
    async with Keeper(store=MemoryStore(), on_conflict="wait") as keep:

        async def one(name):
            async with keep.turn("s") as turn:
                await turn.add(user(name))
                await asyncio.sleep(0.01)
                await turn.add_response(name)

        await asyncio.gather(*(one(str(number)) for number in range(8)))
        said = await texts(keep)
    assert sorted(said) == sorted(2 * [str(number) for number in range(8)])
    assert said[::2] == said[1::2]


class Overtaken(FaultyStore):
    """Lets another writer be quicker, so many times."""

    def __init__(self, store, times):
        super().__init__(store)
        self.times = times

    async def append(self, session_id, records, **fields):
        if self.times:
            self.times -= 1
            found = await self._store.load(session_id)
            await self._store.append(
                session_id, [], expected=found.head.revision, commit_id=os.urandom(16)
            )
        return await super().append(session_id, records, **fields)


async def test_who_waits_is_never_told_of_a_conflict():
    """However often others are quicker; who does not wait is told at some time."""
    store = Overtaken(MemoryStore(), 50)
    async with Keeper(store=store) as keep:
        await keep.sessions.create("s")
        async with keep.turn("s", on_conflict="wait") as turn:
            await turn.add(user())
        assert store.times == 0
        store.times = 50
        async with keep.turn("s") as turn:
            with pytest.raises(SessionConflict):
                await turn.add(user())
        assert await texts(keep) == ["Hi"]


async def test_a_session_that_is_gone_at_once_is_not_begun_for_ever():
    """As with a ttl shorter than a write takes: who waits is told, too."""

    class Gone(FaultyStore):
        async def append(self, session_id, records, **fields):
            await self._store.delete(session_id)
            return await super().append(session_id, records, **fields)

    async with (
        Keeper(store=Gone(MemoryStore())) as keep,
        keep.turn("s", on_conflict="wait") as turn,
    ):
        with pytest.raises(SessionConflict):
            await turn.add(user())


async def test_a_silent_turn_is_taken_over_and_its_holder_fenced():
    """After the timeout another turn goes on; what the old holder adds is refused."""
    clock = Clock()
    async with Keeper(store=MemoryStore(clock=clock), turn_timeout=300) as keep:
        async with keep.turn("s") as old:
            await old.add(user("old"))
            clock.pass_(299)
            async with keep.turn("s") as early:
                with pytest.raises(SessionBusy):
                    await early.add(user("early"))
            clock.pass_(1)
            async with keep.turn("s") as new:
                await new.add(user("new"))
                for _ in range(2):
                    with pytest.raises(SessionConflict, match="taken over"):
                        await old.add_response("too late")
                await new.add_response("answer")
        assert await texts(keep) == ["old", "new", "answer"]


async def test_a_running_turn_stays_fresh_through_a_long_tool():
    """Appends without records let the store hear of it; the log does not grow."""
    store = MemoryStore()
    async with Keeper(store=store, turn_timeout=0.15) as keep, keep.turn("s") as turn:
        await turn.add(user())
        await asyncio.sleep(0.5)
        async with keep.turn("s") as other:
            with pytest.raises(SessionBusy):
                await other.add(user("other"))
        assert turn.head.seq == 1
        assert turn.head.revision.version > 2
        await turn.add_response("done")


async def test_a_request_pins_the_context():
    """A turn whose model call was built on an old context conflicts instead of starting over."""
    async with Keeper(store=MemoryStore()) as keep, keep.turn("s") as slow:
        await slow.request()
        async with keep.turn("s") as quick:
            await quick.add(user("quick"))
            await quick.add_response("done")
        with pytest.raises(SessionConflict):
            await slow.add_response("about nothing")


@pytest.mark.parametrize("fault", ["lose answer", "refuse"])
async def test_a_lost_answer_is_written_once(fault):
    """Opening and closing included: each append may lose its answer."""
    store = FaultyStore(MemoryStore(), [fault, fault, fault, None, fault, fault])
    async with Keeper(store=store) as keep:
        async with keep.turn("s") as turn:
            for _ in range(3):
                try:
                    await turn.add(user("a"))
                    break
                except StoreUnavailable:
                    continue
            await turn.add_response("b")
        assert await texts(keep) == ["a", "b"]


@pytest.mark.parametrize("fault", ["cancel before", "cancel after"])
async def test_a_cancelled_add_leaves_a_usable_turn(fault):
    """After a cancellation the turn goes on, and the context equals the log."""
    store = FaultyStore(MemoryStore(), [None, fault])
    async with Keeper(store=store) as keep, keep.turn("s") as turn:
        await turn.add(user("a"))
        with pytest.raises(asyncio.CancelledError):
            await turn.add(user("b"))
        await turn.add(user("c"))
        await turn.request()
        assert [item.content for item in turn.context.items] == await texts(keep)
        assert (await texts(keep))[-1] == "c"


async def test_a_failing_close_does_not_hide_the_error(caplog):
    """The error of the block comes out; the failed close is logged."""
    caplog.set_level(logging.WARNING)
    store = FaultyStore(MemoryStore(), [None, *["refuse"] * 10])
    async with Keeper(store=store) as keep:
        with pytest.raises(ZeroDivisionError):
            async with keep.turn("s") as turn:
                await turn.add(user())
                1 / 0
    assert "was not closed" in caplog.text


async def test_a_turn_wants_to_be_entered():
    """The message says how."""
    async with Keeper(store=MemoryStore()) as keep:
        with pytest.raises(TurnkeepError, match="async with"):
            await keep.turn("s").add(user())


async def test_other_loops_and_threads_may_use_the_keeper():
    """Calls are passed to the loop that opened the store."""
    async with Keeper(store=MemoryStore()) as keep:

        def elsewhere():
            async def work():
                async with keep.turn("s") as turn:
                    await turn.add(user("from another loop"))

            asyncio.run(work())

        await asyncio.to_thread(elsewhere)
        assert await texts(keep) == ["from another loop"]


async def test_a_manager_does_not_write_into_a_running_turn():
    """A whole-session save meets the same rules."""
    clock = Clock()
    async with Keeper(store=MemoryStore(clock=clock)) as keep, keep.turn("s") as turn:
        await turn.add(user("a"))
        session = await keep.sessions.get("s")
        session.events.append(session.events[0].model_copy(update={"id": "e", "seq": None}))
        with pytest.raises(SessionBusy):
            await keep.sessions.save(session)
        clock.pass_(300)
        await keep.sessions.save(session)
        with pytest.raises(SessionConflict, match="taken over"):
            await turn.add(user("b"))


async def test_a_short_lived_session_outlives_a_long_tool():
    """A running turn is heard of before the session's own ttl ends."""
    async with Keeper(store=MemoryStore(), ttl=0.3) as keep, keep.turn("s") as turn:
        await turn.add(user())
        await asyncio.sleep(0.6)
        await turn.add_response("done")


async def test_a_deleted_session_ends_its_turn_quietly():
    """The running turn learns it at its next write, with a sentence."""
    async with Keeper(store=MemoryStore(), turn_timeout=0.15) as keep, keep.turn("s") as turn:
        await turn.add(user())
        await keep.sessions.delete("s")
        await asyncio.sleep(0.1)
        with pytest.raises(SessionConflict, match="session is gone"):
            await turn.add(user())


async def test_a_clock_set_back_does_not_keep_a_dead_turn_alive():
    """A turn from the store's future says nothing of now."""
    clock = Clock()
    async with Keeper(store=MemoryStore(clock=clock)) as keep:
        async with keep.turn("s") as dead:
            await dead.add(user("dead"))
            clock.pass_(-30 * 86400)
            async with keep.turn("s") as turn:
                await turn.add(user("new"))
        assert await texts(keep) == ["dead", "new"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_conflict": "wiat"},
        {"on_pending": "no"},
        {"turn_timeout": 0},
        {"turn_timeout": float("nan")},
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": float("inf")},
        {"ttl": True},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong):
    """When the keeper is made, not when the first turn meets another."""
    with pytest.raises((TurnkeepError, ValueError)):
        Keeper(store=MemoryStore(), **wrong)
