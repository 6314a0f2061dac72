"""Prompts are billed by the rules of each provider's cache."""

import pytest

from turnkeep import Message
from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.response import read_response
from turnkeep.prices import price_rows
from turnkeep.testing.provider import ProviderServer

LONG = "Some words of a rather long text that is worth remembering for a while. " * 120
USER = Message(role="user", content=LONG)
GROWN = [USER, Message(role="assistant", content="yes"), Message(role="user", content="go on")]
LIFETIMES = {"openai-chat": 600, "openai-responses": 1800, "anthropic": 300, "gemini": 300}
ALL = pytest.mark.parametrize("profile", PROFILE_NAMES)


@pytest.fixture
def server():
    with ProviderServer(default="Hello.") as running:
        yield running


@pytest.fixture
def usage(ask, server):
    def of(profile, body):
        reply = ask(server, profile, body)
        assert reply.status == 200, reply.data
        read = read_response(reply.json).usage
        assert read.cached_tokens == server.requests[-1].usage.cached_tokens
        assert read.input_tokens == server.requests[-1].usage.input_tokens
        return read

    return of


@ALL
def test_a_hit(usage, profile):
    """A request that repeats a long prefix reads it from the cache."""
    first, second = usage(profile, [USER]), usage(profile, GROWN)
    assert first.cached_tokens == 0
    assert 1024 <= second.cached_tokens <= first.input_tokens
    assert second.cached_tokens > first.input_tokens - 130


@ALL
def test_a_miss(usage, profile):
    """A changed beginning reads nothing."""
    usage(profile, [USER])
    other = Message(role="user", content=f"x {LONG}")
    assert usage(profile, [other, *GROWN[1:]]).cached_tokens == 0


@ALL
def test_the_minimum(usage, profile):
    """A short prefix is not remembered."""
    short = Message(role="user", content="hi")
    usage(profile, [short])
    again = usage(profile, [short])
    assert (again.cached_tokens, again.cache_write_tokens) == (0, 0)


@ALL
def test_the_lifetime(usage, server, profile):
    """Within its lifetime a prefix is found and refreshed; after it, it is forgotten."""
    usage(profile, [USER])
    for _ in range(2):
        server.clock.advance(LIFETIMES[profile] - 20)
        assert usage(profile, GROWN).cached_tokens > 0
    server.clock.advance(LIFETIMES[profile] + 20)
    assert usage(profile, GROWN).cached_tokens == 0


@ALL
def test_models_have_their_own_caches(usage, ask, server, body_of, profile):
    """Another model reads nothing of what this one was sent."""
    usage(profile, [USER])
    path, body = None, body_of(profile, [USER])
    if profile == "gemini":
        path = "/v1beta/models/gemini-4:generateContent"
    else:
        body["model"] += "-mini"
    assert ask(server, profile, body, path=path).status == 200
    assert server.requests[-1].usage.cached_tokens == 0


def test_steps_of_older_openai_models(usage):
    """Before 5.6, hits come in steps of 128 tokens."""
    usage("openai-chat", [USER])
    assert usage("openai-chat", GROWN).cached_tokens % 128 == 0


def test_writes_are_billed_where_they_cost(usage, server):
    """Anthropic and newer OpenAI models report what was written."""
    first, second = usage("anthropic", [USER]), usage("anthropic", GROWN)
    assert first.cache_write_tokens > 1024
    assert second.cache_write_tokens == second.input_tokens - second.cached_tokens
    assert usage("openai-chat", [USER]).cache_write_tokens == 0
    usage("openai-responses", [USER])
    assert server.requests[-1].usage.cache_write_tokens > 1024


def test_anthropic_counts_the_rest_apart(ask, server):
    """`input_tokens` leaves out what was read and written."""
    ask(server, "anthropic", [USER])
    found = ask(server, "anthropic", GROWN).json["usage"]
    assert found["input_tokens"] == 0
    assert found["cache_read_input_tokens"] > 1024
    assert (
        found["cache_creation"]["ephemeral_5m_input_tokens"] == found["cache_creation_input_tokens"]
    )


def test_anthropic_without_breakpoint(usage, body_of):
    """Nothing is cached that was not asked for."""
    for _ in range(2):
        found = usage("anthropic", body_of("anthropic", [USER], cache=False))
        assert (found.cached_tokens, found.cache_write_tokens) == (0, 0)


def test_anthropic_automatic(usage, body_of):
    """A marker of the whole request stands for one at its last block."""
    for items in ([USER], GROWN):
        body = body_of("anthropic", items, cache=False)
        found = usage("anthropic", body | {"cache_control": {"type": "ephemeral"}})
    assert found.cached_tokens > 1024


@pytest.mark.parametrize(("blocks", "hit"), [(20, True), (21, False)])
def test_anthropic_looks_back_20_blocks(usage, blocks, hit):
    """An entry is found from a breakpoint at most 20 blocks behind it."""
    texts = [{"type": "text", "text": LONG}]
    mark = {"cache_control": {"type": "ephemeral"}}

    def body(content):
        content = [*content[:-1], content[-1] | mark]
        messages = [{"role": "user", "content": content}]
        return {"model": "claude", "max_tokens": 9, "messages": messages}

    usage("anthropic", body(texts))
    more = [{"type": "text", "text": f"number {index}"} for index in range(blocks)]
    assert (usage("anthropic", body(texts + more)).cached_tokens > 0) is hit


def test_anthropic_for_an_hour(ask, server):
    """A marker with ttl "1h" is billed apart, and its entry stays for an hour."""
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    first = ask(server, "anthropic", body).json["usage"]
    assert first["cache_creation"]["ephemeral_1h_input_tokens"] > 1024
    server.clock.advance(3000)
    assert ask(server, "anthropic", body).json["usage"]["cache_read_input_tokens"] > 1024


def test_refused_requests_are_not_remembered(usage, ask, server, body_of):
    """What was refused was not read either."""
    body = body_of("openai-chat", [USER])
    ask(server, "openai-chat", body | {"nonsense": 1})
    assert usage("openai-chat", [USER]).cached_tokens == 0


def test_own_rules_and_counter(ask):
    """Cache rules and the counter can be given."""

    class Letters:
        name = "letters"

        def count_texts(self, texts):
            return [len(text) for text in texts]

        def exact(self, model):
            return True

    row = price_rows()["no-cache"]
    with ProviderServer(default="12345", counter=Letters(), prices={"gemini": row}) as server:
        for _ in range(2):
            found = ask(server, "gemini", [USER]).json["usageMetadata"]
    assert found["candidatesTokenCount"] == 5
    assert found["promptTokenCount"] > len(LONG)
    assert "cachedContentTokenCount" not in found
