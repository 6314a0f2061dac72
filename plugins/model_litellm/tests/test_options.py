"""What options and settings add to a request, in each provider's words."""

import asyncio

import pytest
from pydantic import ValidationError

from turnkeep.errors import ConfigError
from turnkeep.model import ModelSettings
from turnkeep_model_litellm import LitellmClient, LitellmOptions

CLOSED = {
    "type": "object",
    "properties": {"sunny": {"type": "boolean"}},
    "required": ["sunny"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"sunny": {"type": "boolean"}}}


@pytest.fixture
def sent(client_of, server, asked):
    """Ask once and give the body that the provider got."""

    async def once(profile, settings=None, tools=None, **options):
        server.answer("Sunny.")
        request = asked("Hello.") if tools is None else asked("Hello.", tools=tools)
        async with client_of(profile, **options) as client:
            await client.generate(request, settings or ModelSettings())
        assert server.rejected == []
        return server.requests[-1].body

    return once


async def test_most_to_answer_with(sent, profile):
    """A call's settings come before the options."""
    name = {
        "openai-chat": "max_completion_tokens",
        "openai-responses": "max_output_tokens",
        "anthropic": "max_tokens",
        "gemini": "maxOutputTokens",
    }[profile]

    async def most(*given, **options):
        body = await sent(profile, *given, **options)
        return body.get("generationConfig", body).get(name)

    assert await most(max_output=77) == 77
    assert await most(ModelSettings(max_output=55), max_output=77) == 55


async def test_temperature(sent, profile):
    """And the other way to choose what is likely."""
    model = {"model": "openai/gpt-4o"} if profile == "openai-responses" else {}
    body = await sent(profile, temperature=0.5, **model)
    assert body.get("generationConfig", body)["temperature"] == 0.5
    body = await sent(profile, top_p=0.25, **model)
    values = body.get("generationConfig", body)
    assert 0.25 in (values.get("top_p"), values.get("topP"))


@pytest.mark.parametrize(
    ("profile", "model", "found"),
    [
        ("openai-chat", "openai/gpt-5", {"reasoning_effort": "low"}),
        ("openai-responses", "openai/gpt-5", {"reasoning": {"effort": "low"}}),
        (
            "gemini",
            "gemini/gemini-2.5-pro",
            {
                "generationConfig": {
                    "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024}
                }
            },
        ),
        (
            "gemini",
            "gemini/gemini-3-pro-preview",
            {
                "generationConfig": {
                    "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}
                }
            },
        ),
    ],
)
async def test_how_hard_to_think(sent, profile, model, found):
    """In the words of the form, and of the model's generation."""
    body = await sent(profile, model=model, reasoning_effort="low")
    assert found.items() <= body.items()


async def test_how_hard_claude_thinks(sent):
    """LiteLLM knows which of its models has budgets of thought."""
    body = await sent("anthropic", reasoning_effort="low", max_output=9000)
    assert body["thinking"]["type"] == "enabled"
    assert 0 < body["thinking"]["budget_tokens"] < 9000
    assert "reasoning_effort" not in body


@pytest.mark.parametrize(("schema", "strict"), [(CLOSED, True), (OPEN, False)])
async def test_a_schema_of_the_answer(sent, profile, schema, strict):
    """Asked for strictly where the schema allows it, or else as far as the provider can."""
    body = await sent(profile, ModelSettings(output_schema=schema), tools=())
    if profile == "openai-chat":
        form = body["response_format"]["json_schema"]
        assert (form["schema"], form["strict"]) == (schema, strict)
    elif profile == "openai-responses":
        form = body["text"]["format"]
        assert (form["schema"], form["strict"]) == (schema, strict)
    elif profile == "gemini":
        assert body["generationConfig"]["responseJsonSchema"] == schema
    else:
        form = {"format": {"type": "json_schema", "schema": schema}}
        assert body.get("output_config") == (form if strict else None)


async def test_a_schema_beside_tools(sent):
    """Gemini before version 3 refuses both together: the schema is left to the caller's check."""
    body = await sent("gemini", ModelSettings(output_schema=CLOSED))
    assert "responseJsonSchema" not in body.get("generationConfig", {})


async def test_headers_and_extra(sent, server, profile):
    """Headers go out with each request; `extra` is merged into the body."""
    name, value = {
        "openai-chat": ("seed", 7),
        "openai-responses": ("metadata", {"a": "b"}),
        "anthropic": ("metadata", {"user_id": "u"}),
        "gemini": ("generationConfig", {"seed": 7}),
    }[profile]
    body = await sent(profile, headers={"X-Team": "seven"}, extra={name: value}, max_output=9)
    found = body[name]
    assert found == value or value.items() <= found.items()
    assert server.requests[-1].headers["x-team"] == "seven"


async def test_the_session_is_left_as_it_is(client_of, server, profile, asked):
    """Whatever LiteLLM changes, it changes in a copy."""
    server.answer("Sunny.")
    request = asked("Hello.")
    before = request.to(profile)
    async with client_of(profile, temperature=0.5, extra={"metadata": {"a": "b"}}) as client:
        await client.load()
        if profile not in ("openai-chat", "gemini"):
            await client.generate(request)
    assert request.to(profile) == before


@pytest.mark.parametrize(
    "options",
    [
        {"colour": "blue"},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"retries": -1},
        {"reasoning_effort": "very"},
        {"api": "soap"},
        {"top_p": 2},
        {"headers": {"a": 1}},
    ],
)
def test_other_options_are_refused(options):
    """In a table and in code."""
    with pytest.raises(ValidationError, match=next(iter(options))):
        LitellmOptions(**options)
    with pytest.raises(ConfigError, match=next(iter(options))):
        LitellmClient("openai/gpt-4o", **options)


def test_secrets_are_not_shown():
    """Neither the key nor what headers hold."""
    options = LitellmOptions(api_key="sk-secret-1", headers={"A": "sk-secret-2"})
    assert "sk-secret" not in f"{options!r} {options} {options.model_dump(exclude={'headers'})}"


@pytest.mark.parametrize("options", [{"apikey": "sk-very"}, {"api_key": ["sk-very"]}])
def test_a_refused_option_is_not_repeated(options):
    """It may be a key, under a wrong name or of a wrong kind."""
    with pytest.raises(ConfigError) as caught:
        LitellmClient("openai/gpt-5", **options)
    with pytest.raises(ValidationError) as table:
        LitellmOptions(**options)
    assert (
        "sk-very" not in f"{caught.value!r} {caught.value} {caught.value.__cause__} {table.value}"
    )


@pytest.mark.parametrize(
    "name", ["model", "messages", "stream", "stream_options", "timeout", "api_key", "max_retries"]
)
def test_extra_holds_nothing_of_turnkeeps_own(name):
    """What turnkeep sets itself is refused by its name."""
    with pytest.raises(ConfigError, match=f"extra: .*{name}: set by turnkeep"):
        LitellmClient("openai/gpt-5", extra={name: 1})


async def test_newlines_around_a_key(sent, server, profile):
    """As files end with them: keys and headers are sent without."""
    await sent(profile, api_key="sk-test-0123456789abcdef\n", headers={"X-Team": "seven\n"})
    assert server.requests[-1].headers["x-team"] == "seven"


async def test_claude_has_room_to_think_and_to_answer(sent):
    """Where nobody chose how long an answer may be, an effort raises it."""
    body = await sent("anthropic", reasoning_effort="high")
    assert body["max_tokens"] == 36_864 >= body["thinking"]["budget_tokens"] + 4_096
    assert (await sent("anthropic"))["max_tokens"] == 4_096
    assert (await sent("anthropic", reasoning_effort="low", max_output=3_000))[
        "max_tokens"
    ] == 3_000


async def test_no_thought_where_it_cannot_be_brought_back(sent, server):
    """Claude in the chat form thinks only without tools."""
    options = {"api": "chat", "reasoning_effort": "low", "max_output": 9_000}
    assert "thinking" not in await sent("anthropic", **options)
    assert "thinking" in await sent("anthropic", tools=(), **options)


def test_one_client_on_two_loops(client_of, server, profile, asked):
    """Programs that run one loop after the other may keep the client."""
    server.default = "Sunny."
    client = client_of(profile)

    async def ask():
        async with client:
            return (await client.generate(asked("Hello."))).text

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["Sunny.", "Sunny."]
