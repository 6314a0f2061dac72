"""The plugin: found by name, light until it is opened, offline and quiet."""

import logging

import pytest
from pydantic import ValidationError

from turnkeep.errors import ModelError
from turnkeep.hookspecs import Env
from turnkeep.plugins import Plugins
from turnkeep_model_litellm import plugin


@pytest.fixture
def env(tmp_path):
    """What core hands over."""
    return Env(data_dir=tmp_path, logger=logging.getLogger("test"))


def test_it_is_found_and_offers_one_client():
    """A row among the plugins."""
    [found] = [found for found in Plugins().found if found.name == "model_litellm"]
    assert found.problem is None
    [spec] = plugin.model_clients()
    assert (spec.name, spec.options.__name__) == ("litellm", "LitellmOptions")


async def test_it_opens_a_client(env, server, asked):
    """One that is ready: LiteLLM is loaded, and the model found."""
    server.answer("Sunny.")
    [spec] = plugin.model_clients()
    options = spec.options(
        api_key="sk-test-0123456789abcdef", api_base=server.base_url("anthropic")
    )
    async with spec.open("anthropic/claude-sonnet-4-5", options, env) as client:
        assert (client.model_id, client.profile) == ("anthropic/claude-sonnet-4-5", "anthropic")
        assert (await client.generate(asked("Hello."))).text == "Sunny."


@pytest.mark.parametrize("model", ["", "nobody/some-model"])
async def test_a_model_that_cannot_be_opened(env, model):
    """Fails at the start, not in the middle of a turn."""
    [spec] = plugin.model_clients()
    with pytest.raises(ModelError):
        async with spec.open(model, spec.options(), env):
            raise AssertionError


def test_its_options_are_checked():
    """Unknown ones are refused."""
    [spec] = plugin.model_clients()
    with pytest.raises(ValidationError, match="colour"):
        spec.options(colour="blue")


def test_the_plugins_face_is_light(offline):
    """Listing plugins, and making a client, load neither LiteLLM nor a client of HTTP."""
    code = """
import turnkeep_model_litellm.plugin as plugin
from turnkeep_model_litellm import LitellmClient
print([spec.name for spec in plugin.model_clients()])
print(LitellmClient("openai/gpt-5").model_id)
print({"litellm", "httpx", "openai", "aiohttp"} & sys.modules.keys())
"""
    assert offline(code) == ["['litellm']", "openai/gpt-5", "set()"]


@pytest.mark.prove
def test_no_network_to_open(offline):
    """Limits and prices come with LiteLLM; the environment stays as it was, and nothing is said."""
    code = """
import asyncio, os
from turnkeep.content import Usage
from turnkeep_model_litellm import LitellmClient
from turnkeep_model_litellm.prices import cost_of

async def main():
    os.environ["TIKTOKEN_CACHE_DIR"] = "mine"
    before = dict(os.environ)
    for model in ("openai/gpt-5", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"):
        client = LitellmClient(model)
        await client.load()
        cost = cost_of(client._know().target, Usage(input_tokens=10, output_tokens=10))
        print(client.profile, client.limits.context_window > 100_000, 0 < cost < 1)
    import litellm.litellm_core_utils.default_encoding
    print(dict(os.environ) == before, sys.modules["litellm"].suppress_debug_info)

asyncio.run(main())
"""
    assert offline(code) == [
        "openai-chat True True",
        "anthropic True True",
        "gemini True True",
        "True True",
    ]


@pytest.mark.prove
def test_a_program_that_has_litellm_keeps_it_as_it_is(offline):
    """Its settings and its callbacks."""
    code = """
import os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from turnkeep_model_litellm import LitellmClient

def state():
    names = ("callbacks", "success_callback", "failure_callback", "drop_params", "num_retries",
             "suppress_debug_info", "set_verbose", "api_key", "api_base", "cache")
    return [repr(getattr(litellm, name, None)) for name in names], dict(os.environ)

litellm.drop_params = True
before = state()
print(LitellmClient("anthropic/claude-sonnet-4-5").profile, state() == before)
"""
    assert offline(code) == ["anthropic True"]


@pytest.mark.prove
def test_many_threads_at_once(offline):
    """One of them loads LiteLLM; all get the same."""
    code = """
from concurrent.futures import ThreadPoolExecutor
from turnkeep_model_litellm import LitellmClient
client = LitellmClient("gemini/gemini-2.5-pro")
with ThreadPoolExecutor(8) as pool:
    known = list(pool.map(lambda _: client._know(), range(8)))
print(len(set(map(id, known))), client.profile)
"""
    assert offline(code) == ["1 gemini"]
