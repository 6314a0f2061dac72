"""Runs: thinking and acting until there is an answer, each thing kept as it happens."""

import asyncio
import pickle
from copy import copy, deepcopy

import pytest

from turnkeep import (
    Agent,
    ConfigError,
    ContentError,
    ExecutionContext,
    ImagePart,
    Message,
    ModelError,
    ModelUnavailable,
    SessionNotFound,
    ToolError,
    TurnkeepError,
    tool,
)
from turnkeep.content import ToolResult, result_text
from turnkeep.model import ModelAnswer
from turnkeep.testing.models import ScriptedModel, used


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def results(context):
    return [i for e in context.events for i in e.content if isinstance(i, ToolResult)]


async def test_a_session_is_remembered_from_run_to_run(manager):
    """The second request holds what the first said; another session's does not."""
    model = ScriptedModel("Hello Alice", "Alice", "I don't know")
    agent = Agent(model, session_manager=manager, instructions="Be brief.")
    await agent.run("I'm Alice", session_id="a")
    second = await agent.run("Who am I?", session_id="a")
    await agent.run("Who am I?", session_id="b")
    assert second.output == "Alice"
    assert [each["content"] for each in model.requests[1]["messages"]] == [
        "Be brief.", "I'm Alice", "Hello Alice", "Who am I?",
    ]  # fmt: skip
    assert len(model.requests[2]["messages"]) == 2
    assert len(second.context.events) == 4


async def test_tools_are_run_and_their_results_sent_back(manager, call):
    """Think, act, think."""
    model = ScriptedModel(call("add", a=1, b=2), "It is 3")
    result = await Agent(model, [add], session_manager=manager).run("1+2?", session_id="s")
    assert result.output == "It is 3"
    assert model.requests[1]["messages"][-1]["content"] == "3"
    assert result.context.current_step == 2


async def test_calls_of_one_answer_run_at_once_up_to_a_limit(call):
    """Two by two, if the agent says so."""
    running, most = 0, []

    @tool
    async def work(n: int) -> int:
        nonlocal running
        running += 1
        most.append(running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        return n

    model = ScriptedModel([call("work", n=n) for n in range(5)], "done")
    result = await Agent(model, [work], parallel_tools=2).run("go")
    assert max(most) == 2
    assert sorted(result_text(each) for each in results(result.context)) == list("01234")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ToolError("no such city"), "no such city"),
        (RuntimeError("boom"), "RuntimeError: boom"),
        (RuntimeError("\ud800"), "its result cannot be kept"),
    ],
)
async def test_what_a_tool_raises_is_told_to_the_model(call, error, said):
    """As an error result; the run goes on."""

    @tool
    def fail():
        raise error

    model = ScriptedModel(call("fail"), "sorry")
    result = await Agent(model, [fail]).run("go")
    [found] = results(result.context)
    assert (found.status, result.output) == ("error", "sorry")
    assert result_text(found).startswith(said)


async def test_what_a_tool_returns_must_be_json_or_is_an_error(call):
    """A lone surrogate cannot be kept; the model is told."""

    @tool
    def odd():
        return "\ud800"

    model = ScriptedModel(call("odd"), "sorry")
    result = await Agent(model, [odd]).run("go")
    [found] = results(result.context)
    assert found.status == "error"
    assert "cannot be kept" in result_text(found)


async def test_a_tool_may_give_a_picture(call):
    """Parts are kept as they are."""

    @tool
    def photo():
        return [ImagePart.from_bytes(b"x", "image/png")]

    result = await Agent(ScriptedModel(call("photo"), "nice"), [photo]).run("go")
    [found] = results(result.context)
    assert isinstance(found.content[0], ImagePart)


async def test_a_tool_that_takes_too_long_is_given_up(call):
    """Its outcome is not known, and the model is told so."""

    @tool(timeout=0.01)
    async def hang():
        await asyncio.Event().wait()

    result = await Agent(ScriptedModel(call("hang"), "ok"), [hang]).run("go")
    [found] = results(result.context)
    assert "took longer than 0.01 s" in result_text(found)
    assert result.output == "ok"


async def test_a_tool_that_is_not_there_is_told_to_the_model(call):
    """With those that are."""
    model = ScriptedModel(call("nope"), "ok")
    result = await Agent(model, [add]).run("go")
    assert "there is no tool 'nope'; there are: add" in result_text(results(result.context)[0])


async def test_wrong_arguments_are_told_to_the_model(call):
    """The tool is not run."""
    result = await Agent(ScriptedModel(call("add", a="x", b=1), "ok"), [add]).run("go")
    [found] = results(result.context)
    assert found.status == "error"
    assert "a: Input should be a valid integer" in result_text(found)


async def test_a_run_ends_after_max_steps(manager, call):
    """Incomplete, with everything kept, and goes on when asked to."""
    model = ScriptedModel(*(call("add", a=n, b=n) for n in range(3)), "done")
    agent = Agent(model, [add], session_manager=manager, max_steps=2)
    first = await agent.run("go", session_id="s")
    assert (first.status, first.output, len(results(first.context))) == ("incomplete", None, 2)
    assert (await agent.resume("s")).output == "done"


async def test_a_failing_model_leaves_what_was_said_and_resume_goes_on(manager):
    """The input is not added twice."""
    model = ScriptedModel(ModelUnavailable("overloaded"), "here I am")
    agent = Agent(model, session_manager=manager)
    with pytest.raises(ModelUnavailable):
        await agent.run("hi", session_id="s")
    result = await agent.resume("s")
    assert result.output == "here I am"
    assert [e.author for e in result.context.events] == ["user", "assistant"]


async def test_a_cut_answer_is_kept_and_left_out_of_requests(manager):
    """What the model had said until the connection broke."""
    partial = ModelAnswer(items=[Message(role="assistant", content="Once upon")], partial=True)
    model = ScriptedModel(ModelUnavailable("cut off", partial=partial), "a time")
    agent = Agent(model, session_manager=manager)
    with pytest.raises(ModelUnavailable):
        await agent.run("tell", session_id="s")
    result = await agent.resume("s")
    assert [event.partial for event in result.context.events] == [False, True, False]
    assert len(model.requests[1]["messages"]) == 1


async def test_a_session_that_is_answered_gives_its_answer_again(manager):
    """A retry after a lost answer costs no model call."""
    agent = Agent(ScriptedModel("42"), session_manager=manager)
    await agent.run("?", session_id="s")
    assert (await agent.resume("s")).output == "42"
    assert (await agent.run("  ", session_id="s")).output == "42"


async def test_there_must_be_something_to_go_on_with(manager):
    """A session that is not there is not begun by asking for it."""
    with pytest.raises(ContentError, match="holds nothing to go on with"):
        await Agent(ScriptedModel(), session_manager=manager).resume("nowhere")
    assert manager._sessions == {}


async def test_what_a_tool_changes_in_the_state_is_kept(manager, call):
    """And there in the next run."""

    @tool
    def count(context: ExecutionContext) -> int:
        context.state["n"] = context.state.get("n", 0) + 1
        return context.state["n"]

    model = ScriptedModel(call("count"), "1", call("count"), "2")
    agent = Agent(model, [count], session_manager=manager)
    await agent.run("go", session_id="s")
    result = await agent.run("again", session_id="s")
    assert result.context.state == {"n": 2}
    assert manager._sessions["s"].state == {"n": 2}


async def test_events_that_a_tool_adds_are_kept(manager, call):
    """With their author, behind what is there."""
    from turnkeep import Event

    @tool
    def note(context: ExecutionContext) -> str:
        said = Message(role="user", content="by the way")
        context.add_event(Event(author="watcher", content=[said]))
        return "ok"

    model = ScriptedModel(call("note"), "done")
    await Agent(model, [note], session_manager=manager).run("go", session_id="s")
    assert "watcher" in [event.author for event in manager._sessions["s"].events]
    assert model.requests[1]["messages"][-1]["content"] == "by the way"


async def test_without_a_session_a_context_can_be_continued():
    """It remembers, as long as it lives."""
    agent = Agent(ScriptedModel("Hello", "You said hi"))
    first = await agent.run("hi")
    second = await agent.run("what did I say?", context=first.context)
    assert (second.output, len(second.context.events)) == ("You said hi", 4)


async def test_a_context_brings_its_events_and_state(manager):
    """One that was made by hand, too."""
    from turnkeep import Event

    events = [
        Event(author="user", content=[Message(role="user", content="I'm Bo")]),
        Event(author="assistant", content=[Message(role="assistant", content="Hi Bo")]),
    ]
    model = ScriptedModel("Bo")
    context = ExecutionContext(events=events, state={"k": 1})
    result = await Agent(model).run("who?", context=context)
    assert len(model.requests[0]["messages"]) == 3
    assert result.context.state == {"k": 1}


async def test_usage_and_cost_are_summed_up(call):
    """Over the model calls of the run; the cost only if all are known."""
    one = ModelAnswer(items=[call("add", a=1, b=1)], usage=used(10, 2, 4), cost=0.5)
    two = ModelAnswer(items=[Message(role="assistant", content="2")], usage=used(20, 3), cost=0.25)
    result = await Agent(ScriptedModel(one, two), [add]).run("go")
    assert result.usage == used(30, 5, 4)
    assert result.cost == 0.75
    result = await Agent(ScriptedModel("x")).run("go")
    assert result.cost is None


async def test_the_owner_of_a_session_is_asked_for(manager):
    """Somebody else's is not found."""
    agent = Agent(ScriptedModel("hi", "no"), session_manager=manager)
    await agent.run("hi", session_id="s", user_id="ann")
    with pytest.raises(SessionNotFound):
        await agent.run("hi", session_id="s", user_id="bob")


async def test_inputs_may_be_parts(manager):
    """Pictures and texts, or a whole message."""
    model = ScriptedModel("a cat", "a dog")
    agent = Agent(model)
    await agent.run([ImagePart(url="https://example.org/a.png")])
    await agent.run(Message(role="user", content="x"))
    assert model.requests[0]["messages"][0]["content"][0]["type"] == "image_url"
    with pytest.raises(ContentError, match="empty list"):
        await agent.run([])


def test_a_script_runs_without_a_loop(manager):
    """`run_sync`, again and again, each on a loop of its own."""
    agent = Agent(ScriptedModel("one", "two"), session_manager=manager)
    assert agent.run_sync("1", session_id="s").output == "one"
    assert agent.run_sync("2", session_id="s").output == "two"
    assert len(manager._sessions["s"].events) == 4


def test_what_cannot_be_an_agent_is_refused():
    """With a sentence each."""
    with pytest.raises(ConfigError, match="needs a model"):
        Agent()
    with pytest.raises(ConfigError, match="max_steps"):
        Agent(ScriptedModel(), max_steps=0)
    with pytest.raises(Exception, match="two tools are called 'add'"):
        Agent(ScriptedModel(), [add, add])


async def test_a_model_that_is_not_there_says_how_to_install_it():
    """By the line to type."""
    from turnkeep.plugins import Plugins

    if "litellm" in {offer.spec.name for offer in Plugins(warn=False).models}:
        pytest.skip("litellm's plugin is installed here")
    with pytest.raises(ConfigError, match="pip install turnkeep-model-litellm"):
        await Agent("openai/gpt-4o-mini").run("hi")


async def test_a_model_of_ones_own_needs_nothing_but_generate():
    """`generate(LlmRequest) -> LlmResponse`, async or not."""
    from turnkeep import LlmResponse

    class Mine:
        model = "mine"

        def __init__(self, *answers):
            self.answers = list(answers)

        async def generate(self, request):
            assert request.contents[-1].content == "hi"
            return self.answers.pop(0)

    said = [Message(role="assistant", content="hello")]
    answer = LlmResponse(content=said, usage_metadata={"prompt_tokens": 3, "completion_tokens": 1})
    result = await Agent(Mine(answer)).run("hi")
    assert (result.output, result.usage) == ("hello", used(3, 1))
    with pytest.raises(ModelError, match="quota"):
        await Agent(Mine(LlmResponse(error_message="quota"))).run("hi")


async def test_the_models_window_is_the_limit():
    """Without any configuration a context never outgrows the model."""
    from turnkeep import ModelLimits

    limits = ModelLimits(context_window=2_000, max_output=200)
    model = ScriptedModel(*("ok " * 100 for _ in range(40)), limits=limits)
    agent = Agent(model)
    context = None
    for number in range(40):
        result = await agent.run(f"{number} " + "word " * 100, context=context)
        context = result.context
    sizes = [len(str(body)) for body in model.requests]
    assert max(sizes) < 2_000 * 6
    assert any(event.type == "checkpoint" for event in context.events)
    assert len(await context.all_events()) > len(context.events)


@pytest.mark.parametrize("session_id", [None, "s"])
async def test_a_result_can_be_pickled_and_gone_on_with(manager, session_id):
    """By another process, with the session, or with all events where there is none."""
    model = ScriptedModel("Hello Alice", "Alice", "Alice still")
    agent = Agent(model, session_manager=manager)
    first = await agent.run("I'm Alice", session_id=session_id)
    first.context.state["mood"] = "good"
    for copied in (pickle.loads(pickle.dumps(first)), deepcopy(first)):
        assert copied.output == first.output
        assert copied.context == first.context
        if session_id is None:
            assert await copied.context.all_events() == await first.context.all_events()
        else:
            with pytest.raises(TurnkeepError, match="has the live events only"):
                await copied.context.all_events()
    assert len(await copy(first.context).all_events()) == len(first.context.events)
    second = await agent.run("Who am I?", context=copied.context)
    assert second.output == "Alice"
    assert second.context.state == {"mood": "good"}
    assert [each["content"] for each in model.requests[1]["messages"]] == [
        "I'm Alice", "Hello Alice", "Who am I?",
    ]  # fmt: skip
    assert await second.context.all_events() == second.context.events
