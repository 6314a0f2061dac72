"""Typed outputs: what a final answer is read as, and how the model is told what is wrong."""

from typing import Literal

import pytest
from pydantic import BaseModel

from turnkeep import Agent
from turnkeep.agent.output import OutputError
from turnkeep.testing.models import ScriptedModel


class City(BaseModel):
    name: str
    people: int


async def test_an_answer_becomes_the_model():
    """Also from within a fence; the schema goes out with each request, always the same."""
    model = ScriptedModel('Sure:\n```json\n{"name": "Ulm", "people": 126000}\n```')
    result = await Agent(model, output_type=City, instructions="Know cities.").run("Ulm?")
    assert result.output == City(name="Ulm", people=126_000)
    assert result.context.final_result == result.output
    system = model.requests[0]["messages"][0]["content"]
    assert system.startswith("Know cities.\n\nWhen you give your final answer")
    assert model.settings[0].output_schema["required"] == ["name", "people"]


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        (int, '{"value": 3}', 3),
        (list[str], '{"value": ["a"]}', ["a"]),
        (Literal["yes", "no"], '{"value": "no"}', "no"),
        (list[City], '{"value": [{"name": "Ulm", "people": 1}]}', [City(name="Ulm", people=1)]),
        (str, "just a text", "just a text"),
    ],
)
async def test_any_type_will_do(kind, said, value):
    """What is no object is asked for within one."""
    assert (await Agent(ScriptedModel(said), output_type=kind).run("?")).output == value


async def test_a_wrong_answer_is_corrected(manager):
    """The model is told what is wrong, and the session keeps it all."""
    model = ScriptedModel("Ulm!", '{"name": "Ulm"}', '{"name": "Ulm", "people": 1}')
    result = await Agent(model, output_type=City, session_manager=manager).run("?", session_id="s")
    assert result.output.people == 1
    assert "it is not JSON" in model.requests[1]["messages"][-1]["content"]
    assert "people: Field required" in model.requests[2]["messages"][-1]["content"]


async def test_an_answer_that_stays_wrong_is_an_error(manager):
    """After two corrections."""
    with pytest.raises(OutputError, match="also after 2 corrections"):
        await Agent(ScriptedModel("a", "b", "c"), output_type=City).run("?")


async def test_an_answer_given_again_is_typed_too(manager):
    """`resume` reads what stands in the log."""
    agent = Agent(
        ScriptedModel('{"name": "Ulm", "people": 1}'), output_type=City, session_manager=manager
    )
    await agent.run("?", session_id="s")
    assert (await agent.resume("s")).output == City(name="Ulm", people=1)
