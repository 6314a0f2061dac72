"""Facts: what of a text counts as a name or a number, and that reading it takes linear time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import Message, ToolCall
from turnkeep.optimize.facts import FactReader, facts_in


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("see src/a.py. Then (./run.sh)", {"src/a.py", "./run.sh"}),
        ("/repo/x/y.ts:1234:7", {"/repo/x/y.ts", "1234"}),
        ("https://example.com/a/b?x=1", {"//example.com/a/b"}),
        ("@types/node ~/x ../y", {"@types/node", "~/x", "../y"}),
        ("</div> / // a/ /tmp", set()),
        (r"C:\src\a.go and C:\\src\\a.go", {r"C:\src\a.go"}),
        ("read_file(getUserById, os.path.join)", {"read_file", "getUserById", "os.path.join"}),
        ("get_x IMPORTANT Sentence.", set()),
        ("__init__ ________ 1_000_000", {"__init__"}),
        ("--dry_run_all -DBUILD_TYPE", {"dry_run_all", "DBUILD_TYPE"}),
        ("grösse_der_Tür Größenklasse_ß", {"grösse_der_Tür", "Größenklasse_ß"}),
        ("12345 1234.5 123 1,234 12-3456", {"12345", "1234.5", "3456"}),
        ("2024/05/16 v1234 1234ms", {"2024"}),
        ("#1234.0 #1234 #1234.0.", {"1234"}),
        (r"one\nsrc/a.py\u001bsrc/b.py", {"src/a.py", "src/b.py"}),
        ("a" * 300 + "_x/" + "b" * 300, set()),
    ],
)
def test_what_counts(text, facts):
    """Paths, identifiers and numbers, as whole tokens; references and long data are none."""
    assert facts_in(text) == facts


def test_a_fact_is_a_whole_token():
    """A number within a longer one, or a name within a path, is another fact."""
    assert "1234" not in facts_in("12345 a1234 1234.5")
    assert "user_manager.py" not in facts_in("src/user_manager.py")


def test_an_argument_is_read_by_its_values():
    """Names of arguments come from the tool; a call's own name is said."""
    call = ToolCall(
        tool_call_id="c",
        name="read_file",
        arguments={"file_path": "src/a.py", "inner": {"line_count": [12345, 1.2345, True]}},
    )
    assert FactReader().argued(call) == {"src/a.py", "12345", "1.2345"}
    assert FactReader().said(call) == {"src/a.py", "12345", "1.2345", "read_file"}
    assert FactReader().said(Message(role="assistant", content="to src/b.py")) == {"src/b.py"}


PIECES = st.sampled_from(
    [
        "src/a.py",
        "get_user_id",
        "C:\\new\\table",
        "x:\n",
        "\\",
        "\n",
        '"',
        "\x1b",
        "12345",
        " ",
        "é",
    ]
)


@given(st.lists(PIECES).map("".join))
def test_json_of_a_text_holds_the_same_facts(text):
    """Whatever has to be escaped: what a call's arguments quote stands in them as they are sent."""
    assert facts_in(json.dumps({"a": text}, ensure_ascii=False)) == facts_in(text)
    assert facts_in(json.dumps({"a": [{"b": text}]})) == facts_in(text)


@pytest.mark.parametrize(
    "unit",
    ["a", "\\", "C:\\", "a/", "..", "#1.1", "#1.1a1", "a_", "\\n", "{", '{"a":', "1.", "a.b-"],
)
def test_no_text_is_slow(unit):
    """Half a million characters of anything are read well within the suite's time."""
    text = unit * (500_000 // len(unit))
    assert len(facts_in(text)) <= 1
