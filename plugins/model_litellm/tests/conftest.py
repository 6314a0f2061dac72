"""Fixtures: a strict provider on this machine, clients of it in each form, and a clock of waits."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.content import Message, ToolDefinition, ToolResult
from turnkeep.formats import PROFILE_NAMES
from turnkeep.prepared import PreparedRequest
from turnkeep.testing.provider import ProviderServer
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep_model_litellm import LitellmClient
from turnkeep_model_litellm.pacing import Pacing

KEY = "sk-test-0123456789abcdef"
MODELS = {
    "openai-chat": "openai/gpt-4o-mini",
    "openai-responses": "openai/gpt-5",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-pro",
}
WEATHER = ToolDefinition(
    name="weather",
    description="Tells the weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def pytest_collection_modifyitems(items):
    """Ignore what LiteLLM ignores as it is imported: pytest would undo that after each test."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            for message in (".*`ReadOnly` qualifier.*", ".*Accessing the.*attribute.*"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))


@pytest.fixture(params=PROFILE_NAMES)
def profile(request):
    """Each form of requests in turn."""
    return request.param


@pytest.fixture
def server():
    """A provider that lets one key in."""
    with ProviderServer(api_key=KEY) as running:
        yield running


class Waits(list):
    """The waits that were asked for; none takes any time."""

    async def sleep(self, seconds):
        self.append(seconds)


@pytest.fixture
def waits():
    """What a client has waited between repetitions."""
    return Waits()


@pytest.fixture
def client_of(server, waits):
    """Make a client of the server in a form, with options of its own."""

    def make(profile, *, retries=2, **options):
        api = "responses" if profile == "openai-responses" else "auto"
        given = {"api_key": KEY, "api_base": server.base_url(profile), "api": api, **options}
        pacing = Pacing(retries=retries, sleep=waits.sleep)
        return LitellmClient(given.pop("model", MODELS[profile]), pacing=pacing, **given)

    return make


@pytest.fixture
def asked():
    """Make a request of items; a text is the user's."""

    def make(*items, tools=(WEATHER,), instructions="Answer briefly."):
        made = [
            Message(role="user", content=item) if isinstance(item, str) else item for item in items
        ]
        return PreparedRequest.of_items(
            made,
            instructions=instructions,
            tools=tools,
            session_id="session-1",
            counter=EstimateCounter(),
        )

    return make


@pytest.fixture
def answered():
    """Give the result of a tool call."""

    def result(call, text="sunny"):
        return ToolResult(tool_call_id=call.tool_call_id, name=call.name, content=[text])

    return result


@pytest.fixture
def read():
    """Read a stream to its end: its pieces, and the answer that comes last."""

    async def whole(stream):
        pieces = [piece async for piece in stream]
        return pieces[:-1], pieces[-1]

    return whole


class Raw:
    """A server that sends what it is told, byte for byte, and sees when it is left."""

    def __init__(self):
        self.head, self.chunks, self.stays = "200 OK", [], False
        self.requests, self.left = [], asyncio.Event()
        self.kind = "text/event-stream"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(re.search(r"(?i)content-length: (\d+)", head)[1])
        self.requests.append((head, json.loads(await reader.readexactly(size))))
        writer.write(f"HTTP/1.1 {self.head}\r\nContent-Type: {self.kind}\r\n".encode())
        writer.write(b"Connection: close\r\n\r\n")
        for chunk in self.chunks:
            writer.write(chunk)
        if self.stays:
            await reader.read()
            self.left.set()
        writer.close()

    def say(self, *events):
        """Send these events, as text or as JSON."""
        for event in events:
            data = event if isinstance(event, str) else json.dumps(event)
            self.chunks.append(f"data: {data}\n\n".encode())


@pytest.fixture
def raw():
    """A server that is not the provider's own; to be used as `async with raw`."""
    return Raw()


@pytest.fixture
def offline(tmp_path):
    """Run code in a new interpreter that cannot reach any network; gives its lines."""

    def run(code, **variables):
        done = subprocess.run(
            [sys.executable, "-c", OFFLINE + code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **variables},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split("\n")[:-1]

    return run
