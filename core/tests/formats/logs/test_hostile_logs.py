"""Logs in which anything may stand anywhere: they are read or refused, and nothing else happens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.codec import encode_event
from turnkeep.errors import ContentError
from turnkeep.formats.logs import read_log
from turnkeep.testing.histories import json_values

CALL = {"type": "function", "id": "call_Qz7hXw81", "function": {"name": "n", "arguments": "{}"}}
CHAT = [
    {
        "timestamp": 1_700_000_000,
        "request": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_Qz7hXw81", "content": "r"},
            ][:end],
        },
        "response": {"id": "x", "choices": [{"message": {"role": "assistant", "content": "b"}}]},
    }
    for end in (2, 4)
]
RESPONSES = [
    {
        "request": {"model": "m", "input": "a"},
        "response": {"object": "response", "id": "r1", "output": []},
    },
    {
        "request": {"model": "m", "input": [], "previous_response_id": "r1"},
        "response": "data: {}\n\n",
    },
]
CLAUDE = [
    {
        "type": kind,
        "uuid": f"u{place}",
        "parentUuid": f"u{place - 1}",
        "sessionId": "s",
        "timestamp": "2026-01-31T12:00:00Z",
        "isCompactSummary": place == 3,
        "message": {"role": kind, "id": "m", "content": [block], "usage": {"input_tokens": 1}},
    }
    for place, (kind, block) in enumerate(
        [
            ("user", {"type": "text", "text": "a"}),
            ("assistant", {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
            ("user", {"type": "tool_result", "tool_use_id": "t", "content": "r"}),
            ("user", {"type": "text", "text": "summary"}),
            ("assistant", {"type": "thinking", "thinking": "so", "signature": "x"}),
        ]
    )
]
CODEX = [
    {"timestamp": "2026-01-31T12:00:00Z", "type": kind, "payload": payload}
    for kind, payload in (
        ("session_meta", {"id": "s", "base_instructions": {"text": "i"}}),
        (
            "response_item",
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        ),
        ("response_item", {"type": "reasoning", "id": "rs", "summary": []}),
        (
            "response_item",
            {"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}"},
        ),
        ("event_msg", {"type": "token_count", "info": {"last_token_usage": {"input_tokens": 1}}}),
        ("response_item", {"type": "function_call_output", "call_id": "c", "output": "r"}),
        ("compacted", {"message": "m", "replacement_history": [{"role": "user", "content": "x"}]}),
    )
]


def places(value, path=()):
    """Every place in a value."""
    yield path
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, inner in below:
        yield from places(inner, (*path, step))


def put(value, path, what):
    """The value with something else in one place."""
    if not path:
        return what
    made = value.copy()
    made[path[0]] = put(value[path[0]], path[1:], what)
    return made


@pytest.mark.parametrize(
    "lines", [CHAT, RESPONSES, CLAUDE, CODEX], ids=["chat", "responses", "claude", "codex"]
)
@given(st.data())
def test_anything_in_any_place_is_read_or_refused(lines, data):
    """What comes out can be kept; what cannot be read is a ContentError."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in places(lines) if path]))
        lines = put(
            lines, path, data.draw(json_values | st.sampled_from([1e300, [], {}, -1, True]))
        )
    text = "\n".join(map(json.dumps, lines))
    try:
        log = read_log(text[: len(text) - data.draw(st.integers(0, 9))], "f", "s")
    except ContentError:
        return
    assert list(log.sentences())
    for session in log.sessions:
        assert [event.seq for event in session.events] == list(range(1, len(session.events) + 1))
        for event in session.events:
            encode_event(event)
