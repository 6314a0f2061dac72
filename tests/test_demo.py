"""The recording that ships with the examples, and the demo that keeps it."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from turnkeep.content import ToolCall, ToolResult, compact_json, message_text, result_text
from turnkeep.replay.recording import read_recordings
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.transfer import read_file

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RECORDING = str(EXAMPLES / "recorded-session.jsonl")


@pytest.fixture(scope="module")
def recorded():
    [session] = read_file(RECORDING)
    return session


def calls(session):
    return [[i for i in e.content if isinstance(i, ToolCall)] for e in session.events]


def results(session):
    return [i for e in session.events for i in e.content if isinstance(i, ToolResult)]


def test_it_holds_what_real_logs_hold(recorded):
    """A parallel group, an error, an unanswered call, a reused id, a long result, re-reads."""
    groups = calls(recorded)
    flat = [call for group in groups for call in group]
    assert max(map(len, groups)) >= 3
    assert any(result.status == "error" for result in results(recorded))
    assert len(flat) == len(results(recorded)) + 1
    assert max(Counter(call.tool_call_id for call in flat).values()) == 2
    assert max(len(result_text(result)) for result in results(recorded)) == 30_000
    read = Counter(call.arguments["path"] for call in flat if call.name == "read_file")
    assert sum(1 for count in read.values() if count > 1) >= 5


def test_it_is_long(recorded):
    """At least 80,000 tokens, counted by o200k where that is installed."""
    texts = []
    for event in recorded.events:
        for item in event.content:
            if isinstance(item, ToolCall):
                texts += [item.name, compact_json(item.arguments)]
            else:
                texts.append(
                    result_text(item) if isinstance(item, ToolResult) else message_text(item)
                )
    try:
        from bpe_openai import get_encoding
    except ImportError:
        assert sum(EstimateCounter().count_texts(texts)) >= 100_000
    else:
        encoding = get_encoding("o200k_base")
        assert sum(len(encoding.encode_ordinary(text)) for text in texts) >= 80_000


def test_it_names_no_machine(recorded):
    """Paths are relative to the repository."""
    text = Path(RECORDING).read_text(encoding="utf-8")
    assert str(EXAMPLES.parent) not in text
    assert "/home/" not in text


def test_the_script_still_records(tmp_path):
    """It runs over the repository as it is, and what it makes can be replayed."""
    if not (EXAMPLES.parent / "core" / "src").is_dir():
        pytest.skip("records this repository: needs a checkout with core/src")
    out = tmp_path / "new.jsonl"
    subprocess.run(
        [sys.executable, EXAMPLES / "record_session.py", out], check=True, capture_output=True
    )
    [recording] = read_recordings([str(out)])
    assert len(recording.calls) > 30


def test_the_demo_runs():
    """Two processes, equal items, and a table; the interpreter named by a relative path, as by make."""
    here = EXAMPLES.parent
    environment = os.environ | {"PYTHON": os.path.relpath(sys.executable, here)}
    done = subprocess.run(
        ["bash", EXAMPLES / "demo.sh"], cwd=here, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "equal" in done.stdout
    assert "tutorial-window:window_size=20" in done.stdout
    assert "coding:max_tokens=40000" in done.stdout
