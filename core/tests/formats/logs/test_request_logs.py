"""Request logs: bodies in any wrapping become the conversations they were of."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import Message, Ref, ToolCall, ToolResult
from turnkeep.context import Context
from turnkeep.errors import ContentError
from turnkeep.events import Checkpoint
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.logs import read_log
from turnkeep.formats.profile import render_context, side_of
from turnkeep.history import standing_base
from turnkeep.testing import histories


def read(*lines, **options):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return read_log(text, "log.jsonl", "log", **options)


def items(session):
    return [item for event in session.events for item in event.content]


def said(log):
    """The texts of each session, in order."""
    return [[item.content for item in items(session)] for session in log.sessions]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def chat(*messages, **fields):
    return {"model": "gpt-5", "messages": list(messages), **fields}


def completion(text, **fields):
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    return {
        "choices": [{"message": assistant(text), "finish_reason": "stop"}],
        "usage": usage,
        **fields,
    }


def step(number, text="result"):
    """A call and its result, as OpenAI Chat has them."""
    call_id = f"call_Qz7hXw{number:02}kdPs"
    function = {"name": "look", "arguments": json.dumps({"n": number})}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call_id, "content": f"{text} {number}"},
    ]


@given(st.data())
@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_the_requests_of_a_history_are_that_history(profile, data):
    """Whatever was said: its successive requests make one session with the items of the last."""
    history = data.draw(histories.valid(thinking=profile == "anthropic"))
    form = get_profile(profile)
    starts = [
        place
        for place, item in enumerate(history)
        if side_of(item) == "assistant"
        and (not place or side_of(history[place - 1]) != "assistant")
    ]
    bodies = []
    for end in [*starts, len(history)]:
        system, messages = render_context(form, history[:end], "Be brief.")
        tools = form.tools(histories.TOOLS)
        body = form.payload(messages=messages, system=system, tools=tools, model_id="m")
        bodies.append(json.loads(json.dumps(body)))
    log = read(*bodies, profile=profile)
    [session] = log.sessions
    whole = form.parse_request(bodies[-1])
    assert items(session) == whole.contents
    assert session.header["instructions"] == whole.instructions
    assert len(session.header["tools"]) == len(histories.TOOLS)


WRAPPINGS = [
    lambda request, answer: {"request": request, "response": answer},
    lambda request, answer: {"request": {"body": request}, "response": {"body": answer}},
    lambda request, answer: {
        "request_body": json.dumps(request),
        "response_body": json.dumps(answer),
    },
    lambda request, answer: {"input": request, "output": answer, "tags": {"a": "b"}},
    lambda request, answer: {**request, "response": answer, "call_type": "acompletion"},
    lambda request, answer: {"kwargs": request, "response": answer},
    lambda request, answer: {
        "request": {"method": "POST", "postData": {"text": json.dumps(request)}},
        "response": {"status": 200, "content": {"text": json.dumps(answer)}},
    },
    lambda request, answer: {
        "input": request["messages"],
        "output": answer["choices"][0]["message"],
    },
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_wrapped_bodies_are_found(wrap):
    """In the fields that proxies and SDKs put them into, also as texts."""
    first = chat(user("a"))
    second = chat(user("a"), assistant("b"), user("c"))
    log = read(wrap(first, completion("b")), wrap(second, completion("d")))
    assert said(log) == [["a", "b", "c", "d"]]


def test_answers_are_kept_with_their_usage_and_times():
    """The answer is an event of its own, from the time that the line names."""
    line = {
        "timestamp": "2026-01-31T12:00:00Z",
        "request": chat(user("a")),
        "response": completion("b"),
    }
    [session] = read(line).sessions
    asked, answered = session.events
    assert (asked.author, answered.author) == ("user", "assistant")
    assert (answered.usage.input_tokens, answered.usage.output_tokens) == (9, 2)
    assert answered.timestamp == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert session.header["model"] == "gpt-5"


def test_an_answer_of_several_items_is_one_event():
    """A text and calls beside it; the next request repeats them."""
    messages = [user("a"), {**step(1)[0], "content": "I look."}, step(1)[1]]
    answer = {"choices": [{"message": messages[1]}]}
    [session] = read({"request": chat(messages[0]), "response": answer}, chat(*messages)).sessions
    assert [len(event.content) for event in session.events] == [1, 2, 1]


def test_a_streamed_answer_is_put_together():
    """Server-sent events, as a proxy saw them; a separator of lines inside a text is none."""
    events = [
        {"type": "message_start", "message": {"role": "assistant", "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "b\u2028c"},
        },
        {"type": "message_stop"},
    ]
    raw = "".join(
        f"event: {each['type']}\ndata: {json.dumps(each, ensure_ascii=False)}\n\n"
        for each in events
    )
    body = {"model": "claude-x", "messages": [user("a")], "max_tokens": 9}
    log = read({"request": {"body": body}, "response": {"status_code": 200, "body_raw": raw}})
    assert said(log) == [["a", "b\u2028c"]]
    assert log.name == "a request of Anthropic Messages"


def test_an_answer_may_stand_on_the_next_line():
    """Right behind its request; one that stands alone is left out and told."""
    log = read(
        {"type": "request", "body": chat(user("a"))},
        {"type": "response", "response": completion("b")},
        {"type": "response", "response": completion("z")},
    )
    assert said(log) == [["a", "b"]]
    assert "answers whose request is not there (1)" in " ".join(log.sentences())


def test_conversations_that_alternate_are_told_apart():
    """Each request goes on with the conversation that it repeats."""
    one, two = [user("one")], [user("two")]
    lines = []
    for number in range(3):
        for messages in (one, two):
            answer = f"{messages[0]['content']} {number}"
            lines.append({"request": chat(*messages), "response": completion(answer)})
            messages += [assistant(answer), user(f"more {number}")]
    log = read(*lines)
    assert said(log) == [
        [name, f"{name} 0", "more 0", f"{name} 1", "more 1", f"{name} 2"] for name in ("one", "two")
    ]
    assert [session.session_id for session in log.sessions] == ["log", "log-2"]


def test_what_does_not_repeat_begins_a_session():
    """Another way to go on from the same beginning, too."""
    log = read(
        {"request": chat(user("a")), "response": completion("b")},
        {"request": chat(user("a"), assistant("b"), user("c")), "response": completion("d")},
        {"request": chat(user("a"), assistant("b"), user("x")), "response": completion("y")},
    )
    assert said(log) == [["a", "b", "c", "d"], ["a", "b", "x", "y"]]


def test_a_repeated_request_is_told_once():
    """The same line twice, or a retry of a request that failed."""
    line = {"request": chat(user("a")), "response": completion("b")}
    failed = {"request": chat(user("a")), "response": {"error": {"message": "overloaded"}}}
    log = read(failed, line, line)
    assert said(log) == [["a", "b"]]
    assert "requests that repeat another (1)" in " ".join(log.sentences())


@pytest.mark.parametrize("back", [" b c ", "b", "<think>so</think> b c"])
def test_an_answer_may_be_sent_back_otherwise(back):
    """Trimmed, shortened or padded by the client: the answer stays what the model said."""
    log = read(
        {"request": chat(user("a")), "response": completion("b c")},
        {"request": chat(user("a"), assistant(back), user("d")), "response": completion("e")},
        {"request": chat(user("a"), assistant(back), user("d"), assistant("e"), user("f"))},
    )
    assert said(log) == [["a", "b c", "d", "e", "f"]]


def test_a_compaction_loses_and_doubles_nothing():
    """A summary in place of what was before: the log keeps all, the context is the agent's."""
    before = [user("task"), *step(1), *step(2), *step(3)]
    after = [user("summary"), *step(3)]
    log = read(chat(*before), chat(*after), chat(*after, *step(4)))
    [session] = log.sessions
    whole = get_profile("openai-chat").parse_request(chat(*before, *step(4))).contents
    assert items_said(session) == whole
    base = standing_base(session.events)
    live = Context(session.events[base - 1 :], base=base)
    assert live.items == get_profile("openai-chat").parse_request(chat(*after, *step(4))).contents
    assert [entry.ref for entry in live.entries[1:3]] == [Ref(6, 0), Ref(7, 0)]


def test_results_that_were_cleared_in_place_stay_in_the_log():
    """The cleared form stands in a checkpoint, under the identity of the original."""
    before = [user("task"), *step(1), *step(2)]
    cleared = [*before[:2], {**before[2], "content": "[cleared]"}, *before[3:]]
    [session] = read(chat(*before), chat(*cleared, *step(3))).sessions
    assert "result 1" in session.events[2].content[0].content
    [checkpoint] = [event for event in session.events if isinstance(event, Checkpoint)]
    assert checkpoint.contents[2].item.content == ["[cleared]"]
    assert (checkpoint.contents[2].seq, checkpoint.contents[2].index) == (3, 0)


def test_an_agent_that_sends_the_last_messages_only_has_one_session():
    """The sliding window of tutorials: each message once, in order."""
    talk = [user("q0")]
    lines = []
    for number in range(6):
        lines.append({"request": chat(*talk[-4:]), "response": completion(f"a{number}")})
        talk += [assistant(f"a{number}"), user(f"q{number + 1}")]
    [session] = read(*lines).sessions
    assert [item.content for item in items_said(session)] == [each["content"] for each in talk[:-1]]


def items_said(session):
    """What a replay plays: all that was said, without checkpoints."""
    return Context(session.events).items


def test_system_texts_that_change_part_nothing():
    """Agents put the time there; the latest instructions are kept."""
    at = [{"role": "system", "content": f"It is {hour}:00."} for hour in (1, 2)]
    log = read(
        {"request": chat(at[0], user("a")), "response": completion("b")},
        {"request": chat(at[1], user("a"), assistant("b"), user("c"))},
    )
    [session] = log.sessions
    assert session.header["instructions"] == "It is 2:00."
    assert said(log) == [["a", "b", "c"]]


def test_a_history_that_openai_keeps_is_followed():
    """`previous_response_id` names an answer of the log; one that is not there is told."""

    def answer(number):
        content = [{"type": "output_text", "text": f"b{number}"}]
        message = {"type": "message", "role": "assistant", "content": content}
        return {
            "object": "response",
            "id": f"resp_{number}",
            "status": "completed",
            "output": [message],
        }

    log = read(
        {"request": {"model": "gpt-5", "input": "a"}, "response": answer(1)},
        {
            "request": {"model": "gpt-5", "input": "c", "previous_response_id": "resp_1"},
            "response": answer(2),
        },
        {"request": {"model": "gpt-5", "input": "x", "previous_response_id": "resp_9"}},
    )
    assert said(log) == [["a", "b1", "c", "b2"]]
    assert "log.jsonl:3: left out: previous_response_id" in " ".join(log.sentences())


def test_lists_documents_and_har_files_are_read():
    """One body over many lines, several in a row, a list of them, and what a proxy exports."""
    body, other = chat(user("a")), chat(user("b"))
    pretty = json.dumps(body, indent=2)
    har = {
        "log": {"entries": [{"request": {"postData": {"text": json.dumps(body)}}, "response": {}}]}
    }
    for text in (
        pretty,
        json.dumps([body]),
        json.dumps(body["messages"]),
        json.dumps(har, indent=1),
    ):
        assert said(read(text)) == [["a"]]
    assert said(read(pretty, json.dumps(other, indent=2))) == [["a"], ["b"]]


def test_what_cannot_be_read_is_told_with_its_line():
    """The rest is read: a line cut off, one of nonsense, one without a request, a broken body."""
    good = json.dumps(chat(user("a")))
    broken = json.dumps(chat({"role": "nobody", "content": "x"}))
    text = "\n".join([good, "nonsense", '{"level": "info"}', broken, "[" * 9000, good[:30]])
    log = read_log(text, "log.jsonl", "log")
    assert said(log) == [["a"]]
    assert list(log.sentences()) == [
        "read as a request of OpenAI Chat: 1 session, 1 item",
        "left out: lines without a request (1)",
        "log.jsonl:2: left out: not JSON: Expecting value (column 1)",
        "log.jsonl:5: left out: not JSON: it is nested too deep",
        "log.jsonl:6: left out: the line is cut off",
        "1 more could not be read",
    ]


def test_a_log_in_which_nothing_can_be_read_is_refused():
    """With the first place and fault, where there is one."""
    with pytest.raises(ContentError, match=r"log.jsonl:1: messages\[0\].role: messages of role"):
        read(chat({"role": "nobody", "content": "x"}))
    for text in ('{"level": "info"}', ""):
        with pytest.raises(ContentError, match=r"log.jsonl: neither turnkeep JSONL"):
            read(text)
    with pytest.raises(ContentError, match=r"docs/formats.md; log.jsonl:1: the line is cut off"):
        read_log('{"messages": [{"ro', "log.jsonl", "log")


def test_halves_of_surrogate_pairs_do_no_harm():
    """Logs cut texts anywhere; the half becomes U+FFFD."""
    assert said(
        read('{"model": "m", "messages": [{"role": "user", "content": "\\ud83d hi"}]}')
    ) == [["\ufffd hi"]]


def test_gemini_bodies_are_requests_too():
    """With calls and results."""
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "look", "response": {"output": "b"}}}],
            },
        ]
    }
    answer = {"candidates": [{"content": {"role": "model", "parts": [{"text": "c"}]}}]}
    [session] = read({"request": body, "response": answer}).sessions
    assert [type(item) for item in items(session)] == [Message, ToolCall, ToolResult, Message]


@given(st.lists(st.tuples(st.integers(2, 9), st.booleans()), min_size=1, max_size=6))
def test_however_an_agent_rewrites_all_is_kept_once(rewritings):
    """Windows and summaries of any length, as long as something of the last request is left."""
    whole = [user("task"), *step(0)]
    bodies = [chat(*whole)]
    for number, (kept, summarised) in enumerate(rewritings, 1):
        whole += step(number)
        tail = whole[-2 - kept :] if kept % 2 == 0 else whole
        bodies.append(chat(*([user(f"summary {number}")] if summarised else []), *tail))
    [session] = read(*bodies).sessions
    assert items_said(session) == get_profile("openai-chat").parse_request(chat(*whole)).contents


def test_a_summary_that_was_asked_for_in_the_conversation_itself():
    """The question and its answer stay in the log; the next request goes on from what it kept."""
    talk = [user("task"), *step(1), *step(2)]
    shortened = [user("in short"), *step(2)]
    [session] = read(
        {"request": chat(*talk), "response": {"choices": [{"message": step(3)[0]}]}},
        {"request": chat(*talk, *step(3), user("Sum up.")), "response": completion("in short")},
        {"request": chat(*shortened, *step(3)), "response": completion("done")},
        {"request": chat(*shortened, *step(3), assistant("done"), user("thanks"))},
    ).sessions
    contents = [item.content for item in items_said(session) if isinstance(item, Message)]
    assert contents == ["task", "Sum up.", "in short", "done", "thanks"]
    assert sum(isinstance(item, ToolCall) for item in items_said(session)) == 3


def test_equal_calls_of_other_conversations_are_no_sign():
    """Ids that are numbers occur everywhere: such a request begins a session of its own."""

    def numbered(messages):
        return json.loads(json.dumps(messages).replace("call_Qz7hXw01kdPs", "call_1"))

    log = read(chat(user("a"), *numbered(step(1))), chat(user("b"), *numbered(step(1)), user("c")))
    assert [len(items(session)) for session in log.sessions] == [3, 4]


def test_the_same_question_asked_often_is_as_many_sessions():
    """Each with its answer; the next request finds the one whose answer it repeats."""
    lines = [{"request": chat(user("a")), "response": completion(f"b{n}")} for n in range(5)]
    log = read(*lines, chat(user("a"), assistant("b2"), user("c")))
    assert said(log) == [["a", "b0"], ["a", "b1"], ["a", "b2", "c"], ["a", "b3"], ["a", "b4"]]


def test_calls_without_ids_are_one_conversation():
    """Gemini's have none: those made for answers and requests differ, and results follow them."""
    contents = [{"role": "user", "parts": [{"text": "a"}]}]
    lines = []
    for number in range(3):
        call = {"functionCall": {"name": "look", "args": {"n": number}}}
        said = {"role": "model", "parts": [call]}
        answer = {"responseId": f"R{number}", "candidates": [{"content": said}]}
        lines.append({"request": {"contents": [*contents]}, "response": answer})
        result = {"name": "look", "response": {"output": f"b{number}"}}
        contents += [said, {"role": "user", "parts": [{"functionResponse": result}]}]
    [session] = read(*lines, {"contents": contents}).sessions
    ids = [item.tool_call_id for item in items(session)[1:]]
    assert ids == [f"call-R{number}-1" for number in (0, 0, 1, 1, 2, 2)]
