"""turnkeep JSONL keeps every key and value, and refuses with file, line and path."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.codec import decode_event, encode_event
from turnkeep.content import FilePart, ImagePart, Message, Ref, ToolCall, ToolResult, Usage
from turnkeep.errors import ContentError
from turnkeep.events import Checkpoint, Decision, Event, Placed, Retract
from turnkeep.formats.jsonl import (
    LINE_FIELDS,
    SESSION_FIELDS,
    SessionFile,
    read_sessions,
    write_session,
)
from turnkeep.testing import histories

SESSION = '{"type":"session","id":"s"}'
HELLO = '{"type":"message","role":"user","content":"hi"}'


def read(*lines: str) -> SessionFile:
    [session] = read_sessions(lines, "f.jsonl")
    return session


def rewrite(session: SessionFile) -> list[str]:
    return list(write_session(session))


def through_a_store(events: list[Event]) -> list[Event]:
    return [decode_event(encode_event(e), n, session_id="s") for n, e in enumerate(events, 1)]


def test_a_plain_transcript_is_read():
    """Each line becomes an event of its own, by the author that its item shows."""
    session = read(
        '{"type":"session","id":"a/b","source":"x","tools":[],"usage":[[1,2,3]]}',
        HELLO,
        '{"type":"tool_call","tool_call_id":"c","name":"run","arguments":{}}',
        '{"type":"tool_result","tool_call_id":"c","name":"run","status":"error","content":["x"]}',
    )
    assert session.session_id == "a/b"
    assert list(session.header) == ["source", "tools", "usage"]
    assert [event.author for event in session.events] == ["user", "assistant", "tool"]
    assert len({event.id for event in session.events}) == 3
    assert all(event.seq is None for event in session.events)


def test_transcripts_are_found_again_key_by_key(transcripts):
    """Every line of every recorded session comes back whole, also after a store had it."""
    for path in transcripts:
        original = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
        with path.open(encoding="utf-8", newline="\n") as lines:
            [session] = read_sessions(lines, path.name)
        for events in (session.events, through_a_store(session.events)):
            session.events = events
            written = rewrite(session)
            assert len(written) == len(original)
            for old, new in zip(map(json.loads, original), map(json.loads, written), strict=True):
                assert {name: new.get(name) for name in old} == old
                assert new.keys() - old.keys() <= {*LINE_FIELDS, *SESSION_FIELDS}


moments = st.datetimes(
    datetime(2000, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
NAMES = ["note", "event", "index", "item_extra", "event_extra", "trace_id"]
extras = st.dictionaries(st.sampled_from(NAMES), histories.json_values, max_size=2)
item_extras = st.dictionaries(
    st.sampled_from([*NAMES, "seq", "usage", "state"]), histories.json_values, max_size=2
)
abouts = st.fixed_dictionaries(
    {"timestamp": moments, "author": st.sampled_from(["user", "weather-agent", ""])},
    optional={
        "execution_id": histories.texts,
        "usage": st.just(Usage(input_tokens=3, cost=0.5)),
        "state": st.dictionaries(histories.texts, histories.json_values, max_size=2),
        "partial": st.booleans(),
    },
)


@st.composite
def events(draw):
    """Make an event of any kind, with unknown fields here and there."""
    about = {**draw(extras), **draw(abouts)}
    kind = draw(st.sampled_from([Event, Event, Event, Decision, Retract, Checkpoint]))
    if kind is Event:
        content = draw(st.lists(histories.items, max_size=3))
        content = [type(i).model_validate({**draw(item_extras), **dict(i)}) for i in content]
        return Event(content=content, **about)
    if kind is Decision:
        reason = draw(st.none() | histories.texts)
        call = {"call": Ref(1, 0), "tool_call_id": "c", "approved": draw(st.booleans())}
        return Decision(reason=reason, **call, **about)
    if kind is Retract:
        return Retract(**draw(st.sampled_from([{"after": 2}, {"items": [Ref(1, 0)]}])), **about)
    placed = [
        Placed(seq=1, index=0, item=item) for item in draw(st.lists(histories.items, max_size=2))
    ]
    return Checkpoint(contents=placed, previous=0, report={"why": "size"}, **about)


@given(
    st.lists(events(), max_size=4),
    st.booleans(),
    st.none() | moments,
    st.dictionaries(histories.texts, histories.json_values, max_size=2),
)
def test_export_import_export_is_exact(log, stored, moment, state):
    """Ids, seqs, times, all kinds of event and all unknown fields come back; a second export is equal."""
    log = through_a_store(log) if stored else log
    session = SessionFile("s", "jo", moment, moment, state, {"model": "m", "x": None}, log)
    lines = rewrite(session)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    again = read(*lines)
    assert again == session
    assert [event.seq for event in again.events] == [event.seq for event in log]
    assert [type(event) for event in again.events] == [type(event) for event in log]
    assert rewrite(again) == lines


def test_several_sessions_in_one_file():
    """Each session line begins a new one; they come one by one."""
    found = read_sessions([SESSION, HELLO, '{"type":"session","id":"t"}\n', "\n", HELLO], "f")
    assert next(found).session_id == "s"
    assert [len(session.events) for session in found] == [1]


def test_items_of_one_event_share_its_id():
    """What is said of an event stands on its first line only."""
    event = Event(
        content=[Message(role="user", content="a"), ToolCall(tool_call_id="c", name="n")],
        usage=Usage(input_tokens=5),
        execution_id="x",
    ).stored_as(7)
    _, first, second = map(json.loads, rewrite(SessionFile("s", events=[event])))
    assert first["event"] == second["event"] == event.id
    assert (first["seq"], first["index"], second["seq"], second["index"]) == (7, 0, 7, 1)
    assert first["usage"]["input_tokens"] == 5
    assert not {"usage", "timestamp", "author", "execution_id", "partial"} & second.keys()


def test_fields_that_nobody_set_are_left_out():
    """Defaults of our model do not appear, and a null that the file had stays."""
    picture = '{"type":"image","url":"https://a/b","alt":null}'
    line = f'{{"type":"message","role":"user","content":[{picture}]}}'
    session = read(SESSION, line)
    assert json.loads(rewrite(session)[1])["content"] == [json.loads(picture)]
    stored = through_a_store(
        [
            Event(content=[Message(role="user", content=[ImagePart(url="https://a/b")])]),
            Event(content=[ToolCall(tool_call_id="c", name="n")]),
        ]
    )
    _, message, call = map(json.loads, rewrite(SessionFile("s", events=stored)))
    assert message["content"] == [{"type": "image", "url": "https://a/b"}]
    assert "needs_approval" not in call


def test_result_pieces_of_all_kinds_survive():
    """Texts, JSON and media in a result stay what they are."""
    pieces = ["x", {"type": "odd", "n": [1.5, None]}, 3, FilePart(data="aGk=", name="a"), None, []]
    event = Event(content=[ToolResult(tool_call_id="c", name="n", content=pieces)])
    session = SessionFile("s", events=[event])
    assert read(*rewrite(session)).events[0].content == event.content


def test_line_ends_inside_texts_split_nothing():
    """U+2028 and carriage returns stay inside their strings, unescaped as they came."""
    session = SessionFile(
        "s", events=[Event(content=[Message(role="user", content="a\u2028b\r\n")])]
    )
    text = "".join(rewrite(session))
    assert "\u2028" in text
    assert read(*text.split("\n")).events == session.events


def test_times_keep_their_zone():
    """A time in another zone is not moved to UTC."""
    line = HELLO[:-1] + ',"timestamp":"2025-01-31T12:00:00+05:30"}'
    session = read(SESSION[:-1] + ',"created":"2025-01-31T12:00:00-08:00"}', line)
    first, item = map(json.loads, rewrite(session))
    assert first["created"] == "2025-01-31T12:00:00-08:00"
    assert item["timestamp"] == "2025-01-31T12:00:00+05:30"


def line(text: str, **fields: object) -> str:
    return json.dumps({**json.loads(text), **fields})


CALL = '{"type":"tool_call","tool_call_id":"c","name":"n","arguments":{}}'


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["{"], ":1: the line is not JSON"),
        (["[]"], ":1: a line is a JSON object"),
        ([HELLO], ":1: type: a file begins with the line of its session"),
        ([SESSION, '{"type":"note"}'], ":2: type: 'note' is no type of line; there are: session"),
        ([SESSION, "{}"], ":2: type: None"),
        ([SESSION, HELLO, SESSION.replace('"s"', '""')], ":3: id"),
        ([line(SESSION, format=2)], ":1: format: format 2 is not 1: upgrade"),
        ([line(SESSION, format="1")], ":1: format: a whole number"),
        ([line(SESSION, state=[])], ":1: state: an object"),
        ([line(SESSION, user_id=5)], ":1: user_id: a text"),
        ([line(SESSION, created="yesterday")], ":1: created: not a time"),
        ([line(SESSION, updated="2025-01-31T12:00:00")], ":1: updated: not a time with its zone"),
        ([SESSION, line(HELLO, role="robot")], ":2: role: "),
        ([SESSION, line(HELLO, content=5)], ":2: content: "),
        ([SESSION, line(HELLO, content=[{"type": "image"}])], ":2: content"),
        ([SESSION, line(HELLO, event=5)], ":2: event: a text"),
        ([SESSION, line(HELLO, seq="1")], ":2: seq: a whole number"),
        ([SESSION, line(HELLO, seq=True)], ":2: seq: a whole number"),
        ([SESSION, line(HELLO, seq=0)], ":2: seq: 0 is too small"),
        ([SESSION, line(HELLO, seq=2), line(HELLO, seq=2)], ":3: seq: seqs rise"),
        ([SESSION, line(HELLO, index=1)], ":2: index: the first item"),
        ([SESSION, line(HELLO, event="e"), line(CALL, event="e", index=2)], ":3: index: the next"),
        ([SESSION, line(HELLO, event="e"), line(CALL, event="e", seq=3)], ":3: seq: not the seq"),
        ([SESSION, line(HELLO, event="e"), line(CALL, event="e", author="x")], ":3: author: only"),
        (
            [SESSION, line(HELLO, event="e"), HELLO, line(CALL, event="e")],
            ":4: event: an event with",
        ),
        ([SESSION, line(HELLO, usage=[])], ":2: usage: an object"),
        ([SESSION, line(HELLO, usage={"input_tokens": "many"})], ":2: usage.input_tokens: "),
        ([SESSION, line(HELLO, partial="yes")], ":2: partial: true or false"),
        ([SESSION, line(HELLO, timestamp="1738324800")], ":2: timestamp: not a time"),
        ([SESSION, line(HELLO, timestamp="2025-01-31T12:00:00")], ":2: timestamp: "),
        ([SESSION, line(HELLO, event_extra={"content": []})], ":2: event_extra.content"),
        ([SESSION, line(HELLO, item_extra={"role": "system"})], ":2: item_extra.role"),
        ([SESSION, '{"type":"decision","tool_call_id":"c"}'], ":2: "),
        ([SESSION, '{"type":"retract","id":"x","after":1}'], ":2: id: "),
        ([SESSION, '{"type":"retract"}'], ":2: "),
        (
            [SESSION, HELLO.replace("hi", "\\ud800")],
            ":2: the line is not JSON: half of a surrogate",
        ),
        ([SESSION, HELLO.replace('"hi"', "NaN")], ":2: the line is not JSON: NaN"),
        ([SESSION, HELLO.replace('"hi"', '"x","n":1e999')], ":2: the line is not JSON"),
    ],
)
def test_refusals_name_file_line_and_path(lines, where):
    """Whatever cannot be kept is refused, and the message leads to it."""
    with pytest.raises(ContentError) as caught:
        list(read_sessions(lines, "f.jsonl"))
    assert str(caught.value).startswith(f"f.jsonl{where}")


def test_what_is_no_json_is_not_written():
    """A value in the state or header that is no JSON is refused when written."""
    with pytest.raises(ContentError, match="session 's': a value is not JSON"):
        rewrite(SessionFile("s", state={"x": float("nan")}))
    with pytest.raises(ContentError, match=r"header\.state: this name is taken"):
        rewrite(SessionFile("s", header={"state": 1}))
