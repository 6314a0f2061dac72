"""What goes wrong at odd moments: cancellation everywhere, threads, odd ids, old contexts."""

import asyncio
import threading
from dataclasses import replace

import pytest

from turnkeep import (
    Agent,
    BaseSessionManager,
    ContentError,
    ExecutionContext,
    InMemorySessionManager,
    Message,
    Session,
    SessionBusy,
    ToolConfirmation,
    TurnkeepError,
    tool,
)
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel


def yes(call_id, **fields):
    return ToolConfirmation(tool_call_id=call_id, approved=True, **fields)


# Cancellation


class Slow(MemoryStore):
    """Takes some steps of the loop for each call."""

    async def append(self, *args, **kwargs):
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().append(*args, **kwargs)


@pytest.mark.parametrize("again", [1, 5])
async def test_a_run_cancelled_anywhere_leaves_the_session_free(call, again):
    """At each step of the loop, once or as often as some libraries do; no task is left."""
    from turnkeep import SessionManager

    @tool(requires_confirmation=True)
    async def pay():
        return "paid"

    for steps in range(60):
        manager = SessionManager(Slow())
        agent = Agent(ScriptedModel(call("pay", "p"), "never"), [pay], session_manager=manager)
        running = asyncio.create_task(agent.run("go", session_id="s"))
        for _ in range(steps):
            await asyncio.sleep(0)
        for _ in range(again):
            running.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([running])
        later = Agent(ScriptedModel("ok"), [pay], session_manager=manager, on_pending="reject")
        assert (await later.run("so?", session_id="s")).output == "ok"
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, others


# Several agents, several threads


class Own(BaseSessionManager):
    def __init__(self):
        self.kept = {}

    async def create(self, session_id, user_id=None):
        self.kept[session_id] = Session(session_id=session_id, user_id=user_id)
        return self.kept[session_id]

    async def get(self, session_id):
        await asyncio.sleep(0)
        return self.kept.get(session_id)

    async def save(self, session):
        await asyncio.sleep(0)
        self.kept[session.session_id] = session


async def test_agents_on_one_manager_keep_each_others_runs():
    """As a web handler that makes an agent for each request does."""
    own = Own()
    agents = [
        Agent(ScriptedModel(f"a{n}"), session_manager=own, on_conflict="wait") for n in range(4)
    ]
    await asyncio.gather(*(each.run(f"q{n}", session_id="s") for n, each in enumerate(agents)))
    said = [event.content[0].content for event in own.kept["s"].events]
    assert sorted(said) == sorted(f"{kind}{n}" for kind in "qa" for n in range(4))


@pytest.mark.parametrize("manager", [InMemorySessionManager, Own])
def test_an_agent_serves_threads(manager):
    """Each with a loop of its own."""
    agent = Agent(ScriptedModel(*["ok"] * 20), session_manager=manager())
    ended = []

    def work(number):
        ended.append(asyncio.run(agent.run("hi", session_id=f"s{number}")).output)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert ended == ["ok"] * 20


async def test_run_sync_in_a_loop_says_what_to_do():
    """Without a coroutine left behind."""
    with pytest.raises(TurnkeepError, match=r"await agent\.run"):
        Agent(ScriptedModel()).run_sync("hi")


async def test_a_session_that_is_in_use_costs_nothing(manager, call):
    """`resume` asks no model and runs no tool before it holds the session."""
    ran, going = [], asyncio.Event()

    @tool(idempotent=True)
    async def slow():
        ran.append(1)
        going.set()
        await asyncio.sleep(0.05)
        return "done"

    first = Agent(ScriptedModel(call("slow"), "ok"), [slow], session_manager=manager)
    running = asyncio.create_task(first.run("go", session_id="s"))
    await going.wait()
    other = Agent(ScriptedModel(), [slow], session_manager=manager)
    for run in (other.resume("s"), other.run("and?", session_id="s")):
        with pytest.raises(SessionBusy):
            await run
    await running
    assert len(ran) == 1


# Odd ids


@pytest.mark.parametrize("call_id", ["c", ""])
async def test_calls_with_one_id_get_their_own_results(call, call_id, results):
    """Each a name of its own; the same that the request gives."""

    @tool
    async def double(x: int) -> int:
        await asyncio.sleep(0.01 / x)
        return 2 * x

    calls = [call("double", call_id or "-", x=x) for x in (1, 2)]
    calls = [each.model_copy(update={"tool_call_id": call_id}) for each in calls]
    model = ScriptedModel(calls, "ok")
    await Agent(model, [double]).run("go")
    asked, *answers = model.requests[1]["messages"][1:]
    told = {answer["tool_call_id"]: answer["content"] for answer in answers}
    wanted = {c["id"]: c["function"]["arguments"] for c in asked["tool_calls"]}
    assert {wanted[each]: told[each] for each in wanted} == {'{"x":1}': "2", '{"x":2}': "4"}


async def test_a_gated_call_with_anothers_id_still_waits(manager, call):
    """Nobody's approval disappears."""

    @tool
    def look():
        return "looked"

    @tool(requires_confirmation=True)
    def delete():
        return "deleted"

    model = ScriptedModel([call("look", "c"), call("delete", "c")], "ok")
    agent = Agent(model, [look, delete], session_manager=manager)
    first = await agent.run("go", session_id="s")
    [waiting] = first.pending_tool_calls
    assert waiting.tool_call.name == "delete"
    await agent.resume("s", [yes(waiting.tool_call.tool_call_id)])
    assert "deleted" in str(model.requests[1])


# Contexts and state


async def test_an_old_context_does_not_bring_back_an_old_state(manager, call):
    """Only what the program has changed in it goes on top."""

    @tool
    def count(context: ExecutionContext) -> int:
        context.state["n"] = context.state.get("n", 0) + 1
        return context.state["n"]

    def agent():
        model = ScriptedModel(call("count"), "ok")
        return Agent(model, [count], session_manager=manager)

    first = await agent().run("1", session_id="s")
    kept = replace(first.context, state=dict(first.context.state))
    await agent().run("2", session_id="s")
    kept.state["mine"] = True
    third = await agent().run("3", context=kept)
    assert third.context.state == {"n": 3, "mine": True}


async def test_a_context_of_another_session_brings_nothing_along(manager):
    """Neither state nor name."""
    agent = Agent(ScriptedModel("a", "b"), session_manager=manager)
    first = await agent.run("1", context=ExecutionContext(state={"k": 1}), session_id="A")
    second = await agent.run("2", context=first.context, session_id="B")
    assert second.context.state == {}
    assert manager._sessions["B"].state == {}
    assert {event.execution_id for event in manager._sessions["B"].events} != {"A"}


async def test_true_is_not_one(manager, call):
    """A value of another type is a change."""

    @tool
    def done(context: ExecutionContext):
        context.state["done"] = True

    agent = Agent(ScriptedModel(call("done"), "ok"), [done], session_manager=manager)
    await agent.run("go", ExecutionContext(state={"done": 1}), "s")
    assert manager._sessions["s"].state["done"] is True


async def test_a_state_that_cannot_be_kept_loses_no_answer(manager):
    """The answer is stored first."""

    def spoil(context, response):
        context.state["when"] = object()

    agent = Agent(ScriptedModel("paid for"), session_manager=manager, after_llm=spoil)
    with pytest.raises(ContentError, match="state of session 's'"):
        await agent.run("go", session_id="s")
    assert (await Agent(ScriptedModel(), session_manager=manager).resume("s")).output == "paid for"


async def test_a_tool_may_change_the_list_of_events(manager, call):
    """What it adds is kept, whatever it takes out."""
    from turnkeep import Event

    @tool
    def meddle(context: ExecutionContext):
        context.events.pop(0)
        context.add_event(Event(author="x", content=[Message(role="user", content="added")]))

    agent = Agent(ScriptedModel(call("meddle"), "ok"), [meddle], session_manager=manager)
    result = await agent.run("go", session_id="s")
    assert [e.author for e in result.context.events].count("x") == 1
    assert result.context.events[0].author == "user"


async def test_what_is_added_while_a_call_waits_comes_behind_the_decision(manager, call):
    """The pause stays a pause."""
    from turnkeep import Event

    @tool
    def note(context: ExecutionContext):
        context.add_event(Event(author="x", content=[Message(role="user", content="added")]))

    @tool(requires_confirmation=True)
    def pay():
        return "paid"

    model = ScriptedModel([call("note", "n"), call("pay", "p")], "ok")
    agent = Agent(model, [note, pay], session_manager=manager)
    first = await agent.run("go", session_id="s")
    assert first.status == "pending"
    result = await agent.run("", context=first.context, tool_confirmations=[yes("p")])
    authors = [event.author for event in result.context.events]
    assert authors.index("x") > authors.index("tool")
    assert result.output == "ok"


# Decisions


@pytest.mark.parametrize(
    "arguments", [{"amount": float("nan")}, {"amount": "many"}, {"other": 1}, {"amount": object()}]
)
async def test_changed_arguments_are_checked_before_any_decision_is_kept(
    manager, call, arguments, results
):
    """The person is told, and both calls still wait."""

    @tool(requires_confirmation=True)
    def pay(amount: int):
        return f"paid {amount}"

    calls = [call("pay", "p1", amount=1), call("pay", "p2", amount=2)]
    agent = Agent(ScriptedModel(calls, "ok"), [pay], session_manager=manager)
    await agent.run("go", session_id="s")
    with pytest.raises(ContentError, match="changed arguments of 'p2'"):
        await agent.resume("s", [yes("p1"), yes("p2", modified_arguments=arguments)])
    result = await agent.resume("s", [yes("p1"), yes("p2")])
    assert results(result.context) == {"p1": "paid 1", "p2": "paid 2"}
