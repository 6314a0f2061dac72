"""Recorded sessions of real agents: kept without losing a key, replayed without a fault."""

import json
from collections import Counter

import pytest

import turnkeep
from turnkeep.cli import main
from turnkeep.formats import PROFILE_NAMES

DOCUMENTED = {
    "session": {"format", "user_id", "created", "updated", "state"},
    "item": {
        "event",
        "seq",
        "index",
        "execution_id",
        "author",
        "timestamp",
        "usage",
        "state",
        "partial",
    },
}


def lines(text):
    return [json.loads(line) for line in text.split("\n") if line]


def assert_found_again(before, after, documented):
    """Every key and value stands in the other, with its type; only documented fields are added."""
    assert before.keys() <= after.keys()
    assert after.keys() - before.keys() <= documented
    for key, value in before.items():
        assert json.dumps(after[key], sort_keys=True) == json.dumps(value, sort_keys=True), key


def test_every_line_of_every_transcript_is_found_again(transcripts, tmp_path, monkeypatch, capsys):
    """File, import, SQLite, export: line by line against the original, as parsed JSON."""
    (tmp_path / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\nsqlite.path = "s.db"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["sessions", "import", *map(str, transcripts)]) == 0
    capsys.readouterr()
    assert main(["sessions", "export", "--all"]) == 0
    exported = {}
    for line in lines(capsys.readouterr().out):
        if line["type"] == "session":
            current = exported.setdefault(line["id"], [])
        current.append(line)
    assert list(exported) == sorted(exported, key=str.encode)
    for path in transcripts:
        original = lines(path.read_text(encoding="utf-8"))
        kept = exported[original[0]["id"]]
        assert len(kept) == len(original)
        assert_found_again(original[0], kept[0], DOCUMENTED["session"])
        for before, after in zip(original[1:], kept[1:], strict=True):
            assert_found_again(before, after, DOCUMENTED["item"])
    assert main(["sessions", "export", "--all", "--output", "again.jsonl"]) == 0
    (tmp_path / "turnkeep.toml").write_text(
        '[session]\nstore = "sqlite"\nsqlite.path = "other.db"\n'
    )
    assert main(["sessions", "import", "again.jsonl"]) == 0
    assert main(["sessions", "export", "--all", "--output", "third.jsonl"]) == 0
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "third.jsonl").read_bytes()


def texts_of(request):
    """Give the texts of a request as somebody else would read them."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def content(value):
        if isinstance(value, str):
            yield value
        for block in value if isinstance(value, list) else []:
            if "text" in block:
                yield block["text"]
            elif "functionCall" in block:
                yield from (block["functionCall"]["name"], compact(block["functionCall"]["args"]))
            elif "functionResponse" in block:
                yield from block["functionResponse"]["response"].values()
            elif block["type"] == "tool_use":
                yield from (block["name"], compact(block["input"]))
            elif block["type"] == "tool_result":
                yield from content(block["content"])

    system = request["system"]
    yield from content(system["parts"] if isinstance(system, dict) else system)
    yield from map(compact, request["tools"])
    for message in request["messages"]:
        for key in ("content", "parts", "output"):
            yield from content(message.get(key))
        if message.get("type") == "function_call":
            yield from (message["name"], message["arguments"])
        for call in message.get("tool_calls") or []:
            yield from (call["function"]["name"], call["function"]["arguments"])


PROFILES = [
    name if name == "anthropic" else pytest.param(name, marks=pytest.mark.prove)
    for name in PROFILE_NAMES
]
"""The strictest provider; the others with the long proofs."""


@pytest.mark.parametrize("profile", PROFILES)
def test_sending_everything_is_valid_and_rightly_weighed(transcripts, tmp_path, capsys, profile):
    """0 invalid requests; tokens never below the o200k count of the texts, nor far above it."""
    bpe = pytest.importorskip(
        "bpe_openai", reason="needs bpe-openai (in the dev group) to count o200k tokens"
    )
    encoding = bpe.get_encoding("o200k_base")
    known = {}

    def count(text):
        if text not in known:
            known[text] = len(encoding.encode_ordinary(text))
        return known[text]

    # The longest session alone is nine tenths of all requests' bytes; it is replayed below.
    files = [path for path in transcripts if path.stat().st_size < 600_000]
    out = tmp_path / "requests.jsonl"
    arguments = [*map(str, files), "--profile", profile, "--requests", str(out), "--format", "json"]
    assert main(["replay", *arguments]) == 0
    [row] = json.loads(capsys.readouterr().out)["policies"]
    assert (row["invalid"], row["over_budget"], row["overflows"]) == (0, 0, 0)
    requests = 0
    with out.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            request = json.loads(line)
            requests += 1
            texts = sum(map(count, texts_of(request)))
            assert texts <= request["tokens"]
            if texts >= 2000:
                assert request["tokens"] - request["overhead"] <= 1.35 * texts
            assert (request["system"] is None) == (profile == "openai-chat") or not request[
                "system"
            ]
    assert requests == row["requests"] > 500


@pytest.mark.parametrize("profile", PROFILES)
def test_all_of_them_under_both_policies(transcripts, capsys, profile):
    """Everything is valid, with repairs counted; the tutorial's window leaves orphans."""
    policies = ["--policy", "none", "--policy", "tutorial-window:window_size=20"]
    assert (
        main(
            ["replay", *map(str, transcripts), *policies, "--profile", profile, "--format", "json"]
        )
        == 0
    )
    everything, window = json.loads(capsys.readouterr().out)["policies"]
    assert everything["invalid"] == 0
    assert everything["repairs"] > 0
    assert everything["relative_cost"] == everything["all_in_cost"] == 1.0
    assert everything["retention"] == everything["original"] == everything["in_place"] == 1.0
    assert everything["facts"] == window["facts"] > 5_000
    assert 0.7 < window["retention"] == window["original"] == window["in_place"] < 0.9
    assert 0 == everything["regret"] < window["regret"] < 0.3
    assert window["all_in_cost"] > window["relative_cost"]
    assert window["invalid"] > 300
    assert window["violations"]["R1"] > 300


def test_the_page_of_a_long_session_is_small(transcripts, tmp_path, capsys):
    """150,000 tokens under three policies: each message once, below 5 MB."""
    [long] = [path for path in transcripts if path.stem == "context-evaluator-8209f1c2"]
    policies = ["none", "tutorial-window:window_size=20", "tutorial-window:window_size=100"]
    page = tmp_path / "page.html"
    arguments = [argument for policy in policies for argument in ("--policy", policy)]
    assert main(["replay", str(long), *arguments, "--html", str(page)]) == 0
    assert "tutorial-window:window_size=100" in capsys.readouterr().out
    assert long.stat().st_size < page.stat().st_size < 5_000_000


async def test_kept_turn_by_turn_they_are_the_same(transcripts, tmp_path):
    """Through Turn and SQLite, item by item, with the store reopened in the middle."""
    from turnkeep.transfer import read_file

    settings = {"session": {"store": "sqlite", "sqlite": {"path": str(tmp_path / "s.db")}}}
    for path in transcripts:
        [recorded] = read_file(str(path))
        items = [item for event in recorded.events for item in event.content]
        half = len(items) // 2
        # A turn that begins in the middle would close the calls that the first half leaves open.
        while half and items[half - 1].type != "message":
            half -= 1
        for part in (items[:half], items[half:]):
            async with turnkeep.open(settings) as keep, keep.turn(path.stem) as turn:
                for item in part:
                    await turn.add(item)
        async with turnkeep.open(settings) as keep:
            kept = (await keep.sessions.get(path.stem)).events
        assert [item for event in kept for item in event.content] == items
        assert [event.seq for event in kept] == list(range(1, len(items) + 1))


def test_recorded_calls_reuse_no_id_unnoticed(transcripts):
    """The data holds what the rules are for: reused ids across sessions, unanswered calls."""
    ids = Counter()
    for path in transcripts:
        ids.update(
            {
                line["tool_call_id"]
                for line in lines(path.read_text(encoding="utf-8"))
                if line["type"] == "tool_call"
            }
        )
    assert max(ids.values()) > 1
