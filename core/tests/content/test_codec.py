"""Events to bytes and back."""

import gc
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.codec import (
    SCHEMA_VERSION,
    decode_event,
    decode_events,
    decode_object,
    encode_event,
    encode_object,
    parse_event,
)
from turnkeep.content import Message, Opaque, Reasoning, Ref, ToolCall, ToolResult, Usage
from turnkeep.errors import ContentError, CorruptSession
from turnkeep.events import Checkpoint, Decision, Event, Placed, Retract

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(text, below, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_values, max_size=3)
items = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=text),
    st.builds(ToolCall, tool_call_id=text, name=text, arguments=objects),
    st.builds(
        ToolResult,
        tool_call_id=text,
        name=text,
        status=st.sampled_from(["success", "error"]),
        content=st.lists(json_values, max_size=3),
    ),
    st.builds(Reasoning, provider=text, data=json_values),
    st.builds(Opaque, provider=text, kind=text, data=json_values),
)
events = st.one_of(
    st.builds(
        Event,
        author=text,
        content=st.lists(items, max_size=4),
        usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 10**9)),
        state=st.none() | objects,
        partial=st.booleans(),
    ),
    st.builds(
        Decision,
        call=st.builds(Ref, st.integers(1), st.integers(0)),
        tool_call_id=text,
        approved=st.booleans(),
    ),
    st.builds(Retract, after=st.integers(0)),
    st.builds(
        Checkpoint,
        contents=st.lists(
            st.builds(Placed, seq=st.integers(1), index=st.integers(0), item=items), max_size=3
        ),
    ),
)


def decode(record, seq=1):
    return decode_event(record, seq, session_id="s")


@given(events)
def test_every_event_survives_the_round_trip(event):
    """What is decoded equals what was encoded, type by type."""
    back = decode(encode_event(event))
    assert back == event.model_copy(update={"seq": 1})
    assert json.loads(encode_event(back)) == json.loads(encode_event(event))
    assert type(back) is type(event)


@given(objects)
def test_state_survives_the_round_trip(value):
    """State keeps every key, value and the order of its keys."""
    back = decode_object(encode_object(value, "state"), session_id="s", what="state")
    assert back == value
    assert list(back) == list(value)


def test_unknown_fields_are_kept():
    """Fields of a newer version, null ones too, survive an older one."""
    document = json.loads(encode_event(Event(content=[Message(role="user", content="x")])))
    document["mood"] = None
    document["content"][0]["cite"] = {"a": [1, None]}
    record = json.dumps(document).encode()
    assert json.loads(encode_event(decode(record))) == document


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_with_their_path(number):
    """NaN and infinities are refused when added, never stored as null."""
    call = ToolCall(tool_call_id="c", name="n", arguments={"grid": [1.0, {"at": number}]})
    with pytest.raises(ContentError) as caught:
        encode_event(Event(content=[call]))
    assert caught.value.path == "content[0].arguments.grid[1].at"


def test_the_text_nan_is_no_number():
    """A text that reads NaN or Infinity is kept."""
    message = Message(role="user", content="NaN, -Infinity")
    assert decode(encode_event(Event(content=[message]))).content == [message]


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (Message(role="user", content="a\ud800"), "content[0].content"),
        (
            ToolCall(tool_call_id="c", name="n", arguments={"k\udfff": 1}),
            "content[0].arguments.'k\\udfff'",
        ),
        (Message(role="user", content="x", mood="\ud800"), "content[0].mood"),
    ],
)
def test_lone_surrogates_are_refused_with_their_path(item, path):
    """Half of a surrogate pair cannot be stored by any backend, so it is refused."""
    with pytest.raises(ContentError) as caught:
        encode_event(Event(content=[item]))
    assert caught.value.path == path


def test_state_that_is_not_json_is_refused_with_its_path():
    """A set deep in the state is named."""
    with pytest.raises(ContentError, match=r"state of x: seen\[0\]\.tags is set") as caught:
        encode_object({"seen": [{"tags": {1}}]}, "state of x")
    assert caught.value.path == "seen[0].tags"


@pytest.mark.parametrize("value", [{1}, (1, 2), b"x", datetime.now(UTC), object()])
def test_arguments_that_are_not_json_are_refused(value):
    """Arguments are JSON from the start."""
    with pytest.raises(ValueError, match="JSON"):
        ToolCall(tool_call_id="c", name="n", arguments={"a": value})


def test_naive_times_are_refused():
    """A time without a zone says nothing."""
    with pytest.raises(ValueError, match="timezone"):
        Event(timestamp=datetime(2026, 1, 1))


def test_the_zone_of_a_time_is_kept():
    """A time comes back as the same instant in the same zone."""
    moment = datetime(
        2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45))
    )
    back = decode(encode_event(Event(timestamp=moment))).timestamp
    assert back == moment
    assert back.utcoffset() == moment.utcoffset()


def test_a_newer_schema_is_refused_clearly():
    """A record of a newer version asks for an upgrade and names itself."""
    with pytest.raises(CorruptSession, match=r"'s', record 7 .*newer than 1: upgrade"):
        decode(b'{"v":%d,"type":"event"}' % (SCHEMA_VERSION + 1), seq=7)


def test_an_older_schema_is_lifted_step_by_step():
    """Records of an older version pass through the upcasts."""

    def rename(document):
        document["author"] = document.pop("who")
        return document

    old = b'{"v":0,"type":"event","id":"e","timestamp":"2026-01-01T00:00:00Z","who":"me"}'
    event = decode_event(old, 3, session_id="s", upcasts={0: rename})
    assert (event.author, event.seq) == ("me", 3)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"v":1,"type":"event","id":3}',
        b'{"v":1,"type":"?"}',
        b'{"v":true}',
    ],
)
def test_what_is_no_record_is_told_with_session_and_seq(record):
    """A record that cannot be read is named, never skipped."""
    with pytest.raises(CorruptSession) as caught:
        decode(record, seq=9)
    assert (caught.value.session_id, caught.value.seq) == ("s", 9)


def test_a_refused_document_names_the_path():
    """Validation errors of foreign data speak in paths, without the value."""
    document = {
        "type": "event",
        "content": [{"type": "message", "role": "usr", "content": "secret"}],
    }
    with pytest.raises(ContentError, match=r"content\[0\]\.role") as caught:
        parse_event(document)
    assert "secret" not in str(caught.value)


def test_retract_names_one_target():
    """A retraction takes back items, or everything after an event."""
    with pytest.raises(ValueError, match="either"):
        Retract()
    with pytest.raises(ValueError, match="either"):
        Retract(items=[Ref(1, 0)], after=1)


def test_big_integers_survive():
    """Integers are not squeezed into floats."""
    call = ToolCall(tool_call_id="c", name="n", arguments={"n": 2**63, "m": -(10**30)})
    assert decode(encode_event(Event(content=[call]))).content == [call]


def test_a_refused_part_names_its_place():
    """Of a union's members, the one that was meant is named."""
    parts = [{"type": "text", "text": "a"}, {"type": "image", "url": 3}]
    document = {"type": "event", "content": [{"type": "message", "role": "user", "content": parts}]}
    with pytest.raises(ContentError, match=r"content\[0\]\.content\[1\]\.url: "):
        parse_event(document)


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [10, 90, 99, 150, 250])
def test_what_could_not_be_read_back_is_refused(levels):
    """Nesting has a documented end; whatever is accepted can be read."""
    result = ToolResult(tool_call_id="c", name="n", content=[nested(levels)])
    try:
        record = encode_event(Event(content=[result]))
    except ContentError as refusal:
        assert levels > 90
        assert "nested more than 100 levels" in str(refusal)
    else:
        assert decode(record).content == [result]


def test_endless_state_is_refused():
    """A state that holds itself, or is nested a thousand deep, has a sentence."""
    endless = {}
    endless["again"] = endless
    for state in (endless, {"deep": nested(100_000)}):
        with pytest.raises(ContentError, match="nested"):
            encode_object(state, "state")


def test_numbers_too_long_to_read_are_refused():
    """Python reads whole numbers of 4,300 digits at the most."""
    call = ToolCall(tool_call_id="c", name="n", arguments={"n": 10**3999})
    assert decode(encode_event(Event(content=[call]))).content == [call]
    with pytest.raises(ContentError, match="digits"):
        encode_event(
            Event(content=[ToolCall(tool_call_id="c", name="n", arguments={"n": 10**4001})])
        )
    with pytest.raises(ContentError, match="digits"):
        encode_object({"n": -(10**5000)}, "state")
    for number in (10**4001, -(10**4001)):
        with pytest.raises(ContentError, match=r"usage\.output_tokens .* digits"):
            encode_event(Event(usage=Usage(output_tokens=number)))


@pytest.mark.parametrize("collecting", [True, False])
def test_many_records_are_decoded_as_single_ones_are(collecting):
    """With their seqs, as they were; whether the collector runs is as it was, also after a fault."""
    events = [Event(content=[Message(role="user", content=f"{n}")]) for n in range(200)]
    data = [encode_event(event) for event in events]
    was = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        found = decode_events(data, 7, session_id="s")
        assert [(event.seq, event.id) for event in found] == [
            (seq, event.id) for seq, event in enumerate(events, 7)
        ]
        assert gc.isenabled() is collecting
        with pytest.raises(CorruptSession) as caught:
            decode_events([*data, b"no record"], 1, session_id="s")
        assert caught.value.seq == 201
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()
