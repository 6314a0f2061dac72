"""A client of the provider server that knows nothing of it but HTTP, and valid bodies for it."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from turnkeep import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.formats import get_profile
from turnkeep.formats.profile import render_context

MODELS = {
    "openai-chat": "gpt-4o",
    "openai-responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
}
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
TOOL = ToolDefinition(name="run", description="Runs.")
TALK = [
    Message(role="user", content="hi"),
    ToolCall(tool_call_id="c1", name="run", arguments={"a": 1}),
    ToolResult(tool_call_id="c1", name="run", content=["one"]),
    Message(role="assistant", content="done"),
    Message(role="user", content="more"),
]


@dataclass
class Reply:
    """What came back; `pieces` are the events of a stream."""

    status: int
    headers: dict
    data: bytes

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def pieces(self):
        if self.data[:1] == b"[":
            return self.json
        lines = self.data.decode().replace("\r\n", "\n").split("\n")
        found = [line[6:] for line in lines if line.startswith("data: ")]
        return [json.loads(line) for line in found if line != "[DONE]"]

    @property
    def sentence(self):
        return self.json["error"]["message"]


@pytest.fixture
def body_of():
    """Gives a valid body: of items, or of a conversation with a call."""

    def make(profile, items=TALK, *, tools=(TOOL,), instructions="", cache=True):
        known = get_profile(profile)
        system, messages = render_context(known, items, instructions)
        body = known.payload(
            messages=messages,
            system=system,
            tools=known.tools(tools),
            model_id=None if profile == "gemini" else MODELS[profile],
            cache=cache,
        )
        return json.loads(json.dumps(body))

    return make


@pytest.fixture
def ask(body_of):
    """Sends a body, or the items of one, and gives the reply."""

    def send(
        server, profile, body=TALK, *, stream=False, path=None, key=None, headers=None, query=""
    ):
        if isinstance(body, list):
            body = body_of(profile, body)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        where = path or PATHS.get(profile) or f"/v1beta/models/{MODELS['gemini']}:{method}"
        if stream and profile != "gemini":
            body = body | {"stream": True}
        sent = {"content-type": "application/json"}
        if profile == "anthropic":
            sent |= {"anthropic-version": "2023-06-01"}
        if key is not None:
            name = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(profile)
            sent |= {name: key} if name else {"authorization": f"Bearer {key}"}
        line = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            line.request("POST", where + query, data, sent | (headers or {}))
            got = line.getresponse()
            return Reply(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            line.close()

    return send
