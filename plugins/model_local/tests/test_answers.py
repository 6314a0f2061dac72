"""Answers: whole or in pieces, held to a schema, or a call of a tool."""

import json

import pytest

from turnkeep import Message, ToolCall
from turnkeep.errors import ModelRefused
from turnkeep.model import CallDelta, ModelAnswer, ModelSettings, TextDelta
from turnkeep_model_local import LocalModel

CITY = {"type": "string", "maxLength": 12}
TOOLS = [
    {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/City"}},
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"City": CITY},
        },
    },
    {"name": "now", "parameters": {"type": "object", "additionalProperties": False}},
]
PERSON = {
    "type": "object",
    "properties": {"name": CITY, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def test_a_stream_gives_what_generate_gives(small, asking):
    """Piece by piece the same text, and the same answer at the end."""
    request = asking("What is a lighthouse?")
    async with LocalModel(**small) as model:
        whole = await model.generate(request)
        *pieces, last = [piece async for piece in model.stream(request)]
    assert all(isinstance(piece, TextDelta) for piece in pieces) and len(pieces) > 3
    assert "".join(piece.text for piece in pieces) == whole.text == last.text
    assert isinstance(last, ModelAnswer) and last.items == whole.items
    assert (whole.model, whole.cost, whole.partial) == ("smollm2", 0, False)
    assert last.usage.output_tokens == whole.usage.output_tokens > 0


async def test_an_answer_is_cut_at_the_limit(small, asking):
    """That of the call, and never more than the model's own."""
    async with LocalModel(**small) as model:
        for wanted, given in ((3, 3), (1_000, 24)):
            settings = ModelSettings(max_output=wanted)
            answer = await model.generate(asking("Tell me a long story."), settings)
            assert (answer.finish, answer.usage.output_tokens) == ("length", given)


async def test_an_answer_follows_a_schema(small, asking):
    """Whatever the model would have said."""
    async with LocalModel(**{**small, "max_output": 80}) as model:
        settings = ModelSettings(output_schema=PERSON)
        answer = await model.generate(asking("Hello!"), settings)
    person = json.loads(answer.text)
    assert person.keys() == {"name", "age"} and 1 <= person["age"] <= 99
    assert answer.finish == "stop"


async def test_a_schema_that_is_none_is_ignored(small, asking):
    """The caller checks the answer; the call is made without it, or without what is too large."""
    schemas = (
        {"$ref": "#/nowhere"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 100_000},
        {"type": "string", "minLength": 5_000},
    )
    async with LocalModel(**small) as model:
        for schema in schemas:
            settings = ModelSettings(output_schema=schema, max_output=4)
            assert (await model.generate(asking("Hello!"), settings)).text


@pytest.mark.parametrize(
    "choice", [{"name": "weather"}, pytest.param("required", marks=pytest.mark.prove)]
)
async def test_a_call_is_forced(small, asking, choice):
    """One whose arguments follow the tool's schema, references included."""
    request = asking("How is the weather in Paris?", tools=TOOLS[:1], tool_choice=choice)
    async with LocalModel(**{**small, "max_output": 60}) as model:
        *pieces, answer = [piece async for piece in model.stream(request)]
    [call] = answer.items
    assert isinstance(call, ToolCall) and (call.name, answer.finish) == ("weather", "tool_calls")
    assert call.arguments.keys() == {"city"} and len(call.arguments["city"]) <= 12
    assert [piece.name for piece in pieces] == ["weather", *[None] * (len(pieces) - 1)]
    assert all(isinstance(piece, CallDelta) for piece in pieces)
    assert json.loads("".join(piece.arguments for piece in pieces)) == call.arguments


@pytest.mark.prove
async def test_any_call_is_forced(small, asking):
    """Of the tools, the model takes one."""
    request = asking("What time is it?", tools=TOOLS, tool_choice="required")
    async with LocalModel(**{**small, "max_output": 80}) as model:
        [call] = (await model.generate(request)).tool_calls
    assert call.name in {"weather", "now"}


async def test_a_forced_call_that_is_cut_off_is_no_call(small, asking):
    """It is kept as the text it is, and left out of requests."""
    request = asking("How is the weather?", tools=TOOLS, tool_choice={"name": "weather"})
    async with LocalModel(**small) as model:
        answer = await model.generate(request, ModelSettings(max_output=2))
    assert (answer.partial, answer.finish) == (True, "length")
    assert not answer.tool_calls


@pytest.mark.parametrize(
    "choice", ["auto", *(pytest.param(each, marks=pytest.mark.prove) for each in (None, "none"))]
)
async def test_tools_may_be_offered(small, asking, choice):
    """To a model whose template knows none, too, after calls and results."""
    async with LocalModel(**small) as model:
        answer = await model.generate(asking("Hello!", tools=TOOLS, tool_choice=choice))
    assert isinstance(answer.items[0], Message)


async def test_a_choice_of_no_tool_is_refused(small, asking):
    """Before anything is computed."""
    async with LocalModel(**small) as model:
        with pytest.raises(ModelRefused, match="names no tool"):
            await model.generate(asking("Hello!", tools=TOOLS, tool_choice={"name": "other"}))
