"""Callbacks: they see, change and answer; what they leave is made valid, and is not stored."""

import pytest

from turnkeep import Agent, ContextOverflow, LlmResponse, Message, ToolResult, tool
from turnkeep.agent.events import ModelCalled
from turnkeep.content import result_text
from turnkeep.testing.models import ScriptedModel


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def said(text):
    return [Message(role="assistant", content=text)]


async def test_a_request_may_be_changed_and_the_log_is_not(manager):
    """The next run has everything again."""

    def forget(context, request):
        request.contents = request.contents[-1:]
        request.instructions = "Now in French."

    model = ScriptedModel("one", "deux")
    agent = Agent(model, session_manager=manager)
    await agent.run("first", session_id="s")
    changing = Agent(model, session_manager=manager, before_llm=forget)
    events = [event async for event in changing.stream("second", session_id="s")]
    assert [m["content"] for m in model.requests[1]["messages"]] == ["Now in French.", "second"]
    assert len(manager._sessions["s"].events) == 4
    [asked] = [event for event in events if isinstance(event, ModelCalled)]
    assert asked.prefix_broken == 1.0


async def test_orphans_that_a_callback_makes_never_leave(call):
    """A window that cuts a call from its result is repaired."""

    def window(context, request):
        request.contents = request.contents[:1] + request.contents[-1:]

    model = ScriptedModel(call("add", a=1, b=2), "3")
    result = await Agent(model, [add], before_llm=window).run("1+2?")
    assert result.output == "3"  # the scripted model refuses what its provider would


async def test_what_a_callback_leaves_must_fit():
    """It is shortened, or refused with the floor."""

    def grow(context, request):
        old = Message(role="user", content="old " * 3_000)
        request.contents = [old, *said("yes"), *request.contents]

    model = ScriptedModel("ok")
    limits = {"max_tokens": 500}
    await Agent(model, before_llm=grow, context_limits=limits).run("hi")
    assert len(str(model.requests[0])) < 4_000

    def burst(context, request):
        request.instructions = "word " * 5_000

    with pytest.raises(ContextOverflow):
        await Agent(ScriptedModel(), before_llm=burst, context_limits=limits).run("hi")


async def test_a_callback_may_answer_in_the_models_place():
    """A cache, or a guard; async or not."""

    async def cached(context, request):
        return LlmResponse(content=said("from the cache"))

    model = ScriptedModel()
    result = await Agent(model, before_llm=[lambda c, r: None, cached]).run("hi")
    assert (result.output, model.requests) == ("from the cache", [])


async def test_an_answer_may_be_changed_before_it_is_kept():
    """By `after_llm`."""

    def polite(context, response):
        return LlmResponse(content=said(f"{response.content[0].content}, please"))

    assert (await Agent(ScriptedModel("wait"), after_llm=polite).run("hi")).output == "wait, please"


async def test_a_tool_may_be_answered_without_running(call):
    """By `before_tool`; `after_tool` sees each result."""
    seen = []

    def refuse(context, call):
        return ToolResult(tool_call_id="?", name="?", status="error", content=["not today"])

    def shout(context, result):
        seen.append(result_text(result))
        return result.model_copy(update={"content": [result_text(result).upper()]})

    model = ScriptedModel(call("add", "c", a=1, b=1), "ok")
    await Agent(model, [add], before_tool=refuse, after_tool=shout).run("go")
    assert seen == ["not today"]
    assert model.requests[1]["messages"][-1] == {
        "role": "tool", "tool_call_id": "c", "content": "NOT TODAY",
    }  # fmt: skip


async def test_a_callback_that_gives_nonsense_is_told_so():
    """With what it may give."""
    with pytest.raises(TypeError, match="gives None or an LlmResponse"):
        await Agent(ScriptedModel(), before_llm=lambda c, r: "hi").run("hi")
