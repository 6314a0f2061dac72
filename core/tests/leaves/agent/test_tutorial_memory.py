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
    ImagePart,
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
from turnkeep.tutorial.memory import HEADER


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


def test_no_result_becomes_longer_and_errors_stay():
    """What a template would only lengthen, or hide that it failed; a picture gives way to it."""
    short, failed, picture = (step(n, file_path="a.py") for n in range(3))
    short[1] = short[1].model_copy(update={"content": ["ok"]})
    failed[1] = failed[1].model_copy(update={"status": "error"})
    shown = ImagePart(data="QUJD" * 100, media_type="image/png")
    picture[1] = picture[1].model_copy(update={"content": [shown]})
    request = LlmRequest(contents=[user("go"), *short, *failed, *picture])
    apply_compaction(ExecutionContext(), request)
    assert request.contents[1:5] == [*short, *failed]
    assert request.contents[6].content == ["File content from a.py. Re-read if needed."]


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


@pytest.mark.parametrize("talks", [True, False])
async def test_what_was_never_read_is_never_taken_for_summarized(talks):
    """Where ids come again and the oldest steps went by a rewrite, it begins anew."""

    def rounds(first, last):
        items = [user("task")]
        for number in range(first, last):
            call = ToolCall(
                tool_call_id="call_0", name="other", arguments={"path": f"f{number}.py"}
            )
            result = ToolResult(
                tool_call_id="call_0", name="other", content=[f"result-{number} " * 30]
            )
            items += [call, result, *([said(f"answer-{number} " * 20)] if talks else [])]
        return items

    context, client = ExecutionContext(), Client("one", "two")
    request = LlmRequest(contents=rounds(0, 8))
    await apply_summarization(context, request, client, keep_recent=4)
    request = LlmRequest(contents=rounds(2, 10))
    await apply_summarization(context, request, client, keep_recent=4)
    told = "".join([*client.asked, *(item.model_dump_json() for item in request.contents)])
    assert all(f"result-{number} " in told for number in range(10))
    assert request.contents[0].content.endswith("two")


async def test_a_summary_holds_for_what_was_made_shorter_since():
    """By the rules of compaction: the same steps are not summarized again for that."""
    contents = [user("task"), *(item for n in range(9) for item in step(n, file_path=f"f{n}"))]
    context, client = ExecutionContext(), Client("one")
    await apply_summarization(context, LlmRequest(contents=contents), client, keep_recent=3)
    request = LlmRequest(contents=contents)
    apply_compaction(context, request)
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents[0].content.endswith("one")


@pytest.mark.parametrize(
    "plain",
    [
        {"type": "message", "role": "user", "content": "hello"},
        {"role": "user", "content": "hello"},
        {"no": "item"},
    ],
)
async def test_a_plain_dict_among_the_contents_is_taken(plain):
    """As a callback may append it: it stays as it is."""
    system = {"type": "message", "role": "system", "content": "be kind"}
    contents = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(9)), plain]
    context, client = ExecutionContext(), Client("one")
    for apply in (apply_sliding_window, apply_compaction):
        request = LlmRequest()
        request.contents = list(contents)
        apply(context, request)
        assert request.contents == contents
    request.contents = [*contents]
    apply_sliding_window(context, request, window_size=2)
    assert request.contents == [contents[0], *contents[-2:]]
    request.contents = [system, *contents[:5], plain, *contents[5:]]
    await apply_summarization(context, request, client, keep_recent=3)
    assert request.contents[0] == system
    assert request.contents[2:] == contents[-3:]
    assert client.asked[0].count("hello") == ("hello" in str(plain))


# Both, in a run


async def test_a_summarizer_that_fails_is_left_alone_for_a_while():
    """Until the context has grown by a tenth; the note of it is in the state."""
    pytest.importorskip("turnkeep_tokens_tiktoken")
    client = Client(*[LlmResponse(error_message="quota")] * 2, "read it all")
    optimizer = ContextOptimizer(client, token_threshold=100, keep_recent=3)
    context = ExecutionContext()
    contents = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(40))]

    async def asked(more):
        request = LlmRequest(contents=contents + contents[1 : 1 + more])
        await optimizer(context, request)
        return len(client.asked), request.contents[0].content

    assert [(await asked(more))[0] for more in (0, 0, 1, 2, 5, 5, 6)] == [1, 1, 1, 1, 2, 2, 2]
    assert (await asked(20)) == (3, f"{HEADER}\nread it all")
    assert (await asked(20))[0] == 3
    assert list(context.state) == ["context_summary"]


async def test_a_smaller_context_is_asked_about_at_once():
    """A failure noted of another one says nothing of it."""
    pytest.importorskip("turnkeep_tokens_tiktoken")
    client = Client(LlmResponse(error_message="too long"), "read it all")
    optimizer = ContextOptimizer(client, token_threshold=100, keep_recent=3)
    context = ExecutionContext()
    contents = [user("task"), *(said(f"answer {n} " + "word " * 30) for n in range(40))]
    await optimizer(context, LlmRequest(contents=contents))
    await optimizer(context, LlmRequest(contents=contents[:20]))
    assert len(client.asked) == 2


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
