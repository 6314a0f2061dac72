"""A turn whose store loses answers: what is done again is done once, what differs is not swallowed."""

import asyncio

import pytest

from turnkeep import ContentError, Keeper, Message, SessionConflict, StoreUnavailable, ToolCall
from turnkeep import log as log_module
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore


@pytest.fixture(autouse=True)
def no_retries(monkeypatch):
    """Each fault comes out at once, so that the turn has to deal with it."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())


def user(text="Hi"):
    return Message(role="user", content=text)


def call(id="c", name="pay", **arguments):
    return ToolCall(tool_call_id=id, name=name, arguments=arguments)


async def log_of(keep):
    return (await keep.sessions.get("s")).events


async def texts(keep):
    return [
        item.content
        for event in await log_of(keep)
        for item in event.content
        if not isinstance(item, ToolCall)
    ]


def losing(*plan):
    store = FaultyStore(MemoryStore(), plan)
    return store, Keeper(store=store)


async def again(action):
    """Do something, and do it again if its answer was lost."""
    with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
        await action()
    return await action()


@pytest.mark.parametrize("fault", ["lose answer", "refuse", "cancel before", "cancel after"])
async def test_every_step_done_again_stands_once(fault):
    """Opening, calls, decisions, results, state, the final answer; what is returned is in the log."""
    store, keeper = losing()

    async def twice(action):
        store.plan = [fault]
        return await again(action)

    async with keeper as keep, keep.turn("s") as turn:
        [said] = await twice(lambda: turn.add(user()))
        step = await twice(lambda: turn.add_response(call(), needs_approval={"pay"}))
        run = await twice(lambda: turn.decide(step.pending[0], approved=True, arguments={"n": 1}))
        assert run.arguments == {"n": 1}
        result = await twice(lambda: turn.add_result(step.pending[0], "paid"))
        await twice(lambda: turn.set_state({"paid": True}))
        assert turn.state == {"paid": True}
        final = await twice(lambda: turn.add_response("done"))
        assert final.done
        kept = await log_of(keep)
        assert [event.type for event in kept] == [
            "event",
            "event",
            "decision",
            "event",
            "event",
            "event",
        ]
        ids = [event.id for event in kept]
        assert [said.id, step.event.id, result.id, final.event.id] == [
            ids[0],
            ids[1],
            ids[3],
            ids[5],
        ]
        assert (await keep.sessions.get("s")).state == {"paid": True}
    async with Keeper(store=store) as after, after.turn("s") as turn:
        await turn.add(user("next"))


async def test_another_answer_is_not_taken_for_the_same():
    """A partial answer that was kept does not stand for the whole one."""
    _, keeper = losing(None, "cancel after")
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        with pytest.raises(asyncio.CancelledError):
            await turn.add_response("text", partial=True)
        assert (await turn.add_response("text")).done
        assert [event.partial for event in await log_of(keep)] == [False, True, False]


async def test_another_state_is_not_taken_for_the_same():
    """The second state is stored, too."""
    _, keeper = losing("cancel after")
    async with keeper as keep, keep.turn("s") as turn:
        with pytest.raises(asyncio.CancelledError):
            await turn.set_state({"a": 1})
        await turn.set_state({"a": 2})
        assert turn.state == (await keep.sessions.get("s")).state == {"a": 2}


async def test_a_lost_begin_does_not_lock_the_turn_out():
    """The session's creation is retried with its own key."""
    inner = MemoryStore()
    real, lost = inner.create, []

    async def create(*args, **fields):
        head = await real(*args, **fields)
        if not lost:
            lost.append(head)
            raise StoreUnavailable("lost")
        return head

    inner.create = create
    async with Keeper(store=inner) as keep, keep.turn("s") as turn:
        await again(lambda: turn.add_response("as first write"))
        assert await texts(keep) == ["as first write"]


async def test_a_heartbeat_between_the_tries_changes_nothing():
    """It settles the lost write; the repetition is still known for one."""
    store = FaultyStore(MemoryStore())
    async with Keeper(store=store, turn_timeout=0.3) as keep, keep.turn("s") as turn:
        await turn.add(user("0"))
        store.plan = ["lose answer"]
        with pytest.raises(StoreUnavailable):
            await turn.add(user("x"))
        await asyncio.sleep(0.25)
        await turn.add(user("x"))
        assert await texts(keep) == ["0", "x"]


async def test_a_request_between_the_tries_changes_nothing():
    """It shows what was kept, and the repetition is still known for one."""
    _, keeper = losing(None, None, "lose answer")
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(call())
        with pytest.raises(StoreUnavailable):
            await turn.add_result(step.tool_calls[0], "paid")
        assert len((await turn.request()).to_openai_chat()["messages"]) == 3
        await turn.add_result(step.tool_calls[0], "paid")
        with pytest.raises(ContentError, match="not open"):
            await turn.add_result(step.tool_calls[0], "paid")


async def test_a_turn_goes_on_in_fresh_after_a_lost_closing():
    """After a final answer whose answer was lost, a new turn in the same block stays fresh."""
    store = FaultyStore(MemoryStore())
    async with Keeper(store=store, turn_timeout=0.3) as keep, keep.turn("s") as turn:
        await turn.add(user("1"))
        store.plan = ["lose answer"]
        await again(lambda: turn.add_response("done"))
        await turn.add(user("2"))
        before = turn.head.revision.version
        await asyncio.sleep(0.35)
        assert turn.head.revision.version > before


@pytest.mark.parametrize("where", ["same loop", "other loop"])
async def test_a_cancelled_append_has_settled(where):
    """A slow store that waits out its append: afterwards the turn goes on, from any loop."""

    class Slow(MemoryStore):
        async def append(self, *args, **fields):
            writing = asyncio.ensure_future(super().append(*args, **fields))
            await asyncio.sleep(0)
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                raise
            finally:
                await writing
            return writing.result()

    async with Keeper(store=Slow()) as keep:

        async def work():
            async with keep.turn("s") as turn:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(turn.add(user("x")), 0.03)
                await turn.add(user("x"))
                await turn.add(user("y"))

        if where == "same loop":
            await work()
        else:
            await asyncio.to_thread(asyncio.run, work())
        assert await texts(keep) == ["x", "y"]


async def test_a_stale_turn_does_not_answer_what_was_answered():
    """Another turn decided and ran meanwhile: nothing runs twice."""
    async with Keeper(store=MemoryStore()) as keep:
        async with keep.turn("s") as turn:
            await turn.add(user())
            await turn.add_response(call(), needs_approval={"pay"})
        async with keep.turn("s") as slow:
            async with keep.turn("s") as quick:
                await quick.add_result(await quick.decide(quick.pending[0], approved=True), "paid")
                await quick.add_response("done")
            [waiting] = slow.pending
            with pytest.raises(SessionConflict):
                await slow.decide(waiting, approved=True)
            with pytest.raises(SessionConflict):
                await slow.add_response("of an old context")
        assert (await texts(keep))[-1] == "done"


async def test_two_at_once_decide_and_answer_once():
    """In one turn, too."""
    async with Keeper(store=MemoryStore()) as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(call(), needs_approval={"pay"})
        [gated] = step.pending
        decided = await asyncio.gather(
            *(turn.decide(gated, approved=True) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in decided) == [
            "ContentError",
            "ContentError",
            "ToolCall",
        ]
        answered = await asyncio.gather(
            *(turn.add_result(gated, "paid") for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in answered) == [
            "ContentError",
            "ContentError",
            "Event",
        ]
