"""Calls that wait for a person: decided once, before the tool starts, by whoever comes first."""

import pytest

from turnkeep import ContentError, Keeper, Message, PendingApproval, ToolCall, ToolResult
from turnkeep.stores.memory import MemoryStore

TOOLS = [{"name": "look", "description": "Look around."}, {"name": "delete"}]


def user(text="Hi"):
    return Message(role="user", content=text)


def call(name="look", id="c1", **arguments):
    return ToolCall(tool_call_id=id, name=name, arguments=arguments)


@pytest.fixture
def keeper():
    return Keeper(store=MemoryStore())


async def kept(keep, session_id="s"):
    return [
        item for event in (await keep.sessions.get(session_id)).events for item in event.content
    ]


async def paused(keep):
    async with keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(
            [call("look", "1"), call("delete", "2")], needs_approval={"delete"}
        )
        assert [c.name for c in step.tool_calls] == ["look"]
        assert [c.name for c in step.pending] == ["delete"]
        await turn.add_result(step.tool_calls[0], "seen")
        with pytest.raises(PendingApproval, match="delete"):
            await turn.add_result(step.pending[0], "too early")
        with pytest.raises(PendingApproval, match="delete"):
            await turn.request()


async def test_an_approved_call_runs_in_the_next_turn(keeper):
    """The decision is kept before the tool starts, with the arguments as changed."""
    async with keeper as keep:
        await paused(keep)
        async with keep.turn("s") as turn:
            [waiting] = turn.pending
            run = await turn.decide(waiting, approved=True, arguments={"what": "one"})
            assert run.arguments == {"what": "one"}
            with pytest.raises(ContentError, match="no decision"):
                await turn.decide(waiting, approved=False)
            await turn.add_result(run, "deleted")
            assert (await turn.request(tools=TOOLS)).report().repairs == []
        decisions = [e for e in (await keep.sessions.get("s")).events if e.type == "decision"]
    assert [(d.call, d.approved, d.arguments) for d in decisions] == [
        ((2, 1), True, {"what": "one"})
    ]


async def test_a_rejected_call_gets_its_result_at_once(keeper):
    """The model is told, with the reason."""
    async with keeper as keep:
        await paused(keep)
        async with keep.turn("s") as turn:
            assert (
                await turn.decide(turn.pending[0], approved=False, reason="too dangerous") is None
            )
            assert turn.open_calls == []
    assert turn.context.items[-1].content == ["rejected: too dangerous"]


async def test_a_new_input_meets_calls_that_wait(keeper):
    """It is refused before anything is written, or rejects them if asked to."""
    async with keeper as keep:
        await paused(keep)
        before = len(await kept(keep))
        async with keep.turn("s") as turn:
            with pytest.raises(PendingApproval, match="on_pending"):
                await turn.add(user("never mind"))
        assert len(await kept(keep)) == before
        async with keep.turn("s", on_pending="reject") as turn:
            await turn.add(user("never mind"))
            assert turn.pending == []
            assert (await turn.request(tools=TOOLS)).report().repairs == []


async def test_the_first_input_closes_calls_whatever_came_before_it(keeper):
    """A change of state does not open a way around the decision, or around interrupted calls."""
    async with keeper as keep:
        await paused(keep)
        async with keep.turn("s") as turn:
            await turn.set_state({"n": 1})
            with pytest.raises(PendingApproval):
                await turn.add(user("never mind"))
            await turn.decide(turn.pending[0], approved=True)
        async with keep.turn("s") as turn:
            await turn.set_state({"n": 2})
            await turn.add(user("and now"))
            assert turn.open_calls == []


async def test_calls_with_one_id_are_told_apart(keeper):
    """A decision and a result go to the very call that is given."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        calls = [call("delete", "same", n=1), call("delete", "same", n=2), call("look", "same")]
        step = await turn.add_response(calls, needs_approval={"delete"})
        for gated in step.pending:
            run = await turn.decide(gated, approved=True)
            assert run.arguments == gated.arguments
        decisions = [e for e in (await keep.sessions.get("s")).events if e.type == "decision"]
    assert [decision.call for decision in decisions] == [(2, 0), (2, 1)]


async def test_a_result_answers_its_own_call(keeper):
    """A ToolResult for another call is refused, and so is one for a call that waits."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(
            [call("look", "a"), call("delete", "b")], needs_approval={"delete"}
        )
        other = ToolResult(tool_call_id="b", name="delete", content=["gone"])
        with pytest.raises(ContentError, match="cannot answer"):
            await turn.add_result(step.tool_calls[0], other)
        with pytest.raises(PendingApproval):
            await turn.add(other)
        assert [c.name for c in turn.pending] == ["delete"]


async def test_decisions_survive_a_checkpoint():
    """Behind a checkpoint a decided call is still decided."""
    from turnkeep.content import Ref
    from turnkeep.context import Context
    from turnkeep.events import Checkpoint, Decision, Placed

    gated = call("delete").model_copy(update={"needs_approval": True})
    decision = Decision(call=Ref(2, 0), tool_call_id="c1", approved=True)
    kept = Checkpoint(contents=[Placed(seq=2, index=0, item=gated)], decisions=[decision])
    context = Context([kept.stored_as(4)], base=4)
    assert context.pending() == []
    assert context.open_calls()[0].ref == (2, 0)
