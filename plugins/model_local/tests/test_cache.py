"""The prompt cache: what was computed once is found again, in this process and in the next one."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import turnkeep
from turnkeep import Keeper, Message
from turnkeep.model import ModelSettings
from turnkeep.stores.memory import MemoryStore
from turnkeep_model_local import LocalModel

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "local_conversation.py"
LINES = ("Hi! I am Alice.", "What is a lighthouse?", "Who keeps it?", "Thank you!")
SHORT = ModelSettings(max_output=8)


def shares(usages):
    """How much of each earlier prompt the next call found in the cache."""
    return [new.cached_tokens / old.input_tokens for old, new in itertools.pairwise(usages)]


async def converse(model, keep, session_id):
    """Say all lines; give the usages."""
    usages = []
    for line in LINES:
        async with keep.turn(session_id) as turn:
            await turn.add(Message(role="user", content=line))
            request = await turn.request(
                instructions="You are a friendly assistant. Be brief.", model_id=model.model_id
            )
            answer = await model.generate(request)
            await turn.add_response(answer)
            usages.append(answer.usage)
    return usages


@pytest.mark.prove
async def test_a_conversation_finds_its_prompt_again(small):
    """From its second call on, ≥ 95 % of the earlier prompt, with others in between."""
    async with LocalModel(**small) as model, Keeper(store=MemoryStore()) as keep:
        for session_id in ("one", "two", "three"):
            found = shares(await converse(model, keep, session_id))
            assert len(found) == 3 and min(found) >= 0.95


@pytest.mark.prove
async def test_more_conversations_than_slots(small, asking):
    """Those that lost their slot to a different one are found in memory."""
    async with LocalModel(**{**small, "slots": 1}) as model:
        said = {name: [f"Tell me about {name}. " * 20] for name in ("ships", "tides", "fog")}
        usages = {name: [] for name in said}
        for _ in range(3):
            for name, texts in said.items():
                answer = await model.generate(asking(*texts, session_id=name), SHORT)
                usages[name].append(answer.usage)
                texts += [answer.text, "Go on."]
    assert min(share for each in usages.values() for share in shares(each)) >= 0.95


async def test_the_cache_is_kept_on_disk(small, asking, tmp_path):
    """Another model, as in another process, begins with it; what is damaged is computed anew."""
    options = {**small, "cache_dir": tmp_path / "prompts"}
    first = asking("Please tell me about ships.")
    async with LocalModel(**options) as model:
        answer = await model.generate(first, SHORT)
    next_one = asking("Please tell me about ships.", answer.text, "Go on.")
    async with LocalModel(**options) as model:
        found = (await model.generate(next_one, SHORT)).usage.cached_tokens
        other = (await model.generate(asking("Hello!", session_id="b"), SHORT)).usage
    assert found >= 0.95 * answer.usage.input_tokens
    assert other.cached_tokens <= 1 + 24  # the template's own beginning at most
    for path in (tmp_path / "prompts").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    async with LocalModel(**options) as model:
        assert (await model.generate(next_one, SHORT)).usage.cached_tokens == 0


@pytest.mark.prove
async def test_two_processes_may_alternate(small, asking, tmp_path):
    """Each begins with what the other has computed last."""
    options = {**small, "cache_dir": tmp_path / "prompts"}
    texts = ["Please tell me about ships and the sea."]
    usages = []
    async with LocalModel(**options) as one, LocalModel(**options) as two:
        for model in (one, two, one, two):
            answer = await model.generate(asking(*texts), SHORT)
            usages.append(answer.usage)
            # An answer comes before its prompt is saved; the next call of this model waits.
            await model.generate(asking(*texts), ModelSettings(max_output=1))
            texts += [answer.text, "Please go on, and tell me more about it."]
    assert min(shares(usages)) >= 0.95


@pytest.mark.timeout(300)
@pytest.mark.prove
async def test_three_processes_hold_one_conversation(small, tmp_path, monkeypatch):
    """On one SQLite session: from the second on, ≥ 95 % of the earlier prompt is found again."""
    pytest.importorskip("turnkeep_session_sqlite", reason="needs turnkeep-session-sqlite")
    (tmp_path / "turnkeep.toml").write_text(
        '[session]\nstore = "sqlite"\n[session.sqlite]\npath = "sessions.db"\n'
    )
    told = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), "demo"], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        told.append(done.stdout)
    monkeypatch.chdir(tmp_path)
    async with turnkeep.open() as keep:
        usages = [event.usage async for event in keep.sessions.events("demo") if event.usage]
    assert len(usages) == 3 and min(shares(usages)) >= 0.95
    for output, usage in zip(told, usages, strict=True):
        assert f"{usage.input_tokens} tokens sent, {usage.cached_tokens} of them" in output
