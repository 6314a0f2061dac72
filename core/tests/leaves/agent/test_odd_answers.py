"""Answers that are wrong, cut, or end for another reason; models and managers of one's own."""

import pytest
from pydantic import BaseModel

from turnkeep import (
    Agent,
    InMemorySessionManager,
    LlmClient,
    LlmResponse,
    Message,
    ModelUnavailable,
    tool,
)
from turnkeep.agent.output import OutputError
from turnkeep.model import ModelAnswer
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel


class City(BaseModel):
    name: str


async def test_a_wrong_typed_answer_is_not_right_the_second_time(manager):
    """`resume` corrects the model, too."""
    agent = Agent(ScriptedModel("a", "b", "c"), output_type=City, session_manager=manager)
    with pytest.raises(OutputError):
        await agent.run("?", session_id="s")
    later = Agent(ScriptedModel('{"name": "Ulm"}'), output_type=City, session_manager=manager)
    assert (await later.resume("s")).output == City(name="Ulm")


async def test_a_cut_answer_is_no_answer(manager):
    """A client that gives one as if it were whole: it is kept, and the program is told."""
    cut = ModelAnswer(items=[Message(role="assistant", content="cut te")], partial=True)
    agent = Agent(ScriptedModel(cut, "whole"), session_manager=manager)
    with pytest.raises(ModelUnavailable, match="cut off"):
        await agent.run("?", session_id="s")
    assert (await agent.resume("s")).output == "whole"


async def test_a_manager_that_does_things_of_its_own_is_asked(manager):
    """So is a client of the tutorial's whose `generate` is one's own."""
    saved = []

    class Mine(InMemorySessionManager):
        async def save(self, session):
            saved.append(session.session_id)
            await super().save(session)

    class Mock(LlmClient):
        async def generate(self, request):
            return LlmResponse(content=[Message(role="assistant", content="mocked")])

    result = await Agent(Mock("gpt-4o"), session_manager=Mine()).run("hi", session_id="s")
    assert result.output == "mocked"
    assert saved


async def test_a_model_of_ones_own_gets_what_would_be_sent(manager, call):
    """Repaired, as any other."""
    seen = []

    class Mine:
        async def generate(self, request):
            seen.append(request.contents)
            return LlmResponse(content=[Message(role="assistant", content="ok")])

    session = await manager.create("s")
    from turnkeep import Event

    session.events.append(Event(author="assistant", content=[call("lost", "x")]))
    await manager.save(session)
    await Agent(Mine(), session_manager=manager).run("hi", session_id="s")
    kinds = [item.type for item in seen[0]]
    assert kinds.count("tool_call") == kinds.count("tool_result")


async def test_why_the_model_stopped_is_told():
    """An answer that met its limit looks like any other."""
    cut = ModelAnswer(items=[Message(role="assistant", content="once")], finish="length")
    result = await Agent(ScriptedModel(cut)).run("tell")
    assert (result.status, result.finish) == ("complete", "length")


def test_a_model_is_opened_again_on_another_loop(monkeypatch):
    """A script that runs twice finds it open; so does one with a client of the tutorial's."""
    from contextlib import asynccontextmanager

    from turnkeep.agent import models
    from turnkeep.tutorial import llm

    opened, closed = [], []

    @asynccontextmanager
    async def opening(name, **options):
        opened.append(name)
        try:
            yield ScriptedModel("ok")
        finally:
            closed.append(name)

    monkeypatch.setattr(models, "open_model", opening)
    monkeypatch.setattr(llm, "open_model", opening)
    for model in ("some-model", LlmClient("some-model")):
        opened.clear()
        agent = Agent(model)
        assert [agent.run_sync("hi").output for _ in range(2)] == ["ok", "ok"]
        assert len(opened) == 2
    assert len(closed) >= 2


async def test_an_agent_of_a_keeper_follows_its_rules(call):
    """What a new input does to a call that waits is told once, in the configuration."""
    from turnkeep import Keeper

    @tool(requires_confirmation=True)
    def pay():
        return "paid"

    async with Keeper(store=MemoryStore(), on_pending="reject") as keep:
        agent = Agent(ScriptedModel(call("pay", "p"), "ok"), [pay], keeper=keep)
        await agent.run("go", session_id="s")
        assert (await agent.run("rather not", session_id="s")).output == "ok"
