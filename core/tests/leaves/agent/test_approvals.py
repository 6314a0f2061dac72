"""Approvals: calls that wait for a person, across processes, whatever comes between."""

import asyncio
from datetime import timedelta

import pytest

from turnkeep import (
    Agent,
    ContentError,
    InMemorySessionManager,
    ModelUnavailable,
    PendingApproval,
    SessionManager,
    StoreUnavailable,
    ToolConfirmation,
    tool,
)
from turnkeep.content import ToolResult, result_text
from turnkeep.events import utc_now
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel


class Shop:
    """Tools with side effects, and what they did."""

    def __init__(self):
        self.ran = []

        @tool(requires_confirmation=True, confirmation_message="Pay {amount}?")
        async def pay(amount: int) -> str:
            self.ran.append(("pay", amount))
            return f"paid {amount}"

        @tool
        async def look(what: str) -> str:
            self.ran.append(("look", what))
            return f"saw {what}"

        @tool(idempotent=True, requires_confirmation=True)
        async def mark(what: str) -> str:
            self.ran.append(("mark", what))
            return "marked"

        self.tools = [pay, look, mark]


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def agent_of(shop, manager):
    """Make an agent as another process would: nothing shared but the store."""

    def make(*answers, **options):
        options.setdefault("session_manager", manager)
        return Agent(ScriptedModel(*answers), shop.tools, **options)

    return make


def yes(call_id="p1", **fields):
    return ToolConfirmation(tool_call_id=call_id, approved=True, **fields)


def no(call_id="p1", **fields):
    return ToolConfirmation(tool_call_id=call_id, approved=False, **fields)


def texts(result):
    return [
        result_text(item)
        for event in result.context.events
        for item in event.content
        if isinstance(item, ToolResult)
    ]


async def test_a_run_pauses_and_another_process_goes_on(agent_of, shop, call):
    """What waits is told with its question; approved, it runs once."""
    first = await agent_of(call("pay", "p1", amount=5)).run("pay 5", session_id="s")
    assert (first.status, shop.ran) == ("pending", [])
    [waiting] = first.pending_tool_calls
    assert (waiting.tool_call.tool_call_id, waiting.confirmation_message) == ("p1", "Pay 5?")
    assert first.context.state["pending_tool_calls"][0]["tool_call"]["name"] == "pay"
    second = await agent_of("done").run("", session_id="s", tool_confirmations=[yes()])
    assert (second.output, shop.ran) == ("done", [("pay", 5)])
    assert "pending_tool_calls" not in second.context.state


async def test_a_rejected_call_is_not_run_and_the_model_is_told_why(agent_of, shop, call):
    """Its reason is the result."""
    await agent_of(call("pay", "p1", amount=5)).run("pay 5", session_id="s")
    result = await agent_of("ok").resume("s", [no(reason="too much")])
    assert shop.ran == []
    assert texts(result) == ["rejected: too much"]


async def test_arguments_may_be_changed_by_the_person(agent_of, shop, call):
    """The tool gets what was approved."""
    await agent_of(call("pay", "p1", amount=500)).run("pay", session_id="s")
    await agent_of("ok").resume("s", [yes(modified_arguments={"amount": 5})])
    assert shop.ran == [("pay", 5)]


async def test_an_answer_counts_once(agent_of, shop, call):
    """The same confirmation again is refused, and nothing runs twice."""
    await agent_of(call("pay", "p1", amount=5)).run("pay", session_id="s")
    await agent_of("ok").resume("s", [yes()])
    with pytest.raises(ContentError, match="no call 'p1' waits for a decision"):
        await agent_of().resume("s", [yes()])
    assert shop.ran == [("pay", 5)]


async def test_two_people_who_answer_at_once_run_it_once(agent_of, shop, call):
    """One of them is told that the other was first."""
    await agent_of(call("pay", "p1", amount=5)).run("pay", session_id="s")
    agents = [agent_of("ok", "ok") for _ in range(2)]
    ended = await asyncio.gather(
        *(each.resume("s", [yes()]) for each in agents), return_exceptions=True
    )
    assert shop.ran == [("pay", 5)]
    assert sum(isinstance(each, Exception) for each in ended) == 1


async def test_a_decision_on_an_unknown_call_is_refused(agent_of, call):
    """With those that wait, and nothing of the others recorded."""
    await agent_of([call("pay", "p1", amount=5)]).run("pay", session_id="s")
    with pytest.raises(ContentError, match=r"no call 'p9' waits.*waiting: 'p1'"):
        await agent_of().resume("s", [yes("p1"), yes("p9")])
    result = await agent_of("fine").resume("s", [yes()])
    assert result.output == "fine"


async def test_a_decision_after_the_session_expired_is_refused(shop, call):
    """And does not begin the session anew."""
    now = [utc_now()]
    manager = SessionManager(MemoryStore(clock=lambda: now[0]), ttl=60)
    agent = Agent(ScriptedModel(call("pay", "p1", amount=5)), shop.tools, session_manager=manager)
    await agent.run("pay", session_id="s")
    now[0] += timedelta(seconds=61)
    with pytest.raises(ContentError, match="its session has expired"):
        await agent.resume("s", [yes()])
    assert await manager.get("s") is None


async def test_two_calls_wait_and_are_answered_one_by_one(agent_of, shop, call):
    """The run pauses again until both are."""
    await agent_of([call("pay", "p1", amount=1), call("pay", "p2", amount=2)]).run(
        "pay", session_id="s"
    )
    result = await agent_of().resume("s", [yes("p2")])
    assert result.status == "pending"
    assert [each.tool_call.tool_call_id for each in result.pending_tool_calls] == ["p1"]
    result = await agent_of("done").resume("s", [no("p1")])
    assert (result.output, shop.ran) == ("done", [("pay", 2)])


async def test_decisions_go_to_the_calls_they_name(agent_of, shop, call):
    """In whatever order they come."""
    await agent_of([call("pay", "p1", amount=1), call("pay", "p2", amount=2)]).run(
        "pay", session_id="s"
    )
    await agent_of("done").resume("s", [no("p2", reason="never"), yes("p1")])
    assert shop.ran == [("pay", 1)]


async def test_tools_that_need_nobody_run_beside_those_that_wait(agent_of, shop, call):
    """Their results survive the pause, and are not made again."""
    first = await agent_of(
        [call("look", "l1", what="a"), call("pay", "p1", amount=1), call("look", "l2", what="b")]
    ).run("go", session_id="s")
    assert first.status == "pending"
    assert sorted(texts(first)) == ["saw a", "saw b"]
    model = ScriptedModel("done")
    await Agent(model, shop.tools, session_manager=agent_of().session_manager).resume("s", [yes()])
    assert sorted(shop.ran) == [("look", "a"), ("look", "b"), ("pay", 1)]
    assert len(model.requests[0]["messages"]) == 5


async def test_a_new_input_while_calls_wait_is_refused_or_rejects_them(agent_of, shop, call):
    """As the agent says."""
    await agent_of(call("pay", "p1", amount=1)).run("pay", session_id="s")
    with pytest.raises(PendingApproval):
        await agent_of().run("something else", session_id="s")
    result = await agent_of("sure", on_pending="reject").run("something else", session_id="s")
    assert result.output == "sure"
    assert texts(result) == ["rejected: a new input came before a decision"]


async def test_an_input_with_some_decisions_missing_is_refused_before_any_is_kept(
    agent_of, shop, call
):
    """Nothing has run, and all calls still wait."""
    await agent_of([call("pay", "p1", amount=1), call("pay", "p2", amount=2)]).run(
        "pay", session_id="s"
    )
    with pytest.raises(PendingApproval, match="pay"):
        await agent_of().run("and hurry", session_id="s", tool_confirmations=[yes("p1")])
    assert shop.ran == []


async def test_an_input_may_come_with_the_decisions(agent_of, shop, call):
    """It stands behind the results."""
    await agent_of(call("pay", "p1", amount=1)).run("pay", session_id="s")
    result = await agent_of("thanks").run("here you go", session_id="s", tool_confirmations=[yes()])
    kinds = [e.content[0].type if e.content else e.type for e in result.context.events]
    assert kinds == ["message", "tool_call", "decision", "tool_result", "message", "message"]


async def test_no_one_is_asked_about_a_call_that_cannot_run(agent_of, call):
    """Wrong arguments are told to the model at once."""
    result = await agent_of(call("pay", "p1", amount="x"), "oh").run("pay", session_id="s")
    assert result.output == "oh"


async def test_a_failing_model_after_an_approval_does_not_run_the_tool_again(agent_of, shop, call):
    """The result is in the log when the model is asked."""
    await agent_of(call("pay", "p1", amount=1)).run("pay", session_id="s")
    with pytest.raises(ModelUnavailable):
        await agent_of(ModelUnavailable("down")).resume("s", [yes()])
    result = await agent_of("done").resume("s")
    assert (result.output, shop.ran) == ("done", [("pay", 1)])


class _Fails(MemoryStore):
    """Refuses to append while `broken`."""

    broken = False

    async def append(self, *args, **kwargs):
        if self.broken:
            raise StoreUnavailable("the disk is full")
        return await super().append(*args, **kwargs)


async def test_an_approved_tool_whose_result_cannot_be_kept_is_not_run_twice(
    shop, call, monkeypatch
):
    """The model is told that its outcome is not known."""
    monkeypatch.setattr("turnkeep.log.RETRY_DELAYS", (0.0,))
    store = _Fails()
    manager = SessionManager(store, turn_timeout=0.05)  # the broken turn could not be closed

    def agent(*answers):
        model = ScriptedModel(*answers)
        return Agent(model, shop.tools, session_manager=manager, on_conflict="wait")

    await agent(call("pay", "p1", amount=1)).run("pay", session_id="s")
    plain = shop.tools[0].function

    async def pay(amount):
        store.broken = True
        return await plain(amount)

    shop.tools[0].function = pay
    with pytest.raises(StoreUnavailable):
        await agent().resume("s", [yes()])
    store.broken = False
    result = await agent("I do not know whether it was paid").resume("s")
    assert shop.ran == [("pay", 1)]
    assert texts(result) == ["interrupted, outcome unknown"]
    with pytest.raises(ContentError, match="waits for a decision"):
        await agent().resume("s", [yes()])


async def cut(agent, session_id, *args):
    """Begin a run and kill it while a tool runs."""
    running = asyncio.create_task(agent.run(*args, session_id=session_id))
    while not running.done():
        await asyncio.sleep(0)
        if agent.started.is_set():
            running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_run_killed_during_a_tool_leaves_a_session_that_goes_on(manager, call, idempotent):
    """An idempotent tool runs again; of any other the model is told."""
    ran = []
    started = asyncio.Event()

    @tool(idempotent=idempotent)
    async def slow():
        ran.append(1)
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return "finished"

    agent = Agent(ScriptedModel(call("slow", "x")), [slow], session_manager=manager)
    agent.started = started
    await cut(agent, "s", "go")
    result = await Agent(ScriptedModel("ok"), [slow], session_manager=manager).resume("s")
    assert texts(result) == ["finished" if idempotent else "interrupted, outcome unknown"]
    assert len(ran) == (2 if idempotent else 1)


@pytest.mark.parametrize("how", ["resume", "run"])
async def test_an_approved_call_cut_off_runs_again_only_if_it_is_idempotent(manager, call, how):
    """With the arguments that the person changed."""
    ran = []
    started = asyncio.Event()

    @tool(idempotent=True, requires_confirmation=True)
    async def mark(what: str):
        ran.append(what)
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return "marked"

    agent = Agent(ScriptedModel(call("mark", "p1", what="a")), [mark], session_manager=manager)
    agent.started = started
    await agent.run("go", session_id="s")
    running = asyncio.create_task(agent.resume("s", [yes(modified_arguments={"what": "b"})]))
    await started.wait()
    running.cancel()
    await asyncio.wait([running])
    later = Agent(ScriptedModel("ok"), [mark], session_manager=manager)
    result = await (later.resume("s") if how == "resume" else later.run("so?", session_id="s"))
    assert ran == ["b", "b"]
    assert texts(result) == ["marked"]


async def test_a_reused_call_id_is_answered_by_the_call_that_waits(agent_of, shop, call):
    """Providers reuse ids; the decision is on the one that is open."""
    agent = agent_of(call("pay", "p1", amount=1))
    await agent.run("one", session_id="s")
    await agent_of(call("pay", "p1", amount=2)).resume("s", [yes()])
    result = await agent_of("done").resume("s", [yes()])
    assert (shop.ran, result.output) == ([("pay", 1), ("pay", 2)], "done")


async def test_somebody_elses_state_has_no_say(agent_of, manager, shop, call):
    """What a second component writes as pending calls is a view, and changes nothing."""
    await agent_of(call("pay", "p1", amount=1)).run("pay", session_id="s")
    session = await manager.get("s")
    session.state["pending_tool_calls"] = [{"tool_call": "nonsense"}]
    await manager.save(session)
    result = await agent_of("done").resume("s", [yes()])
    assert (result.output, shop.ran) == ("done", [("pay", 1)])


async def test_a_pause_survives_a_checkpoint(shop, call):
    """A context that was rewritten in between still knows what waits."""
    manager = InMemorySessionManager()
    limits = {"max_tokens": 1_500, "trigger": 0.5}

    def agent(*answers):
        return Agent(
            ScriptedModel(*answers), shop.tools, session_manager=manager, context_limits=limits
        )

    for number in range(12):
        await agent("fine " * 40).run(f"{number} " + "word " * 60, session_id="s")
    await agent(call("pay", "p1", amount=1)).run("pay", session_id="s")
    result = await agent("done").resume("s", [yes()])
    assert any(event.type == "checkpoint" for event in result.context.events)
    assert shop.ran == [("pay", 1)]


async def test_a_session_read_by_a_manager_goes_on_just_the_same(agent_of, manager, shop, call):
    """Loading and saving a paused session leaves it paused."""
    await agent_of(call("pay", "p1", amount=1)).run("pay", session_id="s")
    session = await manager.get("s")
    session.state["seen"] = True
    await manager.save(session)
    result = await agent_of("done").resume("s", [yes()])
    assert result.context.state == {"seen": True}
    assert shop.ran == [("pay", 1)]
