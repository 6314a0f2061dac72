"""The tutorial's ways to make a request smaller: in place, valid, nothing asked twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeep import (
    TOOLCALL_COMPACTION_RULES,
    TOOLRESULT_COMPACTION_RULES,
    Agent,
    ContextOptimizer,
    ExecutionContext,
    LlmRequest,
    LlmResponse,
    Message,
    ToolCall,
    ToolResult,
    apply_compaction,
    apply_sliding_window,
    apply_summarization,
    tool,
)
from turnkeep.testing.models import ScriptedModel


def user(text):
    return Message(role="user", content=text)


def said(text):
    return Message(role="assistant", content=text)


def step(number, name="read_file", size=1, **arguments):
    """Parallel calls with their results, out of order."""
    calls = [
        ToolCall(tool_call_id=f"c{number}.{n}", name=name, arguments=arguments) for n in range(size)
    ]
    results = [
        ToolResult(tool_call_id=call.tool_call_id, name=name, content=["text " * 50])
        for call in reversed(calls)
    ]
    return [*calls, *results]


def orphans(contents):
    calls = {item.tool_call_id for item in contents if isinstance(item, ToolCall)}
    results = {item.tool_call_id for item in contents if isinstance(item, ToolResult)}
    return calls ^ results


class Client:
    """Summarizes by its script; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def generate(self, request):
        self.asked.append(request.contents[0].content)
        answer = self.answers.pop(0)
        if isinstance(answer, LlmResponse):
            return answer
        return LlmResponse(content=[said(answer)])


# The window


def test_the_first_message_and_the_newest_items_stay():
    """And what stands before that message."""
    system = Message(role="system", content="s")
    contents = [system, user("task"), *(said(str(n)) for n in range(30))]
    request = LlmRequest(contents=contents)
    apply_sliding_window(ExecutionContext(), request, window_size=3)
    assert request.contents == [*contents[:2], *contents[-3:]]


def test_without_a_users_message_nothing_happens():
    """As in the tutorial."""
    contents = [said(str(n)) for n in range(30)]
    request = LlmRequest(contents=list(contents))
    apply_sliding_window(ExecutionContext(), request, window_size=3)
    assert request.contents == contents


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 12))
def test_a_window_never_parts_calls_from_results(sizes, window):
    """Whatever it holds, the newest step is whole and no more than that goes over its size."""
    contents = [user("task")]
    for number, size in enumerate(sizes):
        contents += step(number, size=size) if size else [user(str(number))]
    request = LlmRequest(contents=list(contents))
    apply_sliding_window(ExecutionContext(), request, window_size=window)
    assert not orphans(request.contents)
    kept = request.contents[1:]
    assert contents[len(contents) - len(kept) :] == kept
    newest = 2 * sizes[-1] or 1 if sizes else 0
    assert len(kept) <= max(window, newest)


# Compaction


def test_results_get_their_template():
    """Filled from the call; what is missing is "unknown"; calls stay."""
    read, search = step(1, file_path="a.py"), step(2, "search_web", q="x")
    request = LlmRequest(contents=[user("go"), *read, *search, *step(3, "other")])
    apply_compaction(ExecutionContext(), request)
    results = [item.content for item in request.contents if isinstance(item, ToolResult)]
    assert results[0] == ["File content from a.py. Re-read if needed."]
    assert results[1] == ["Search results processed. Query: unknown. Re-search if needed."]
    assert results[2] == ["text " * 50]
    assert request.contents[1] == read[0]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{no_such} field", "unknown field"),
        ("{0} {file_path.__class__} {", "{0} {file_path.__class__} {"),
        ("of {file_path}", "of a.py"),
    ],
)
def test_no_template_raises(monkeypatch, template, text):
    """Nor reaches into objects."""
    monkeypatch.setitem(TOOLRESULT_COMPACTION_RULES, "read_file", template)
    request = LlmRequest(contents=[user("go"), *step(1, file_path="a.py")])
    apply_compaction(ExecutionContext(), request)
    assert request.contents[-1].content == [text]


def test_arguments_are_shortened_once_they_are_answered(monkeypatch):
    """By a rule for each argument; an open call is left as it is, and nothing grows."""
    monkeypatch.setitem(TOOLCALL_COMPACTION_RULES, "write_file", {"content": "(in {file_path})"})
    long = {"file_path": "a.py", "content": "x" * 500}
    done = step(1, "write_file", **long)
    short = step(2, "write_file", file_path="b.py", content="y")
    opened = step(3, "write_file", **long)[:1]
    request = LlmRequest(contents=[user("go"), *done, *short, *opened])
    apply_compaction(ExecutionContext(), request)
    written = [i.arguments["content"] for i in request.contents if isinstance(i, ToolCall)]
    assert written == ["(in a.py)", "y", "x" * 500]
    assert done[0].arguments == long


# Summarization


async def test_old_steps_give_way_to_a_summary():
    """The newest stay as they are; the summary is kept in the state."""
    contents = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(9))]
    context, request = ExecutionContext(), LlmRequest(contents=list(contents))
    client = Client("we agreed on much")
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents[0].content.endswith("\nwe agreed on much")
    assert request.contents[1:] == contents[-3:]
    assert context.state["context_summary"]["items"] == 7


async def test_nothing_is_summarized_twice():
    """Each item goes to the model once, the last summary with it, and only now and then."""
    context, client = ExecutionContext(), Client(*(f"summary {n}" for n in range(9)))
    contents = [user("task")]
    for number in range(20):
        contents.append(said(f"answer-{number:02d} " + "word " * 30))
        request = LlmRequest(contents=list(contents))
        await apply_summarization(context, request, client, keep_recent=4)
        assert not orphans(request.contents)
        assert len(request.contents) <= 1 + 2 * 4 + 1
    assert len(client.asked) == 5
    for number in range(16):
        assert sum(f"answer-{number:02d}" in asked for asked in client.asked) <= 1
    assert "summary 0" in client.asked[1]
    assert "summary 0" not in client.asked[2]


@pytest.mark.parametrize(
    "bad",
    [
        LlmResponse(error_message="quota"),
        "",
        " \n ",
        "x" * 100_000,
        LlmResponse(content=[ToolCall(tool_call_id="c", name="rm", arguments={})]),
    ],
)
async def test_a_bad_summary_leaves_the_request_as_it_was(bad):
    """No error, and it is asked again the next time."""
    contents = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(9))]
    context, client = ExecutionContext(), Client(bad, "better")
    request = LlmRequest(contents=list(contents))
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents == contents
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents[0].content.endswith("better")


async def test_a_context_that_was_rewritten_begins_anew():
    """What the state says of other items is not believed."""
    context, client = ExecutionContext(), Client("one", "two")
    old = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(9))]
    await apply_summarization(context, LlmRequest(contents=old), client, keep_recent=3)
    new = [user("other"), *(said(f"reply {n} " + "word " * 30) for n in range(9))]
    request = LlmRequest(contents=new)
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents[0].content.endswith("two")


# Both, in a run


@tool
def read_file(file_path: str) -> str:
    """Read."""
    return f"{file_path}: " + "content " * 200


async def test_an_optimizer_keeps_a_long_run_small(manager):
    """Valid at each call, the log whole, the summary stored with the session."""
    pytest.importorskip("turnkeep_tokens_tiktoken")
    calls = [
        ToolCall(tool_call_id=f"c{n}", name="read_file", arguments={"file_path": f"f{n}.py"})
        for n in range(30)
    ]
    model = ScriptedModel(*calls, "done")
    client = Client(*(f"read the files up to {n}" for n in range(20)))
    optimizer = ContextOptimizer(client, token_threshold=900, keep_recent=3)
    agent = Agent(model, [read_file], max_steps=40, session_manager=manager, before_llm=optimizer)
    result = await agent.run("Read all files.", session_id="s")
    assert result.output == "done"
    assert len(manager._sessions["s"].events) >= 62
    assert max(len(str(body)) for body in model.requests) < 9_000
    assert client.asked
    assert "context_summary" in manager._sessions["s"].state
