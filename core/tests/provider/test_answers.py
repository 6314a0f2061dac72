"""A script's answers come in each provider's form, plain and streamed."""

import asyncio
import http.client
import json
import threading

import pytest

from turnkeep import Message, Reasoning, ToolCall
from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.response import read_response
from turnkeep.formats.stream import join_stream
from turnkeep.testing.provider import Call, ProviderServer, Say

ALL = pytest.mark.parametrize("profile", PROFILE_NAMES)
ANSWER = Say(
    "A text that is longer than a piece.",
    thinking="Let me see what there is.",
    calls=[Call("run", {"a": "long enough for two"}, "call_1"), Call("run", {}, "call_2")],
)
CALLS = [
    ToolCall(tool_call_id="call_1", name="run", arguments={"a": "long enough for two"}),
    ToolCall(tool_call_id="call_2", name="run"),
]


@ALL
def test_plain(ask, profile):
    """A plain answer is read back as what the script says."""
    with ProviderServer(ANSWER) as server:
        parsed = read_response(ask(server, profile).json)
        [seen] = server.requests
    said = [item for item in parsed.items if isinstance(item, Message)]
    assert [item.content for item in said] == [ANSWER.text]
    calls = [item for item in parsed.items if isinstance(item, ToolCall)]
    assert [(c.tool_call_id, c.name, c.arguments) for c in calls] == [
        (c.tool_call_id, c.name, c.arguments) for c in CALLS
    ]
    assert any(isinstance(item, Reasoning) for item in parsed.items) is (profile != "openai-chat")
    assert not parsed.partial
    assert (seen.profile, seen.status, seen.error, seen.streamed) == (profile, 200, None, False)


@ALL
def test_a_stream_is_the_plain_answer(ask, body_of, profile):
    """A stream, put together, holds the same items, usage and end as the plain answer."""
    body = body_of(profile)
    if profile == "openai-responses":
        body["include"] = ["reasoning.encrypted_content"]
    with ProviderServer(default=ANSWER) as server:
        plain = read_response(ask(server, profile, body).json)
        if profile == "openai-chat":
            body["stream_options"] = {"include_usage": True}
        reply = ask(server, profile, body, stream=True)
    joined = join_stream(reply.pieces)
    assert (joined.profile, joined.cut) == (profile, False)
    streamed = read_response(reply.pieces)
    assert list(map(said, streamed.items)) == list(map(said, plain.items))
    # Of two same requests the second one may read the first one's cache.
    assert streamed.usage.input_tokens == plain.usage.input_tokens
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert streamed.finish == plain.finish


def said(item):
    """Give an item without the ids that each answer has of its own."""
    made = item.model_dump(mode="json", exclude_none=True)
    if isinstance(item, Reasoning):
        made["data"] = {
            k: v for k, v in made["data"].items() if k not in ("id", "encrypted_content")
        }
    made.pop("openai_responses", None)
    made.pop("annotations", None)  # in plain answers of Chat only
    return made


def test_gemini_streams_a_list_without_sse(ask, body_of):
    """Without `alt=sse` the chunks are one JSON array."""
    with ProviderServer("Hello, this is a longer text.") as server:
        reply = ask(server, "gemini", path="/v1beta/models/gemini-3-pro:streamGenerateContent")
    assert reply.headers["content-type"].startswith("application/json")
    assert len(reply.json) == 3
    assert [item.content for item in read_response(reply.json).items] == [
        "Hello, this is a longer text."
    ]


@pytest.mark.parametrize("asked", [True, False])
def test_usage_in_a_chat_stream_is_asked_for(ask, body_of, asked):
    """The last chunk has usage only if `stream_options` asks for it; the end is [DONE]."""
    body = body_of("openai-chat")
    if asked:
        body["stream_options"] = {"include_usage": True}
    with ProviderServer("Hello.") as server:
        reply = ask(server, "openai-chat", body, stream=True)
    assert bool(reply.pieces[-1].get("usage")) is asked
    assert reply.data.endswith(b"data: [DONE]\n\n")


def test_the_events_of_anthropic(ask):
    """Events are named, and come in the order of the documentation."""
    with ProviderServer("Hello.") as server:
        data = ask(server, "anthropic", stream=True).data.decode()
    assert [line[7:] for line in data.split("\n") if line.startswith("event: ")] == [
        "message_start", "content_block_start", "ping", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_the_events_of_responses(ask):
    """Events are numbered, and begin and end with the response."""
    with ProviderServer("Hello.") as server:
        pieces = ask(server, "openai-responses", stream=True).pieces
    assert [piece["sequence_number"] for piece in pieces] == list(range(len(pieces)))
    assert [piece["type"].removeprefix("response.") for piece in pieces] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "word"),
    [
        ("openai-chat", "length"),
        ("anthropic", "max_tokens"),
        ("openai-responses", "max_output_tokens"),
        ("gemini", "MAX_TOKENS"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_why_it_stopped(ask, profile, word, stream):
    """A reason to stop is given in the provider's word."""
    with ProviderServer(Say("cut o", finish="length")) as server:
        reply = ask(server, profile, stream=stream)
    assert word in json.dumps(reply.pieces if stream else reply.json)


@pytest.mark.parametrize(
    ("profile", "path"),
    [
        ("openai-chat", "/chat/completions"),
        ("openai-responses", "/responses"),
        ("gemini", "/v1/models/gemini-3-pro:generateContent"),
        ("gemini", "/models/gemini-3-pro:generateContent"),
    ],
)
def test_paths(ask, profile, path):
    """The APIs answer with and without their version in the path."""
    with ProviderServer("Hello.") as server:
        assert ask(server, profile, path=path).status == 200


@ALL
def test_nothing_is_scripted(ask, profile):
    """Where the script is at its end, the error says so."""
    with ProviderServer("one") as server:
        assert ask(server, profile).status == 200
        reply = ask(server, profile)
        assert reply.status == 500
        assert "no answer is scripted for request 2" in reply.sentence
        assert server.rejected == []


def test_a_script_may_look_at_the_request(ask):
    """A function gets the request, its result is the answer; it may be async."""

    async def late(request):
        return Say(f"late {request.number}")

    with ProviderServer(lambda seen: f"{seen.model} {len(seen.body['messages'])}") as server:
        server.answer(late)
        first, second = (read_response(ask(server, "openai-chat").json) for _ in range(2))
    assert [first.items[0].content, second.items[0].content] == ["gpt-4o 5", "late 2"]


def test_a_script_that_fails_fails_the_test(ask):
    """What a function raises is answered with 500, and raised again at the end of the block."""

    def script(request):
        assert request.model == "another"

    with pytest.raises(AssertionError, match="another"), ProviderServer(script) as server:
        reply = ask(server, "anthropic")
        assert reply.status == 500
        assert "the script failed" in reply.sentence


def test_refused_requests_take_nothing_from_the_script(ask):
    """The script goes on with the next request that is accepted."""
    with ProviderServer("one") as server:
        assert ask(server, "anthropic", {"model": "claude"}).status == 400
        assert server.pending == 1
        assert ask(server, "anthropic").status == 200
        assert (len(server.requests), len(server.rejected), server.pending) == (2, 1, 0)


def test_twenty_clients(ask):
    """Clients at once each get their own answer."""
    with ProviderServer(default=lambda seen: seen.body["messages"][0]["content"]) as server:
        got = {}

        def client(number):
            for round_ in range(5):
                words = f"{number}.{round_}"
                reply = ask(server, "openai-chat", [Message(role="user", content=words)])
                got[words] = read_response(reply.json).items[0].content

        threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == len(server.requests) == 100
        assert all(sent == back for sent, back in got.items())


def test_inside_of_a_running_loop(ask):
    """The server works from async code, as it has a thread of its own."""

    async def main():
        with ProviderServer("Hello.") as server:
            return await asyncio.to_thread(ask, server, "gemini")

    assert asyncio.run(main()).status == 200


def test_it_comes_back_on_the_same_port(ask):
    """A server that was stopped refuses connections; started again it has the same address."""
    server = ProviderServer(default="Hello.")
    with server:
        url = server.url
        ask(server, "gemini")
    with pytest.raises(RuntimeError, match="not running"):
        server.url
    line = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    with pytest.raises(ConnectionRefusedError):
        line.connect()
    with server:
        assert server.url == url
        assert ask(server, "gemini").status == 200
        assert len(server.requests) == 2


def test_base_urls():
    """Each SDK is given the address that it expects."""
    with ProviderServer() as server:
        assert server.base_url("openai-chat") == server.base_url("openai-responses")
        assert server.base_url("openai-chat") == f"{server.url}/v1"
        assert server.base_url("anthropic") == server.base_url("gemini") == server.url


def test_models_are_listed():
    """`GET /v1/models` gives the names that the server was made with."""
    with ProviderServer(models=["mine"]) as server:
        line = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
        line.request("GET", "/v1/models")
        assert [model["id"] for model in json.loads(line.getresponse().read())["data"]] == ["mine"]
        line.close()
