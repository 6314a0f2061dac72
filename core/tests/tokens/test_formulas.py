"""What whole requests cost: the formulas against published and recorded figures."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import (
    ImagePart,
    Item,
    Message,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import render_context
from turnkeep.tokens.formulas import formula_for

Count = Callable[[Sequence[str]], list[int]]
NAMES = ["openai-chat", "openai-responses", "anthropic", "gemini", "neutral"]
JARGON = [
    (
        "system",
        "",
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    (
        "system",
        "example_assistant",
        "Let's talk later when we're less busy about how to do better.",
    ),
    (
        "user",
        "",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]
WEATHER = ToolDefinition(
    name="get_current_weather",
    description="Get the current weather in a given location",
    parameters={
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            },
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
)


def words(texts: Sequence[str]) -> list[int]:
    """Count words: a counter for tests that are not about texts."""
    return [len(text.split()) for text in texts]


def counter(encoding: str) -> Count:
    """Count as a vocabulary of OpenAI does."""
    found = pytest.importorskip("bpe_openai").get_encoding(encoding)
    return lambda texts: [len(found.encode(text)) for text in texts]


def total(
    profile: str,
    items: Sequence[Item],
    count: Count,
    *,
    tools: Sequence[ToolDefinition] = (),
    instructions: str = "",
    model: str = "",
    tool_choice: object = None,
) -> int:
    """The tokens of a whole request."""
    formula = formula_for(profile, model)
    system, messages = render_context(get_profile(profile), items, instructions)
    texts = [text for message in messages for text in message.texts]
    blocks = [block["text"] for block in system or ()]
    return (
        formula.priming
        + formula.system(blocks)
        + formula.tools(tools, count, model, tool_choice)
        + sum(formula.frame(message.body, model) for message in messages)
        + sum(count([*texts, *blocks]))
    )


def gemini(count: Count, *texts: str) -> int:
    """The tokens of a Gemini request of messages with one text each."""
    formula = formula_for("gemini")
    frames = sum(formula.frame({"role": "user", "parts": [{"text": text}]}) for text in texts)
    return formula.priming + frames + sum(count(texts))


@pytest.mark.parametrize(
    ("encoding", "model", "published"),
    [("cl100k_base", "gpt-4-0613", 129), ("o200k_base", "gpt-4o", 124)],
)
def test_openai_messages_and_names(encoding: str, model: str, published: int) -> None:
    """The six messages of the cookbook, four of them with names, cost what the API reported."""
    items = [
        Message(role=role, content=text, **({"name": name} if name else {}))
        for role, name, text in JARGON
    ]
    assert total("openai-chat", items, counter(encoding), model=model) == published


@pytest.mark.parametrize(
    ("encoding", "model", "published"),
    [
        ("cl100k_base", "gpt-3.5-turbo", 105),
        ("cl100k_base", "gpt-4", 105),
        ("o200k_base", "openai/gpt-4o", 101),
        ("o200k_base", "gpt-4o-mini", 101),
    ],
)
def test_openai_tool_definitions(encoding: str, model: str, published: int) -> None:
    """The cookbook's weather tool with two messages costs what the API reported."""
    items = [
        Message(
            role="system",
            content="You are a helpful assistant that can answer to questions about the weather.",
        ),
        Message(role="user", content="What's the weather like in San Francisco?"),
    ]
    assert total("openai-chat", items, counter(encoding), tools=[WEATHER], model=model) == published


@pytest.mark.parametrize(("calls", "measured"), [(1, 40), (2, 89), (3, 114)])
def test_openai_calls_and_results(calls: int, measured: int) -> None:
    """One call and parallel calls with their results cost what was measured on gpt-3.5-turbo."""
    count = counter("cl100k_base")
    formula = formula_for("openai-chat")
    arguments = '{"a":2, "b":2}'
    function = {"name": "calculator", "arguments": arguments}
    asked: dict[str, Any] = {
        "role": "user",
        "content": [{"type": "text", "text": "How much is 2 plus 2?"}],
    }
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": function}] * calls,
    }
    answered = [{"role": "tool", "tool_call_id": "a", "content": "4"}] * calls
    frames = sum(formula.frame(body, "gpt-3.5-turbo") for body in [asked, called, *answered])
    texts = ["How much is 2 plus 2?", *["calculator", arguments, "4"] * calls]
    assert formula.priming + frames + sum(count(texts)) == measured


@pytest.mark.parametrize(("results", "recorded"), [(1, 11), (2, 20), (3, 29), (4, 38), (6, 56)])
def test_openai_results_as_recorded(results: int, recorded: int) -> None:
    """Results add what recorded requests of GPT-5.4 and 5.5 grew by beside output and texts.

    Two tokens of that are the frame of the answer, which the output does not hold.
    """
    frame = formula_for("openai-chat").frame
    result = {"role": "tool", "tool_call_id": "call_" + "x" * 24, "content": "x"}
    assert results * frame(result, "gpt-5.5") + 2 == recorded


def test_openai_calls_of_an_unknown_model() -> None:
    """Calls and results of an unknown model cost at least what they do at each known one."""
    frame = formula_for("openai-chat").frame
    bodies: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [{}] * n} for n in range(4)]
    for body in [*bodies, {"role": "tool", "content": "x"}]:
        for model in ("gpt-4o", "gpt-5.5"):
            assert frame(body) >= frame(body, model)


def test_openai_counts_what_the_cookbook_leaves_out_upward() -> None:
    """Properties within properties, items and other keywords add to a definition."""
    formula = formula_for("openai-chat")

    def cost(**schema: Any) -> int:
        tool = ToolDefinition(name="f", parameters={"type": "object", "properties": {"a": schema}})
        return formula.tools([tool], words)

    plain = cost(type="object")
    assert cost(type="object", properties={"b": {"type": "string"}}) > plain
    assert cost(type="array", items={"type": "object", "properties": {"b": {}}}) > plain
    assert cost(anyOf=[{"type": "string"}]) > plain
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        nested = {"type": "object", "properties": {"deeper": nested}}
    assert cost(**nested) > plain


def test_anthropic_system_and_message() -> None:
    """The first example of "Token counting" costs what the page says."""
    items = [Message(role="user", content="Hello, Claude")]
    count = counter("o200k_base")
    assert total("anthropic", items, count, instructions="You are a scientist") == 14


def test_anthropic_tool_definition() -> None:
    """The example with a tool in "Token counting", 403 tokens, is met within 4 in 100 from above."""
    location = {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}
    tool = ToolDefinition(
        name="get_weather",
        description="Get the current weather in a given location",
        parameters={
            "type": "object",
            "properties": {"location": location},
            "required": ["location"],
        },
    )
    items = [Message(role="user", content="What's the weather like in San Francisco?")]
    count = counter("o200k_base")
    tokens = total("anthropic", items, count, tools=[tool], model="claude-3-5-sonnet-20241022")
    assert 403 <= tokens <= 403 * 1.04


@pytest.mark.parametrize(
    ("model", "auto", "forced"),
    [
        ("claude-opus-4-5-20251101", 496, 588),
        ("anthropic/claude-sonnet-4.6", 497, 589),
        ("us.anthropic.claude-opus-4-20250514-v1:0", 313, 315),
        ("claude-3-haiku@20240307", 264, 340),
        ("claude-opus-4-7", 675, 804),
        ("some-other-model", 675, 804),
    ],
)
def test_anthropic_system_text_of_tools(model: str, auto: int, forced: int) -> None:
    """Tools bring the system text of the published table, by model and choice of tool."""
    formula = formula_for("anthropic")
    tools = [ToolDefinition(name="f", parameters={})]
    beside = formula.tools(tools, words, model) - auto
    assert beside < 20
    for choice in ("auto", "none", {"type": "auto"}):
        assert formula.tools(tools, words, model, choice) == auto + beside
    for choice in ("required", {"name": "f"}, {"type": "any"}, {"type": "tool", "name": "f"}):
        assert formula.tools(tools, words, model, choice) == forced + beside


def test_anthropic_tools_of_the_provider() -> None:
    """A tool that Anthropic defines costs its published figure instead of its JSON."""
    formula = formula_for("anthropic")
    bash = ToolDefinition(name="bash", anthropic={"type": "bash_20250124", "name": "bash"})
    search = ToolDefinition(name="s", anthropic={"type": "web_search_20250305", "name": "s"})
    assert formula.tools([bash], words, "claude-opus-4") == 313 + 245
    assert 313 < formula.tools([search], words, "claude-opus-4") < 350


def test_anthropic_calls_and_results_as_recorded() -> None:
    """A call and a result with ids of 30 characters cost the 34 tokens each of a recorded session."""
    call_id = "toolu_" + "x" * 24
    items: list[Item] = [
        ToolCall(tool_call_id=call_id, name="f", arguments={}),
        ToolResult(tool_call_id=call_id, name="f", content=["x"]),
    ]
    _, messages = render_context(get_profile("anthropic"), items)
    formula = formula_for("anthropic")
    assert [formula.frame(message.body) - 4 for message in messages] == [34, 34]


def test_gemini_messages() -> None:
    """The texts and the chat of "Understand and count tokens" cost what the page says."""
    count = counter("o200k_base")
    chat = ["Hi my name is Bob", "Hi Bob!"]
    assert gemini(count, "The quick brown fox jumps over the lazy dog.") == 11
    assert gemini(count, *chat) == 10
    assert (
        gemini(count, *chat, "In one sentence, explain how a computer works to a young child.")
        == 25
    )
    assert formula_for("gemini").system(["You are a cat. Your name is Neko."]) == 0


def test_gemini_tool_definitions() -> None:
    """The four functions of "Understand and count tokens" add the 184 tokens that the page says."""
    number = {"type": "number"}
    schema = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}
    tools = [
        ToolDefinition(name=name, description=f"returns a {sign} b.", parameters=schema)
        for name, sign in [("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/")]
    ]
    assert formula_for("gemini").tools(tools, counter("o200k_base")) == 206 - 22


def test_a_profile_has_its_formula_and_any_other_the_neutral_one() -> None:
    """Formulas go by the profile's name, whatever the model."""
    for name in PROFILE_NAMES:
        assert formula_for(name, "openai/gpt-4o").name == name
    assert formula_for("gemini").name == "gemini"
    assert formula_for("no such", "gpt-4o").name == "neutral"


def test_no_tools_cost_nothing() -> None:
    """Without definitions nothing is counted, whatever the choice of tool."""
    for name in NAMES:
        assert formula_for(name).tools([], words, "gpt-4o", "required") == 0


@given(st.lists(st.sampled_from(["", "text", "two words"]), max_size=3))
def test_the_neutral_formula_is_above_all_others(texts: list[str]) -> None:
    """An unknown provider's message costs at least what each known provider would count."""
    items = [
        Message(
            role="user", content=[TextPart(text="see"), ImagePart(url="https://x.example/a.png")]
        ),
        ToolCall(tool_call_id="call", name="f", arguments={}),
        ToolResult(tool_call_id="call", name="f", content=list(texts)),
    ]
    neutral = formula_for("neutral")
    for name in PROFILE_NAMES:
        formula = formula_for(name)
        _, messages = render_context(get_profile(name), items)
        for message in messages:
            assert neutral.frame(message.body) >= formula.frame(message.body)
        assert neutral.system(texts) >= formula.system(texts)
