"""The plugin: found by name, light until it is opened, its model by TOML or the conversation's."""

import asyncio
import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

import turnkeep
from turnkeep import Message, ToolCall
from turnkeep.errors import ConfigError
from turnkeep.plugins import CATALOGUE, Plugins
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep_memory_summarize import plugin

TOOLS = [{"name": "read"}]


def test_it_is_found_and_offers_one_step():
    """A row among the plugins, in the catalogue by its name."""
    [found] = [found for found in Plugins().found if found.name == "memory_summarize"]
    assert found.problem is None
    [spec] = plugin.request_optimizers()
    assert (spec.name, spec.options.__name__) == ("summarize", "SummarizeOptions")
    assert CATALOGUE["context step"]["summarize"] == found.distribution


def test_its_options_are_checked():
    """Unknown ones are refused, and each has a description."""
    [spec] = plugin.request_optimizers()
    with pytest.raises(ValidationError, match="colour"):
        spec.options(colour="blue")
    assert all(field.description for field in spec.options.model_fields.values())


def test_the_plugins_face_is_light():
    """Listing plugins loads nothing that asks a model."""
    code = (
        "import sys, turnkeep_memory_summarize.plugin as p; p.request_optimizers();"
        "print('turnkeep_memory_summarize.asking' in sys.modules, 'turnkeep.prepared' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def config(**table):
    return {
        "session": {"store": "memory"},
        "context": {
            "max_tokens": 6_000,
            "trigger": 0.8,
            "pipeline": ["compact", "summarize"],
            "summarize": {"tokens": 300, "index": 300, "share": 0.5, "least": 0, **table},
        },
    }


async def rewritten(keep):
    """Play until the context has been rewritten; gives the report."""
    async with keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Read everything."))
        for number in range(100):
            request = await turn.request(tools=TOOLS)
            if request.rewritten is not None:
                return request.rewritten
            call = ToolCall(tool_call_id=f"c{number}", name="read", arguments={"n": number})
            await turn.add_response([Message(role="assistant", content="I read it. " * 20), call])
            await turn.add_result(call, "some text " * 200)
    raise AssertionError


async def test_the_conversations_own_model(tmp_path):
    """Given to `turnkeep.open`: it is asked behind the conversation."""
    async with turnkeep.open(config(), model=ExtractiveModel()) as keep:
        report = await rewritten(keep)
    told = report["steps"][-1]
    assert told["name"] == "summarize"
    assert told["notes"]["way"] == "in the conversation"
    assert told["notes"]["model"] == "extractive"


async def test_without_any_model():
    """It is said how to name one."""
    with pytest.raises(ConfigError, match=r"\[model\] client and id, or give the step a model"):
        async with turnkeep.open(config()):
            raise AssertionError


async def test_a_model_of_its_own(monkeypatch):
    """By its name: another client is opened, and gets the history as data."""
    from turnkeep.hookspecs import Env

    asked = []

    def opened(name):
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def opening():
            asked.append(name)
            yield ExtractiveModel()

        return opening()

    [spec] = plugin.request_optimizers()
    import logging
    from pathlib import Path

    env = Env(data_dir=Path(), logger=logging.getLogger("t"), open_model=opened)
    options = spec.options(model="litellm:openai/gpt-4o-mini", tokens=300, index=300, share=0.5)
    async with spec.open(options, env) as step:
        context = {"max_tokens": 6_000, "trigger": 0.8}
        from turnkeep.stores.memory import MemoryStore

        keep = turnkeep.Keeper(store=MemoryStore(), context=context, optimizers=[step])
        async with keep:
            report = await rewritten(keep)
    assert asked == ["litellm:openai/gpt-4o-mini"]
    assert report["steps"][-1]["notes"]["way"] == "own prompt"


async def test_a_prompt_file_beside_the_configuration(tmp_path):
    """Its path starts from there; a bad one is told when it is opened, with no model opened."""
    (tmp_path / "mine.txt").write_text("{history} {nonsense}")
    toml = ['[session]\nstore = "memory"\n[context]\nmax_tokens = 6000\npipeline = ["summarize"]']
    toml.append('[context.summarize]\nmodel = "local:none.gguf"\nprompt = "mine.txt"')
    (tmp_path / "turnkeep.toml").write_text("\n".join(toml))
    with pytest.raises(ConfigError, match="nonsense"):
        async with turnkeep.open(tmp_path / "turnkeep.toml"):
            raise AssertionError


def test_reports_are_json():
    """What the step tells can be stored."""

    async def main():
        async with turnkeep.open(config(), model=ExtractiveModel()) as keep:
            return json.dumps(dict(await rewritten(keep)))

    assert "summarize" in asyncio.run(main())
