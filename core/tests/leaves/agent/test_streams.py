"""Streams: what happens, as it happens."""

import asyncio
import contextlib

import pytest

from turnkeep import Agent, Keeper, Message, ModelUnavailable, ToolConfirmation, tool
from turnkeep.agent.events import (
    ConfirmationsNeeded,
    Finished,
    ModelAnswered,
    ModelCalled,
    ToolFinished,
    ToolStarted,
)
from turnkeep.content import result_text
from turnkeep.model import CallDelta, ModelAnswer, TextDelta
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(requires_confirmation=True)
def pay():
    """Pay."""
    return "paid"


async def kinds(stream):
    return [type(event) async for event in stream]


async def test_a_run_is_told_step_by_step(call):
    """Calls, pieces, tools, answer; the result is last."""
    agent = Agent(ScriptedModel(call("add", a=1, b=2), "it is 3 :-)"), [add])
    events = [event async for event in agent.stream("1+2?")]
    assert [type(event) for event in events] == [
        ModelCalled, CallDelta, ModelAnswered, ToolStarted, ToolFinished,
        ModelCalled, TextDelta, TextDelta, ModelAnswered, Finished,
    ]  # fmt: skip
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "it is 3 :-)"
    assert events[-1].result.output == "it is 3 :-)"
    assert events[0].request.tokens > 0


async def test_a_pause_is_told(manager, call):
    """With what waits; going on streams, too."""
    agent = Agent(ScriptedModel(call("pay", "p"), "ok"), [pay], session_manager=manager)
    events = [event async for event in agent.stream("go", session_id="s")]
    assert isinstance(events[-2], ConfirmationsNeeded)
    assert events[-2].calls[0].tool_call.name == "pay"
    yes = [ToolConfirmation(tool_call_id="p", approved=True)]
    assert (await kinds(agent.stream(None, None, "s", yes)))[0] is ToolStarted


async def test_a_stream_left_early_keeps_what_was_shown(manager):
    """As a cut answer, and the session is free."""
    agent = Agent(ScriptedModel("a long story", "again"), session_manager=manager)
    async with contextlib.aclosing(agent.stream("tell", session_id="s")) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    events = manager._sessions["s"].events
    assert [(e.partial, e.content[0].content) for e in events[1:]] == [(True, "a long s"[:8])]
    assert (await agent.resume("s")).output == "again"


async def test_a_stream_left_while_a_tool_runs_cancels_it(manager, call):
    """Nothing goes on behind the program's back."""
    ended = []

    @tool
    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    agent = Agent(ScriptedModel(call("slow")), [slow], session_manager=manager)
    async with contextlib.aclosing(agent.stream("go", session_id="s")) as stream:
        async for event in stream:
            if isinstance(event, ToolStarted):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                break
    assert ended == [1]


class _Breaks(ScriptedModel):
    async def stream(self, request, settings=None):
        yield TextDelta("Once ")
        said = [Message(role="assistant", content="Once ")]
        raise ModelUnavailable("cut off", partial=ModelAnswer(items=said, partial=True))


async def test_a_stream_that_breaks_keeps_what_had_come(manager):
    """And the error reaches the program."""
    agent = Agent(_Breaks(), session_manager=manager)
    with pytest.raises(ModelUnavailable):
        await kinds(agent.stream("tell", session_id="s"))
    assert [event.partial for event in manager._sessions["s"].events] == [False, True]


async def test_a_cancelled_stream_is_cancelled_also_where_its_turn_was_lost():
    """What had come cannot be kept then; the caller hears of its own cancellation."""

    class Hangs(ScriptedModel):
        async def stream(self, request, settings=None):
            yield TextDelta("Once ")
            await asyncio.sleep(100)

    store, lost = MemoryStore(), asyncio.Event()

    async def follow(agent):
        async for event in agent.stream("tell", session_id="s"):
            if isinstance(event, TextDelta):
                await store.delete("s")
                lost.set()

    async with Keeper(store=store) as keep:
        following = asyncio.create_task(follow(Agent(Hangs(), keeper=keep)))
        await lost.wait()
        await asyncio.sleep(0)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following


async def test_a_tool_that_kills_the_run_is_an_error_of_the_stream(manager, call):
    """What a callback raises ends it; what was kept stays, and that the tool has run is kept."""

    def refuse(context, result):
        raise RuntimeError("3 is a secret")

    agent = Agent(
        ScriptedModel(call("add", a=1, b=1)), [add], session_manager=manager, after_tool=refuse
    )
    with pytest.raises(RuntimeError, match="a secret"):
        await kinds(agent.stream("go", session_id="s"))
    *_, last = manager._sessions["s"].events
    assert last.content[0].status == "error"
    assert result_text(last.content[0]) == (
        "it has been answered, but the answer is lost: after_tool raised RuntimeError"
    )
