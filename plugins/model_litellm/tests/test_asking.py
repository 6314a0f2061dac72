"""Asking a model, plain and streamed, in each provider's form."""

import asyncio
import json

import pytest

from turnkeep.content import Message, Reasoning, message_text
from turnkeep.formats import get_profile
from turnkeep.model import CallDelta, ModelSettings, TextDelta, ThinkingDelta
from turnkeep.testing.provider import Call, Say


def counts(usage):
    """What providers report; of writes only Anthropic does everywhere."""
    return usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens


THINKS = pytest.mark.parametrize("profile", ["openai-responses", "anthropic", "gemini"])


def test_what_it_says_of_itself(client_of, profile):
    """The model's name, and the profile that it calls for."""
    client = client_of(profile)
    assert client.profile == profile
    assert client.model_id.startswith(("openai/", "anthropic/", "gemini/"))


async def test_a_text(client_of, server, profile, asked):
    """The answer's text, usage, reason to stop, and the provider's name of the model."""
    server.answer(Say("Sunny.", output_tokens=7))
    async with client_of(profile) as client:
        answer = await client.generate(asked("How is the weather?"))
    assert (answer.text, answer.finish, answer.partial) == ("Sunny.", "stop", False)
    assert counts(answer.usage) == counts(server.requests[0].usage)
    assert answer.model == server.requests[0].model
    assert server.rejected == []


async def test_a_text_in_pieces(client_of, server, profile, asked, read):
    """The pieces make the text of the answer, which comes last."""
    text = "It is sunny in Berlin, 23 °C — and \u2028 stays so. 🌞"
    server.answer(Say(text))
    async with client_of(profile) as client:
        pieces, answer = await read(client.stream(asked("How is the weather?")))
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == text
    assert (answer.text, answer.finish) == (text, "stop")
    assert counts(answer.usage) == counts(server.requests[0].usage)
    assert [seen.streamed for seen in server.requests] == [True]


async def test_parallel_calls(client_of, server, profile, asked):
    """All of them, in their order."""
    cities = ["Berlin", "Bern", "Paris"]
    server.answer(Say(calls=[Call("weather", {"city": city}) for city in cities]))
    async with client_of(profile) as client:
        answer = await client.generate(asked("How is the weather?"))
    assert answer.finish == "tool_calls"
    assert [call.arguments["city"] for call in answer.tool_calls] == cities
    assert len({call.tool_call_id for call in answer.tool_calls}) == 3


async def test_parallel_calls_in_pieces(client_of, server, profile, asked, read):
    """Each piece says which call it belongs to; together they make the arguments."""
    cities = ["Berlin", "Bern"]
    server.answer(Say("Looking.", calls=[Call("weather", {"city": city}) for city in cities]))
    async with client_of(profile) as client:
        pieces, answer = await read(client.stream(asked("How is the weather?")))
    calls = [piece for piece in pieces if isinstance(piece, CallDelta)]
    assert {call.name for call in calls} == {"weather"}
    for number, city in enumerate(cities):
        text = "".join(call.arguments for call in calls if call.index == number)
        assert json.loads(text) == {"city": city}
    assert [call.arguments["city"] for call in answer.tool_calls] == cities
    assert (answer.text, answer.finish) == ("Looking.", "tool_calls")


@THINKS
async def test_thinking_is_shown_as_it_comes(client_of, server, profile, asked, read):
    """Apart from the text."""
    server.answer(Say("Sunny.", thinking="It is July."))
    async with client_of(profile) as client:
        pieces, answer = await read(client.stream(asked("How is the weather?")))
    thought = "".join(piece.text for piece in pieces if isinstance(piece, ThinkingDelta))
    assert thought in ("It is July.", "")  # OpenAI shows a summary at most
    assert [item for item in answer.items if isinstance(item, Reasoning)]
    assert answer.text == "Sunny."


@THINKS
@pytest.mark.parametrize("streamed", [False, True])
async def test_reasoning_is_carried_over(
    client_of, server, profile, streamed, asked, answered, read
):
    """The next request brings it back as it was given: the provider checks its seal."""
    server.answer(Say(thinking="Look it up.", calls=[Call("weather", {"city": "Bern"})]), "Sunny.")

    async def ask(request):
        return (
            (await read(client.stream(request)))[1] if streamed else await client.generate(request)
        )

    async with client_of(profile) as client:
        first = await ask(asked("How is the weather?"))
        items = [Message(role="user", content="How is the weather?"), *first.items]
        items += [answered(call) for call in first.tool_calls]
        second = await ask(asked(*items))
    assert second.text == "Sunny."
    sent = get_profile(profile).parse_request(server.requests[1].body)
    kept = [item.data for item in sent.contents if isinstance(item, Reasoning)]
    assert kept == [item.data for item in first.items if isinstance(item, Reasoning)]


async def test_the_body_goes_out_as_it_was_made(client_of, server, profile, asked):
    """To the last field, but for the name of the model."""
    server.answer("Sunny.")
    request = asked("été 🌞 \u2028", Message(role="assistant", content="?"), "again")
    async with client_of(profile) as client:
        await client.generate(request, ModelSettings(max_output=99))
    sent = dict(server.requests[0].body)
    made = request.to(profile, max_output=99)
    for body in (sent, made):
        body.pop("model", None)
        body.pop("include", None)
    if profile == "anthropic":
        assert sent.pop("stream") is False
    assert sent == made


async def test_half_a_character(client_of, server, profile, asked):
    """Half a surrogate pair goes out as U+FFFD, and the other texts as they are."""
    server.answer("Sunny.")
    async with client_of(profile) as client:
        await client.generate(asked("one \ud83d two 🌞"))
    sent = get_profile(profile).parse_request(server.requests[0].body)
    assert message_text(sent.contents[-1]) == "one \ufffd two 🌞"


async def test_what_is_cached_is_read(client_of, server, profile, asked):
    """The second request finds the first one's prefix, and the usage says so."""
    server.answer("One.", "Two.")
    long = "It rained on many days of that year. " * 500
    async with client_of(profile) as client:
        first = await client.generate(asked("Hello.", instructions=long))
        second = await client.generate(asked("Hello.", *first.items, "And now?", instructions=long))
    assert 0 < second.usage.cached_tokens < second.usage.input_tokens
    assert list(map(counts, (first.usage, second.usage))) == [
        counts(seen.usage) for seen in server.requests
    ]
    if profile == "anthropic":
        assert first.usage.cache_write_tokens == server.requests[0].usage.cache_write_tokens > 0
    assert second.cost < first.cost


async def test_cache_breakpoints_arrive(client_of, server, asked):
    """Anthropic's marks stand where turnkeep put them."""
    server.answer("Sunny.")
    async with client_of("anthropic") as client:
        await client.generate(asked("Hello."))
    assert server.requests[0].body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    last = server.requests[0].body["messages"][-1]["content"][-1]
    assert last["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_why_it_stopped(client_of, server, profile, finish, asked, read):
    """In the same words for all providers, plain and streamed; the provider's own is kept."""
    server.answer(Say("It is", finish=finish), Say("It is", finish=finish))
    async with client_of(profile) as client:
        plain = await client.generate(asked("How is the weather?"))
        _, streamed = await read(client.stream(asked("How is the weather?")))
    assert (plain.finish, streamed.finish) == (finish, finish)
    assert plain.provider["finish"]


async def test_an_odd_reason_is_other(client_of, server, asked):
    """A word that is not known here."""
    server.answer(Say("It is", finish="pause_turn"))
    async with client_of("anthropic") as client:
        answer = await client.generate(asked("How is the weather?"))
    assert (answer.finish, answer.provider["finish"]) == ("other", "pause_turn")


async def test_twenty_at_once(client_of, server, profile, asked, read):
    """Each call gets its own answer, whether plain or streamed."""

    def echo(seen):
        contents = get_profile(profile).parse_request(seen.body).contents
        return f"echo {message_text(contents[-1])}"

    server.default = echo
    async with client_of(profile) as client:

        async def ask(number):
            request = asked(f"number {number}")
            if number % 2:
                return (await client.generate(request)).text
            return (await read(client.stream(request)))[1].text

        texts = await asyncio.gather(*map(ask, range(20)))
    assert texts == [f"echo number {number}" for number in range(20)]
