"""The benchmarks of what contexts keep: questions about sessions, and a model's next action."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.formats import get_profile
from turnkeep.optimize.recall import text_of
from turnkeep.prices import price_row
from turnkeep.replay.named import parse_policy
from turnkeep.replay.recording import Recording, read_recordings
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters
from turnkeep.testing.provider import Call, ProviderServer, Say
from turnkeep.tokens.memo import Memo

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def questions(monkeypatch):
    """The module, imported as its program imports its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import questions

    return questions


def test_answers_are_short_literal_and_early(questions, transcripts):
    """They stand where it is said, in the first half or so, and no question gives one away."""
    recordings = {each.session_id: each for each in read_recordings(map(str, transcripts))}
    asked = questions.read_questions()
    assert len(asked) >= 30
    assert {each.kind for each in asked} == set(questions.KINDS)
    for each in asked:
        entries = recordings[each.session].entries
        texts = {entry.ref: text_of(entry.item) for entry in entries}
        half = entries[len(entries) // 2].ref
        for ref in each.refs:
            assert ref <= half, each
            assert each.answered(texts[ref]), each
        assert each.refs
        assert not each.answered(each.question)
        assert all(4 <= len(text) <= 48 for text in each.answers), each
        assert len(each.words) >= 2


def session():
    """A long one: a rule at its beginning, a number in a result, a name in a result that is cut."""
    items = [Message(role="user", content="Begin")]
    items += [
        Message(role="assistant", content="Ready"),
        Message(role="user", content="Use port 7717 for staging"),
    ]
    for number in range(40):
        if number == 2:
            items += [
                Message(role="assistant", content="Seen"),
                Message(role="user", content="Go on"),
            ]
        text = "Zebra key: quagga-9\n" if number == 1 else ""
        items += [
            ToolCall(tool_call_id=f"c{number}", name="read", arguments={"n": number}),
            ToolResult(tool_call_id=f"c{number}", name="read", content=[text + "x" * 400]),
        ]
    items.append(Message(role="assistant", content="done"))
    return Recording.of_items("s", items, [ToolDefinition(name="read")])


async def test_what_became_of_a_question(questions):
    """It stands, is behind a reference, is found by its own words, or is lost."""
    made = session()
    kept = {
        "Which port is used in staging?": ("7717", 3),
        "What was the unknown value?": ("quagga-9", 7),
        "Which key has the zebra?": ("quagga-9", 7),
        "What was never said?": ("nowhere", 3),
    }
    from turnkeep.content import Ref

    asked = [
        questions.Question("s", "fact", (Ref(seq, 0),), text, (answer,))
        for text, (answer, seq) in kept.items()
    ]
    terms = Terms(get_profile("anthropic"), price_row("anthropic-5m"), Letters(exact=True))
    policies = [
        parse_policy("none"),
        parse_policy("window:max_tokens=6000,groups=4"),
        parse_policy("compact:max_tokens=9000,results=50,head=0,tail=0,keep_recent=2"),
        parse_policy("tutorial-window:window_size=2"),
    ]
    fates = await questions.ask(asked, [made], policies, terms, Memo(Letters(exact=True)))
    found = {
        policy.label.partition(":")[0]: [f.fate for f in fates if f.policy == policy.label]
        for policy in policies
    }
    assert found["none"] == ["stands", "stands", "stands", "lost"]
    # The window leaves no references; only the words of a question find anything.
    assert found["window"] == ["search", "lost", "search", "lost"]
    assert found["compact"] == ["stands", "reference", "reference", "lost"]
    assert found["tutorial-window"] == ["lost"] * 4
    [whole, *_] = questions.rows(fates)
    assert (whole["questions"], whole["stands"], whole["lost"]) == (4, 3, 1)


@pytest.fixture
def compared(tmp_path):
    """Run the comparison of next actions against a provider on this machine; give its figures."""
    pytest.importorskip("turnkeep_model_litellm")
    from turnkeep.events import Event
    from turnkeep.formats.jsonl import SessionFile, write_session

    def run(answers):
        events = [Event(author="user", content=[entry.item]) for entry in session().entries]
        header = {"tools": [ToolDefinition(name="read").model_dump()]}
        written = write_session(SessionFile("s", header=header, events=events))
        (tmp_path / "s.jsonl").write_text("\n".join(written) + "\n")
        with ProviderServer(default=answers) as server:
            base = server.base_url("openai-chat")
            (tmp_path / "c.toml").write_text(
                f'[session]\nstore = "memory"\n[model.litellm]\napi_key = "sk-test"\napi_base = "{base}"\n'
            )
            program = [sys.executable, str(BENCHMARKS / "next_action.py"), "s.jsonl", "--ask"]
            program += ["--model", "openai/gpt-4o-mini", "--config", "c.toml", "--json", "o.json"]
            for recall in ("false", "true"):
                policy = f"window:max_tokens=1500,groups=4,recall={recall}"
                program += ["--policy", policy]
            program += ["--calls", "3"]
            done = subprocess.run(
                program, cwd=tmp_path, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert server.rejected == []
            asked = len(server.requests)
        assert "A/A TOOLS" in done.stdout
        return json.loads((tmp_path / "o.json").read_text()), asked

    return run


def whole(request):
    """Say whether the request holds the session from its beginning on."""
    return "7717" in json.dumps(request.body["messages"])


def test_a_next_action_is_compared(compared):
    """A model that knows less does something else, unless it can read back what it lacks."""

    def answers(request):
        if whole(request):
            return Say(calls=[Call("read", {"n": 1})])
        names = [tool["function"]["name"] for tool in request.body["tools"]]
        return Say(
            calls=[
                Call("recall", {"pattern": "staging"})
                if "recall" in names
                else Call("read", {"n": 2})
            ]
        )

    [lost, read_back], asked = compared(answers)
    assert asked == 9 + 12
    assert [(row["calls"], row["failed"]) for row in (lost, read_back)] == [(3, 0)] * 2
    assert (lost["recalls"], read_back["recalls"]) == (0, 3)
    assert [row["aa_whole"] for row in (lost, read_back)] == [1, 1]
    assert [row["ab_whole"] for row in (lost, read_back)] == [0, 1]
    assert (lost["aa_tools"], lost["ab_tools"]) == (1, 1)
