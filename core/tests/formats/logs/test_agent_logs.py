"""Session files of Claude Code and Codex."""

import json
from datetime import UTC, datetime

import pytest

from turnkeep.content import Message, Reasoning, ToolCall, ToolResult
from turnkeep.context import Context
from turnkeep.errors import ContentError
from turnkeep.formats.logs import read_log
from turnkeep.history import standing_base


def read(*lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return read_log(text, "log.jsonl", "log")


def texts(session):
    return [getattr(item, "content", None) for item in Context(session.events).items]


def claude(kind, uuid, parent, content, **fields):
    """A line of Claude Code; an answer's id is what stands before the dot of its line's."""
    message = {"role": kind, "content": content}
    if kind == "assistant":
        usage = {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 5}
        answer = f"msg_{uuid.split('.')[0]}"
        message |= {"id": answer, "type": "message", "model": "claude-x", "usage": usage}
    about = {"sessionId": "s1", "version": "2.1.0", "timestamp": "2026-01-31T12:00:00.000Z"}
    line = {"parentUuid": parent, "uuid": uuid, "type": kind, "isSidechain": False}
    return {**line, "message": message, **about, **fields}


def use(number):
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "Read", "input": {"n": number}}


def result(number, **fields):
    return {
        "type": "tool_result",
        "tool_use_id": f"toolu_{number}",
        "content": f"r{number}",
        **fields,
    }


def text(said):
    return [{"type": "text", "text": said}]


def test_a_claude_code_session_is_read():
    """The blocks of one answer are one event again, parallel calls stand together; usage once."""
    thought = {"type": "thinking", "thinking": "so", "signature": "c2ln"}
    log = read(
        {"type": "file-history-snapshot", "messageId": "m", "snapshot": {}},
        claude("user", "u1", None, "Look."),
        claude("assistant", "a1.0", "u1", [thought]),
        claude("assistant", "a1.1", "a1.0", [use(1)]),
        claude("user", "r1", "a1.1", [result(1)], toolUseResult={"file": "x"}),
        claude("assistant", "a1.2", "a1.1", [use(2)]),
        claude("user", "r2", "a1.2", [result(2, is_error=True)]),
        claude("assistant", "a2", "r2", text("Done.")),
        {"type": "system", "subtype": "turn_duration", "uuid": "y", "parentUuid": "a2"},
    )
    [session] = log.sessions
    assert session.session_id == "s1"
    assert session.header == {"agent": "Claude Code", "model": "claude-x", "agent_version": "2.1.0"}
    first, answer, one, two, last = session.events
    assert [type(item) for item in answer.content] == [Reasoning, ToolCall, ToolCall]
    assert [one.content[0].name, one.content[0].status, two.content[0].status] == [
        "Read",
        "success",
        "error",
    ]
    assert (answer.usage.input_tokens, answer.usage.cached_tokens, answer.usage.output_tokens) == (
        10,
        7,
        5,
    )
    assert [event.author for event in session.events] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert session.created == session.updated == first.timestamp
    assert (first.id, first.timestamp) == ("u1", datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert list(log.sentences()) == [
        "read as a Claude Code session file: 1 session, 7 items",
        "left out: lines of type 'file-history-snapshot' (1), lines of type 'system' (1)",
    ]


def test_a_compaction_of_claude_code_is_a_checkpoint():
    """What was said is played as it was said; the next request is made of the summary."""
    boundary = {"type": "system", "subtype": "compact_boundary", "uuid": "b", "parentUuid": None}
    [session] = read(
        claude("user", "u1", None, "one"),
        claude("assistant", "a1", "u1", text("two")),
        {**boundary, "logicalParentUuid": "a1", "sessionId": "s1"},
        claude("user", "k", "b", "the summary", isCompactSummary=True),
        claude("user", "u2", "k", "three"),
    ).sessions
    assert texts(session) == ["one", "two", "three"]
    base = standing_base(session.events)
    live = Context(session.events[base - 1 :], base=base).items
    assert [item.content for item in live] == ["the summary", "three"]


def test_what_the_user_went_back_behind_is_left_out():
    """Of two prompts to one answer the later stands, also where notes of the program lie between."""
    hook = {"type": "progress", "uuid": "p", "parentUuid": "a1"}
    log = read(
        claude("user", "u1", None, "one"),
        claude("assistant", "a1", "u1", text("two")),
        hook,
        claude("user", "u2", "p", "wrong"),
        claude("assistant", "a2", "u2", text("way")),
        claude("user", "u3", "a1", "right"),
        claude("assistant", "a3", "u3", text("way then")),
    )
    assert texts(log.sessions[0]) == ["one", "two", "right", "way then"]
    assert "lines that the user went back behind (2)" in " ".join(log.sentences())


def test_sub_agents_notices_and_repetitions_are_left_out():
    """And told; what the user typed meanwhile, and what the program told the model, is kept."""
    queued = {"type": "queued_command", "prompt": "And this."}
    log = read(
        claude("user", "u1", None, "one"),
        claude("user", "u1", None, "one"),
        claude("user", "m1", "u1", "Caveat.", isMeta=True),
        claude("user", "x1", None, "sub", isSidechain=True),
        claude("assistant", "x2", "x1", text("agent"), isSidechain=True),
        {
            "type": "attachment",
            "uuid": "q",
            "parentUuid": "u1",
            "sessionId": "s1",
            "attachment": queued,
        },
        {**claude("assistant", "e", "u1", text("API Error")), "isApiErrorMessage": True},
    )
    assert texts(log.sessions[0]) == ["one", "Caveat.", "And this."]
    assert list(log.sentences())[1] == (
        "left out: lines of sub-agents (2), lines that repeat another (1), "
        "answers written by the program itself (1)"
    )


def test_the_file_of_a_sub_agent_is_read():
    """There all lines are of the side chain."""
    [session] = read(
        claude("user", "x1", None, "sub", isSidechain=True),
        claude("assistant", "x2", "x1", text("agent"), isSidechain=True),
    ).sessions
    assert texts(session) == ["sub", "agent"]


def test_a_resumed_session_is_one_and_another_is_another():
    """Lines belong to their parent's conversation, whatever session they name."""
    log = read(
        claude("user", "u1", None, "one", sessionId="old"),
        claude("assistant", "a1", "u1", text("two"), sessionId="old"),
        claude("user", "u2", "a1", "three", sessionId="new"),
        claude("user", "z1", None, "elsewhere", sessionId="other"),
    )
    assert {session.session_id: texts(session) for session in log.sessions} == {
        "new": ["one", "two", "three"],
        "other": ["elsewhere"],
    }


def test_parents_that_go_round_in_a_ring_end():
    """Nothing hangs on a file that was made to."""
    log = read(
        claude("user", "u1", "p2", "one"),
        {"type": "progress", "uuid": "p1", "parentUuid": "p2"},
        {"type": "progress", "uuid": "p2", "parentUuid": "p1"},
        claude("user", "u2", "u2", "two"),
    )
    assert len(log.sessions) == 1


def test_a_line_that_cannot_be_kept_is_told():
    """With its place; the others are kept."""
    log = read(
        claude("user", "u1", None, "one"),
        claude("assistant", "a1", "u1", [{"type": "tool_use", "name": "x"}]),
        json.dumps(claude("user", "u2", "a1", "two"))[:40],
    )
    assert texts(log.sessions[0]) == ["one"]
    [_, *faults] = log.sentences()
    assert faults == [
        "log.jsonl:3: left out: not JSON: Unterminated string starting at (column 36)",
        "log.jsonl:2: left out: message.content[0].id: a text is needed, not NoneType",
    ]


def codex(kind, **payload):
    return {"timestamp": "2026-01-31T12:00:00.000Z", "type": kind, "payload": payload}


def codex_item(kind, **fields):
    return codex("response_item", type=kind, **fields)


def codex_said(role, words):
    kind = "output_text" if role == "assistant" else "input_text"
    return codex_item("message", role=role, content=[{"type": kind, "text": words}])


def tokens(count):
    last = {"input_tokens": count, "cached_input_tokens": 4, "output_tokens": 2}
    return codex("event_msg", type="token_count", info={"last_token_usage": last})


SEALED = {"id": "rs_1", "summary": [], "encrypted_content": "c2ln"}
CALL = {"name": "shell", "arguments": '{"cmd": "ls"}', "call_id": "c1"}


def test_a_codex_session_is_read():
    """Items of OpenAI Responses, instructions, model, and usage on the answer that it is of."""
    log = read(
        codex("session_meta", id="s2", base_instructions={"text": "Be brief."}, cli_version="0.99"),
        codex("turn_context", model="gpt-5-codex"),
        codex_said("developer", "rules"),
        codex_said("user", "Look."),
        codex("event_msg", type="user_message", message="Look."),
        codex_item("reasoning", **SEALED),
        codex_item("function_call", **CALL),
        codex_item("function_call_output", call_id="c1", output="a b"),
        tokens(20),
        tokens(20),
        codex_item("ghost_snapshot", ghost_commit={}),
        codex_said("assistant", "Done."),
        tokens(30),
    )
    [session] = log.sessions
    assert session.session_id == "s2"
    assert session.header == {
        "agent": "Codex",
        "instructions": "Be brief.",
        "agent_version": "0.99",
        "model": "gpt-5-codex",
    }
    assert [type(event.content[0]) for event in session.events] == [
        Message,
        Message,
        Reasoning,
        ToolCall,
        ToolResult,
        Message,
    ]
    usages = [event.usage and event.usage.input_tokens for event in session.events]
    assert usages == [None, None, None, 20, None, 30]
    assert session.events[4].content[0].name == "shell"
    assert list(log.sentences())[1] == (
        "left out: lines of type 'event_msg' (1), lines of type 'ghost_snapshot' (1)"
    )


@pytest.mark.parametrize(
    "history", [None, [{"type": "message", "role": "user", "content": "short"}]]
)
def test_a_compaction_of_codex_is_a_checkpoint(history):
    """By the history that it put in place, or by its summary."""
    fields = {} if history is None else {"replacement_history": history}
    [session] = read(
        codex("session_meta", id="s2"),
        codex_said("user", "one"),
        codex_said("assistant", "two"),
        codex("compacted", message="short", **fields),
        codex_said("user", "three"),
    ).sessions
    assert texts(session) == ["one", "two", "three"]
    base = standing_base(session.events)
    live = Context(session.events[base - 1 :], base=base).items
    assert [item.content for item in live] == ["short", "three"]


def test_an_early_codex_session_is_read():
    """With bare items behind a line that names the session; results were objects at times."""
    [session] = read(
        {"id": "s3", "timestamp": "2025-08-01T00:00:00Z", "instructions": "Be brief.", "git": {}},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look."}]},
        {"type": "function_call", **CALL},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": {"content": "a b", "success": True},
        },
    ).sessions
    assert (session.session_id, session.header["instructions"]) == ("s3", "Be brief.")
    assert session.events[-1].content[0].content == ["a b"]


def test_lines_of_another_format_are_left_out_of_a_mixed_file():
    """The first line that tells a format decides; a hostile type does not fill the screen."""
    log = read(
        codex("session_meta", id="s2"),
        claude("user", "u1", None, "not this"),
        {"type": "\x1b[31m" + "x" * 500},
        codex_said("user", "this"),
        {"messages": [{"role": "user", "content": "nor this"}]},
    )
    assert texts(log.sessions[0]) == ["this"]
    sentence = list(log.sentences())[1]
    assert "lines of type 'user' (1)" in sentence
    assert len(sentence) < 200


def test_a_file_without_anything_said_is_refused():
    """It is known what it is, but there is no session in it."""
    with pytest.raises(ContentError, match="a Codex session file in which nothing was said"):
        read(codex("session_meta", id="s2"))
