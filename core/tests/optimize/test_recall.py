"""Recall: whatever was taken out is read back from the log, whole, by lines, or by a pattern."""

import pytest

from turnkeep.content import Message, Ref, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.events import Event, Retract
from turnkeep.optimize.recall import HITS, RECALL, answer, exchange, log_entries


def letters(texts):
    return [len(text) for text in texts]


def entries(*items):
    return [Entry(Ref(seq, 0), item) for seq, item in enumerate(items, 1)]


LOG = entries(
    Message(role="user", content="Where is parse_config?"),
    ToolCall(tool_call_id="c", name="read", arguments={"path": "src/a.py"}),
    ToolResult(tool_call_id="c", name="read", content=["one\ndef parse_config():\nthree"]),
    Message(role="assistant", content="In src/a.py."),
)


async def said(arguments, log=LOG, cap=10_000):
    return await answer(arguments, log, cap=cap, count=letters)


async def test_a_reference_gives_the_item():
    """With its sign or without; of a call its arguments and its result."""
    assert (await said({"ref": "#1.0"})).text == "Where is parse_config?"
    whole = await said({"ref": "2.0"})
    assert whole.text == 'read {"path":"src/a.py"}\none\ndef parse_config():\nthree'
    assert not whole.failed


async def test_lines_of_it():
    """One, or a range; beyond the end it is said how many there are."""
    assert (await said({"ref": "#3.0", "lines": "2-3"})).text == "def parse_config():\nthree"
    assert (await said({"ref": "#3.0", "lines": 1})).text == "one"
    assert "it has 3 lines" in (await said({"ref": "#3.0", "lines": "9-12"})).text


async def test_a_pattern_searches_the_item_or_everything():
    """Words or a regular expression; each line with its reference and number."""
    assert (await said({"pattern": "parse_config"})).text.split("\n") == [
        "#1.0:1: Where is parse_config?",
        "#3.0:2: def parse_config():",
    ]
    assert (await said({"pattern": r"^def \w+\("})).text == "#3.0:2: def parse_config():"
    assert (await said({"ref": "#4.0", "pattern": "a.py"})).text == "#4.0:1: In src/a.py."
    assert (await said({"pattern": "nowhere_to_be_found"})).text == "nothing matches"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "give a ref"),
        ({"ref": "twelve"}, "must be a reference"),
        ({"ref": "#99.0"}, "nothing (any more) at #99.0"),
        ({"ref": "#3.0", "lines": "some"}, "range such as 10-40"),
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": ""}, "1 to 500"),
        ({"pattern": ["a"]}, "1 to 500"),
        ({"ref": {"seq": 1}}, "must be a reference"),
    ],
)
async def test_what_cannot_be_read_is_told(arguments, why):
    """The model is told what to ask for."""
    told = await said(arguments)
    assert told.failed
    assert why in told.text


async def test_a_pattern_that_takes_for_ever_is_ended(monkeypatch):
    """The process that searches is killed, and nobody waits for it."""
    monkeypatch.setattr("turnkeep.optimize.recall.SECONDS", 0.5)
    log = entries(Message(role="user", content="a" * 40 + "!"))
    told = await said({"pattern": "(a+)+$"}, log)
    assert (told.failed, "took too long" in told.text) == (True, True)


async def test_an_answer_keeps_to_its_cap():
    """It says how long the whole is, and that there is more."""
    lines = "\n".join(f"line {number}" for number in range(1_000))
    log = entries(Message(role="user", content=lines))
    told = await said({"ref": "#1.0"}, log, cap=400)
    assert len(told.text) <= 400
    assert "of 1000 lines" in told.text
    found = await said({"pattern": "line"}, log, cap=400)
    assert len(found.text) <= 500
    assert "there is more" in found.text
    assert (await said({"pattern": "line"}, log)).text.count("\n") == HITS


async def test_its_own_answers_are_not_searched():
    """Else a search would find the searches before it."""
    log = entries(
        ToolCall(tool_call_id="r", name=RECALL, arguments={"pattern": "needle"}),
        ToolResult(tool_call_id="r", name=RECALL, content=["needle"]),
    )
    assert (await said({"pattern": "needle"}, log)).text == "nothing matches"


def test_a_reused_id_gives_the_call_its_own_result():
    """A result answers the latest call with its id."""
    log = entries(
        ToolCall(tool_call_id="c", name="read"),
        ToolCall(tool_call_id="c", name="read"),
        ToolResult(tool_call_id="c", name="read", content=["of the second"]),
    )
    assert [entry.ref.seq for entry in exchange(log, Ref(1, 0))] == [1]
    assert [entry.ref.seq for entry in exchange(log, Ref(2, 0))] == [2, 3]


def test_what_was_taken_back_is_not_there():
    """Neither a single item nor what a rewind left behind."""

    def event(text):
        return Event(author="user", content=[Message(role="user", content=text)])

    events = [event("a"), event("b"), Retract(items=[Ref(1, 0)]), event("c"), Retract(after=3)]
    for seq, each in enumerate(events, 1):
        each.stored_as(seq)
    assert [entry.item.content for entry in log_entries(events)] == ["b"]
