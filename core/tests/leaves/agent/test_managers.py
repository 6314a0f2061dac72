"""Session managers of the user's own: ten lines are enough."""

import asyncio
import json

import pytest

from turnkeep import (
    Agent,
    BaseSessionManager,
    Session,
    SessionConflict,
    ToolConfirmation,
    tool,
)
from turnkeep.agent.foreign import ForeignStore
from turnkeep.testing.models import ScriptedModel


class Files(BaseSessionManager):
    """Ten lines: a file for each session."""

    def __init__(self, folder):
        self.folder = folder

    async def create(self, session_id, user_id=None):
        if (self.folder / session_id).exists():
            raise ValueError("exists")
        await self.save(session := Session(session_id=session_id, user_id=user_id))
        return session

    async def get(self, session_id):
        file = self.folder / session_id
        return Session.model_validate_json(file.read_text()) if file.exists() else None

    async def save(self, session):
        (self.folder / session.session_id).write_text(session.model_dump_json())


class Tutorials(BaseSessionManager):
    """As the tutorial keeps them: the very objects, in a dictionary."""

    def __init__(self):
        self._sessions = {}

    async def create(self, session_id, user_id=None):
        if session_id in self._sessions:
            raise ValueError(f"Session {session_id} already exists")
        self._sessions[session_id] = Session(session_id=session_id, user_id=user_id)
        return self._sessions[session_id]

    async def get(self, session_id):
        return self._sessions.get(session_id)

    async def save(self, session):
        self._sessions[session.session_id] = session


@pytest.fixture(params=["files", "tutorial's"])
def own(request, tmp_path):
    return Files(tmp_path) if request.param == "files" else Tutorials()


@tool(requires_confirmation=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def test_sessions_are_remembered(own):
    """From agent to agent, with their state."""
    await Agent(ScriptedModel("Hello"), session_manager=own).run("I'm Bo", session_id="s")
    model = ScriptedModel("Bo")
    result = await Agent(model, session_manager=own).run("who?", session_id="s")
    assert len(model.requests[0]["messages"]) == 3
    assert len((await own.get("s")).events) == len(result.context.events) == 4


async def test_approvals_work_across_agents(own, call):
    """What waits is in the log, wherever that is."""
    first = Agent(ScriptedModel(call("pay", "p", amount=3)), [pay], session_manager=own)
    assert (await first.run("pay", session_id="s")).status == "pending"
    second = Agent(ScriptedModel("done"), [pay], session_manager=own)
    yes = [ToolConfirmation(tool_call_id="p", approved=True)]
    assert (await second.resume("s", yes)).output == "done"


async def test_limits_hold_over_them(own):
    """Checkpoints are events like others."""
    limits = {"max_tokens": 1_500, "trigger": 0.5}
    for number in range(12):
        agent = Agent(ScriptedModel("fine " * 40), session_manager=own, context_limits=limits)
        await agent.run(f"{number} " + "word " * 60, session_id="s")
    assert any(event.type == "checkpoint" for event in (await own.get("s")).events)


async def test_what_they_cannot_promise_is_said_once(tmp_path, caplog):
    """At the first session."""
    agent = Agent(ScriptedModel("a", "b", "c"), session_manager=Files(tmp_path))
    for session in ("a", "b", "a"):
        await agent.run("hi", session_id=session)
    said = [r.message for r in caplog.records if "two processes" in r.message]
    assert len(said) == 1
    assert "Files keeps whole sessions" in said[0]


async def test_a_change_by_somebody_else_is_seen(tmp_path):
    """Where it shows: then the append is refused, and nothing is overwritten."""
    files = Files(tmp_path)
    store = ForeignStore(files)
    head = await store.create("s", commit_id=b"1")
    session = await files.get("s")
    session.state["mine"] = 1
    await files.save(session)
    with pytest.raises(SessionConflict):
        await store.append("s", [], expected=head.revision, commit_id=b"2", state=b"{}")
    assert json.loads((tmp_path / "s").read_text())["state"] == {"mine": 1}


async def test_runs_of_one_session_keep_out_of_each_others_way(own):
    """Within one agent, whoever comes second is told or waits."""
    agent = Agent(ScriptedModel("one", "two"), session_manager=own, on_conflict="wait")
    await asyncio.gather(*(agent.run(f"{n}", session_id="s") for n in range(2)))
    assert [e.author for e in (await own.get("s")).events] == ["user", "assistant"] * 2
