"""The HTTP address: OpenAI's API for other programs, with a key unless it is left out."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from turnkeep_model_local import LocalModel


def ask(url, messages, key=None, **settings):
    """Ask as any program would; gives the body."""
    body = {"model": "any", "messages": messages, "max_tokens": 8, **settings}
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        f"{url}/chat/completions", data=json.dumps(body).encode(), headers=headers
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as response:
        return json.loads(response.read())


async def test_others_reach_it_by_its_key(small):
    """Who has none, or a wrong one, is refused."""
    messages = [{"role": "user", "content": "Hello!"}]
    async with LocalModel(**small) as model:
        body = await asyncio.to_thread(ask, model.url, messages, model.api_key)
        for key in (None, "wrong"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                await asyncio.to_thread(ask, model.url, messages, key)
    assert body["choices"][0]["message"]["content"]
    assert body["model"] == "smollm2", "no path of the machine"


async def test_a_key_can_be_chosen(small):
    """It is not shown where options are."""
    model = LocalModel(**small, api_key="s3cret")
    assert "s3cret" not in repr(model._options)
    async with model:
        assert model.api_key == "s3cret"


@pytest.fixture
def served(small):
    """A model that another process serves; its address."""
    environ = {name: each for name, each in os.environ.items() if name != "TURNKEEP_LOCAL_API_KEY"}
    command = [sys.executable, "-m", "turnkeep_model_local", "serve", "--threads", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_one_process_serves_others(served):
    """They share its prompt cache: ≥ 95 % of an earlier prompt, whoever has sent it."""
    messages = [{"role": "user", "content": "Please tell me about ships and the sea."}]
    first = ask(served, messages, temperature=0)
    answer = first["choices"][0]["message"]["content"]
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Go on."}]
    # Another process, with nothing but the address.
    code = (
        "import json, sys, urllib.request\n"
        "request = urllib.request.Request(sys.argv[1], data=sys.argv[2].encode(),\n"
        "    headers={'Content-Type': 'application/json'})\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        "print(opener.open(request).read().decode())\n"
    )
    body = json.dumps({"messages": messages, "max_tokens": 8})
    done = subprocess.run(
        [sys.executable, "-c", code, f"{served}/chat/completions", body],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert found >= 0.95 * first["usage"]["prompt_tokens"]


def test_what_cannot_be_served_is_said():
    """With a sentence, and status 1."""
    done = subprocess.run(
        [sys.executable, "-m", "turnkeep_model_local", "serve", "--model", "nowhere.gguf"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no model file")
