"""`turnkeep tokens`, and the counter that commands count with."""

import json

import pytest

from turnkeep.tokens.correction import Correction, Growth
from turnkeep.tokens.learned import Learned

LINES = [
    {
        "type": "session",
        "id": "one",
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "tools": [{"name": "look", "description": "Looks.", "parameters": {"type": "object"}}],
    },
    {"type": "message", "role": "user", "content": "Hi"},
    {"type": "tool_call", "tool_call_id": "c", "name": "look", "arguments": {"at": "the sky"}},
    {"type": "tool_result", "tool_call_id": "c", "name": "look", "content": ["blue " * 200]},
    {"type": "message", "role": "assistant", "content": "It is blue."},
]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A conversation, in a folder without a configuration or anything learned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


def test_it_shows_parts_and_the_largest_items(file, turnkeep, snapshot):
    """With the counter, whether it is exact, and what to expect of the provider."""
    code, out, err = turnkeep("tokens", file)
    assert (code, err) == (0, "")
    snapshot("tokens.txt", out)


def test_the_parts_make_the_whole(file, turnkeep):
    """For programs: each part with its items, and the sum."""
    code, out, _ = turnkeep("tokens", file, "--json", "--model", "gpt-4o")
    [found] = json.loads(out)["sessions"]
    assert code == 0
    assert sum(part["tokens"] for part in found["parts"].values()) == found["tokens"]
    assert found["parts"]["tool results"]["items"] == 1
    largest = found["largest"][0]
    assert (largest["at"], largest["what"]) == ("3.0", "result look")
    assert largest["tokens"] == found["parts"]["tool results"]["tokens"]
    assert found["counter"] == "estimate"
    assert not found["exact"]


def test_what_reports_have_taught_is_shown(file, turnkeep, tmp_path):
    """The factor of the model, and from how many reports."""
    correction = Correction()
    for number in range(40):
        tokens = 100 + 50 * number
        correction.observe(Growth(tokens, 1), 1.5 * tokens + 5)
    learned = Learned(tmp_path / "data" / "turnkeep" / "corrections.json")
    learned.take("gpt-4o", "estimate", correction)
    learned.save()
    _, out, _ = turnkeep("tokens", file)
    assert "tokens for one, as 40 reports say" in out
    _, out, _ = turnkeep("tokens", file, "--json")
    [found] = json.loads(out)["sessions"]
    assert found["expected"] > 1.3 * found["tokens"]


def test_the_configured_counter_counts(file, turnkeep, tmp_path):
    """Here and in a replay; a name on the command line goes before it."""
    (tmp_path / "turnkeep.toml").write_text('[tokens]\ncounter = "estimat"\n')
    for command in (("tokens", file), ("replay", file)):
        code, _, err = turnkeep(*command)
        assert code == 2
        assert "turnkeep.toml:2: [tokens] counter: unknown token counter 'estimat'" in err
        assert turnkeep(*command, "--counter", "estimate")[0] == 0
        code, _, err = turnkeep(*command, "--counter", "none")
        assert code == 2
        assert "unknown token counter 'none'" in err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("missing.jsonl",), 1, "missing.jsonl: cannot be read"),
        (("one.jsonl", "--profile", "nobody"), 2, "nobody"),
    ],
)
def test_what_cannot_be_counted_is_told(file, turnkeep, args, code, said):
    """In one line."""
    found, out, err = turnkeep("tokens", *args)
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def test_what_is_left_out_of_requests_is_not_counted(file, turnkeep, tmp_path):
    """Calls of tools that are not declared are removed by repair: the parts stay those of the whole."""
    lines = [
        *LINES[:2],
        {"type": "tool_call", "tool_call_id": "x", "name": "unknown", "arguments": {}},
        {"type": "tool_result", "tool_call_id": "x", "name": "unknown", "content": ["y " * 900]},
        {"type": "message", "role": "user", "content": "Well?"},
    ]
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, out, _ = turnkeep("tokens", str(path), "--json")
    [found] = json.loads(out)["sessions"]
    assert found["parts"]["tool results"]["items"] == 0
    assert all(part["tokens"] >= 0 for part in found["parts"].values())
    assert found["repairs"] > 0
