"""Faults: the ways in which providers and networks fail, each on request."""

import http.client
import json
import socket
import threading

import pytest

from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.response import read_response
from turnkeep.testing.provider import Fault, ProviderServer, Say

ALL = pytest.mark.parametrize("profile", PROFILE_NAMES)
LONG = Say("A text that makes several pieces in a stream of events.")
CUT = (http.client.HTTPException, ConnectionError)


@pytest.mark.parametrize(
    ("profile", "field", "word"),
    [
        ("openai-chat", "code", "rate_limit_exceeded"),
        ("openai-responses", "code", "rate_limit_exceeded"),
        ("anthropic", "type", "rate_limit_error"),
        ("gemini", "status", "RESOURCE_EXHAUSTED"),
    ],
)
def test_rate_limit(ask, profile, field, word):
    """429 has the provider's body, and `retry-after` if it is given; the script then goes on."""
    with ProviderServer(Fault.rate_limit(retry_after=7), Fault.rate_limit(), LONG) as server:
        first, second = ask(server, profile), ask(server, profile, stream=True)
        assert (first.status, first.headers["retry-after"]) == (429, "7")
        assert first.json["error"][field] == word
        assert second.status == 429
        assert "retry-after" not in second.headers
        assert ask(server, profile).status == 200
        assert server.rejected == []


def test_a_sustained_limit(ask):
    """Above so many requests in so much time of the clock, 429 says when to come again."""
    with ProviderServer(default=LONG) as server:
        server.limit_rate(2, 60)
        assert [ask(server, "anthropic").status for _ in range(3)] == [200, 200, 429]
        server.clock.advance(30)
        assert 28 <= int(ask(server, "anthropic").headers["retry-after"]) <= 30
        server.clock.advance(31)
        assert ask(server, "anthropic").status == 200
        server.unlimited()
        assert [ask(server, "anthropic").status for _ in range(3)] == [200] * 3
        assert [seen.rule for seen in server.requests].count("limit") == 2
        assert server.rejected == []


@ALL
def test_overloaded(ask, profile):
    """Anthropic says 529, the others 503."""
    with ProviderServer(Fault.overloaded()) as server:
        assert ask(server, profile).status == (529 if profile == "anthropic" else 503)


@ALL
@pytest.mark.parametrize("status", [500, 502, 504])
def test_server_errors(ask, profile, status):
    """A failure of the provider has its status and body."""
    with ProviderServer(Fault.server_error(status)) as server:
        reply = ask(server, profile)
        assert reply.status == status
        assert reply.sentence == server.requests[0].error


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_dropped_before_any_byte(ask, profile, stream):
    """The connection is cut without an answer."""
    with ProviderServer(Fault.drop(), LONG) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, profile, stream=stream)
        assert not server.requests[0].delivered
        assert ask(server, profile, stream=stream).status == 200
        assert server.requests[1].delivered


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_dropped_in_the_middle(ask, profile, stream):
    """So many bytes come, and no more."""
    fault = Fault.drop(after_bytes=100)
    with ProviderServer(Say("x" * 500, fault=fault)) as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(server, profile, stream=stream)
        assert len(caught.value.partial) == (100 if not stream else len(caught.value.partial))
        assert len(caught.value.partial) <= 100


@ALL
def test_dropped_between_events(ask, profile):
    """After so many events the stream ends without its end; what came reads as partial."""
    with ProviderServer(Say("x" * 500, fault=Fault.drop(after_events=3))) as server:
        with pytest.raises(http.client.IncompleteRead):
            ask(server, profile, stream=True)
        assert not server.requests[0].delivered


@pytest.mark.parametrize("stream", [False, True])
def test_slow(ask, stream):
    """An answer comes late, and its events apart."""
    with ProviderServer(Say(LONG.text, fault=Fault.slow(0.01, between=0.001))) as server:
        reply = ask(server, "openai-chat", stream=stream)
        assert read_response(reply.pieces if stream else reply.json).items[0].content == LONG.text
        waited = server.requests[0].delays
    assert waited[0] == 0.01
    assert waited[1:] == ([0.001] * (len(reply.pieces) - 1) if stream else [])


@pytest.mark.parametrize("after", [None, 2])
def test_hang(ask, after):
    """Nothing comes, or nothing more; the server can still be stopped."""
    with ProviderServer(Fault.hang(after_events=after)) as server:
        failed = []

        def client():
            try:
                ask(server, "anthropic", stream=True)
            except CUT as error:
                failed.append(error)

        thread = threading.Thread(target=client)
        thread.start()
        while not server.requests or server.requests[0].answer is None:
            thread.join(0.01)
        assert thread.is_alive()
    thread.join()
    assert len(failed) == 1


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_garbage(ask, profile, stream):
    """Status 200 with what is no JSON."""
    with ProviderServer(Fault.garbage()) as server:
        reply = ask(server, profile, stream=stream)
        assert reply.status == 200
        with pytest.raises(json.JSONDecodeError):
            reply.pieces if stream else reply.json


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_empty(ask, profile, stream):
    """An answer is whole but says nothing."""
    with ProviderServer(Fault.empty()) as server:
        reply = ask(server, profile, stream=stream)
        parsed = read_response(reply.pieces if stream else reply.json)
        assert [item for item in parsed.items if getattr(item, "content", "")] == []
        assert not parsed.partial


@ALL
def test_an_error_inside_a_stream(ask, profile):
    """After some events an error comes in place of the rest."""
    with ProviderServer(Say("x" * 500, fault=Fault.broken(after_events=3))) as server:
        pieces = ask(server, profile, stream=True).pieces
        assert len(pieces) == 4
        assert "overloaded" in json.dumps(pieces[3]).lower()
        assert "overloaded" in server.requests[0].error.lower()


def test_a_client_that_goes_away(ask):
    """An answer that nobody waits for is not delivered; the server goes on."""
    with ProviderServer(Say(LONG.text, fault=Fault.slow(between=30)), LONG) as server:
        line = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        body = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
        head = "POST /models/g:streamGenerateContent HTTP/1.1\r\nHost: x\r\n"
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert line.recv(100).startswith(b"HTTP/1.1 200")
        line.close()
        assert ask(server, "gemini").status == 200
        assert [seen.delivered for seen in server.requests] == [False, True]


def test_what_was_dropped_was_billed(ask):
    """The provider has read and billed what it could not deliver."""
    with ProviderServer(Fault.drop(), Fault.server_error()) as server:
        with pytest.raises(CUT):
            ask(server, "openai-chat")
        ask(server, "openai-chat")
        assert server.requests[0].usage.input_tokens > 0
        assert server.requests[1].usage is None
