"""What goes wrong at odd moments: cancellation everywhere, threads, odd ids, odd tools, odd answers."""

import asyncio
import threading
from dataclasses import replace

import pytest
from pydantic import BaseModel

from turnkeep import (
    Agent,
    BaseSessionManager,
    BaseTool,
    ContentError,
    ExecutionContext,
    InMemorySessionManager,
    LlmClient,
    LlmResponse,
    Message,
    ModelUnavailable,
    Session,
    SessionBusy,
    ToolConfirmation,
    TurnkeepError,
    tool,
)
from turnkeep.agent.output import OutputError
from turnkeep.content import ToolResult, result_text
from turnkeep.model import ModelAnswer
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel


def results(context):
    items = [item for event in context.events for item in event.content]
    return {i.tool_call_id: result_text(i) for i in items if isinstance(i, ToolResult)}


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
async def test_calls_with_one_id_get_their_own_results(call, call_id):
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
async def test_changed_arguments_are_checked_before_any_decision_is_kept(manager, call, arguments):
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


# Tools


async def test_a_tool_whose_own_task_was_cancelled_has_a_result(call):
    """It is not the run that was cancelled."""

    @tool
    async def wait():
        inner = asyncio.ensure_future(asyncio.sleep(9))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    result = await Agent(ScriptedModel(call("wait", "w"), "ok"), [wait]).run("go")
    assert results(result.context) == {"w": "what it waited for was cancelled, outcome unknown"}


async def test_an_error_that_cannot_be_said_is_named(call):
    """By its type."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    @tool
    def fail():
        raise Mute

    result = await Agent(ScriptedModel(call("fail", "f"), "ok"), [fail]).run("go")
    assert "Mute" in results(result.context)["f"]


async def test_plain_tools_do_not_wait_for_each_other(call):
    """Each has a thread of its own, however many there are."""
    together = threading.Barrier(12, timeout=30)

    @tool
    def meet() -> str:
        together.wait()
        return "met"

    model = ScriptedModel([call("meet") for _ in range(12)], "ok")
    result = await Agent(model, [meet], parallel_tools=12).run("go")
    assert set(results(result.context).values()) == {"met"}


async def test_what_a_tool_does_to_its_arguments_stays_its_own(call):
    """The next request says what the model has said."""

    class Pops(BaseTool):
        async def execute(self, context, /, **arguments):
            arguments["list"].clear()
            return "ok"

    def spoil(context, made):
        made.arguments["list"].append("spoilt")

    parameters = {"type": "object", "properties": {"list": {"type": "array"}}}
    model = ScriptedModel(call("pops", list=[1]), "ok")
    await Agent(model, [Pops("pops", "", parameters)], before_tool=spoil).run("go")
    [made] = model.requests[1]["messages"][1]["tool_calls"]
    assert made["function"]["arguments"] == '{"list":[1]}'


async def test_a_check_that_fails_loses_no_answer(manager, call):
    """The model is told when the call would run."""

    class Odd(BaseTool):
        def check(self, arguments):
            raise RuntimeError("odd")

        async def execute(self, context, /, **arguments):
            return "ran"

    model = ScriptedModel(call("odd", "o"), "ok")
    result = await Agent(model, [Odd("odd", requires_confirmation=True)]).run("go")
    assert result.output == "ok"


def test_parameters_may_have_any_name():
    """Those of pydantic's own methods, too; the context by any name."""

    @tool
    def f(
        json: str,
        copy: int,
        _x: int,
        model_config: str,
        ctx: ExecutionContext | None = None,
        schema: str = "s",
    ):
        return [json, copy, _x, model_config, ctx is not None, schema]

    assert set(f.parameters["properties"]) == {"json", "copy", "_x", "model_config", "schema"}
    given = {"json": "j", "copy": 1, "_x": 2, "model_config": "m"}
    made = asyncio.run(f.execute(ExecutionContext(), **given))
    assert made == ["j", 1, 2, "m", True, "s"]


def test_a_method_without_its_object_is_no_tool():
    """The error says what is."""
    with pytest.raises(TurnkeepError, match="bound method"):

        class Thing:
            @tool
            def act(self, x: int):
                return x


def test_confirmation_is_asked_at_once():
    """An async function for it is refused where the tool is made."""

    async def ask(arguments):
        return True

    with pytest.raises(TurnkeepError, match="give a plain function"):
        tool(requires_confirmation=ask)(lambda_like)


def lambda_like():
    pass


# Answers


class City(BaseModel):
    name: str


async def test_a_wrong_typed_answer_is_not_right_the_second_time(manager):
    """`resume` corrects the model, too."""
    agent = Agent(ScriptedModel("a", "b", "c"), output_type=City, session_manager=manager)
    with pytest.raises(OutputError):
        await agent.run("?", session_id="s")
    later = Agent(ScriptedModel('{"name": "Ulm"}'), output_type=City, session_manager=manager)
    assert (await later.resume("s")).output == City(name="Ulm")


async def test_a_cut_answer_is_no_answer(manager):
    """A client that gives one as if it were whole: it is kept, and the program is told."""
    cut = ModelAnswer(items=[Message(role="assistant", content="cut te")], partial=True)
    agent = Agent(ScriptedModel(cut, "whole"), session_manager=manager)
    with pytest.raises(ModelUnavailable, match="cut off"):
        await agent.run("?", session_id="s")
    assert (await agent.resume("s")).output == "whole"


async def test_a_manager_that_does_things_of_its_own_is_asked(manager):
    """So is a client of the tutorial's whose `generate` is one's own."""
    saved = []

    class Mine(InMemorySessionManager):
        async def save(self, session):
            saved.append(session.session_id)
            await super().save(session)

    class Mock(LlmClient):
        async def generate(self, request):
            return LlmResponse(content=[Message(role="assistant", content="mocked")])

    result = await Agent(Mock("gpt-4o"), session_manager=Mine()).run("hi", session_id="s")
    assert result.output == "mocked"
    assert saved


async def test_a_model_of_ones_own_gets_what_would_be_sent(manager, call):
    """Repaired, as any other."""
    seen = []

    class Mine:
        async def generate(self, request):
            seen.append(request.contents)
            return LlmResponse(content=[Message(role="assistant", content="ok")])

    session = await manager.create("s")
    from turnkeep import Event

    session.events.append(Event(author="assistant", content=[call("lost", "x")]))
    await manager.save(session)
    await Agent(Mine(), session_manager=manager).run("hi", session_id="s")
    kinds = [item.type for item in seen[0]]
    assert kinds.count("tool_call") == kinds.count("tool_result")


async def test_why_the_model_stopped_is_told():
    """An answer that met its limit looks like any other."""
    cut = ModelAnswer(items=[Message(role="assistant", content="once")], finish="length")
    result = await Agent(ScriptedModel(cut)).run("tell")
    assert (result.status, result.finish) == ("complete", "length")


def test_a_model_is_opened_again_on_another_loop(monkeypatch):
    """A script that runs twice finds it open; so does one with a client of the tutorial's."""
    from contextlib import asynccontextmanager

    from turnkeep.agent import models
    from turnkeep.tutorial import llm

    opened, closed = [], []

    @asynccontextmanager
    async def opening(name, **options):
        opened.append(name)
        try:
            yield ScriptedModel("ok")
        finally:
            closed.append(name)

    monkeypatch.setattr(models, "open_model", opening)
    monkeypatch.setattr(llm, "open_model", opening)
    for model in ("some-model", LlmClient("some-model")):
        opened.clear()
        agent = Agent(model)
        assert [agent.run_sync("hi").output for _ in range(2)] == ["ok", "ok"]
        assert len(opened) == 2
    assert len(closed) >= 2


async def test_an_agent_of_a_keeper_follows_its_rules(call):
    """What a new input does to a call that waits is told once, in the configuration."""
    from turnkeep import Keeper

    @tool(requires_confirmation=True)
    def pay():
        return "paid"

    async with Keeper(store=MemoryStore(), on_pending="reject") as keep:
        agent = Agent(ScriptedModel(call("pay", "p"), "ok"), [pay], keeper=keep)
        await agent.run("go", session_id="s")
        assert (await agent.run("rather not", session_id="s")).output == "ok"
