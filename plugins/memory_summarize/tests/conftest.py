"""Fixtures: sessions that outgrow their limit, and what is asked of the summarizer meanwhile."""

import json
import re
from contextlib import asynccontextmanager

import pytest

from turnkeep import Keeper, Message, ToolCall
from turnkeep.content import Usage
from turnkeep.events import Checkpoint
from turnkeep.formats import get_profile
from turnkeep.model import ModelAnswer
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel
from turnkeep_memory_summarize import Summarize, SummarizeOptions
from turnkeep_memory_summarize.prompt import HEADINGS

TOOLS = [{"name": "read_file"}]
LINE = "The parser reads src/pkg/parser_{0}.py and goes on with line {1} of the module.\n"


class Play:
    """A session with a limit whose steps are made up, and one summarizer."""

    def __init__(
        self, *answers, store=None, options=None, rules=None, profile="openai-chat", **more
    ):
        self.model = answers[0] if answers and hasattr(answers[0], "generate") else None
        self.model = self.model or ScriptedModel(*answers, **more)
        self.options = SummarizeOptions(
            **{"tokens": 400, "index": 400, "share": 0.5} | (options or {})
        )
        self.rules = {"max_tokens": 6_000, "trigger": 0.8, "target": 0.3, "arrival_cap": 0} | (
            rules or {}
        )
        self.store = store or MemoryStore()
        self.profile = profile
        self.own = False
        self.turn_timeout = 60.0
        self.before = []
        """Steps that run before it."""
        self.steps = 0
        self.reports = []
        self.request = None

    @asynccontextmanager
    async def opened(self):
        """Open a keeper with a fresh step, as after a restart."""
        async with Summarize(self.model, self.options, own=self.own) as step:
            self.step = step
            keep = Keeper(
                store=self.store,
                context=self.rules,
                optimizers=[*self.before, step],
                learn=False,
                turn_timeout=self.turn_timeout,
            )
            async with keep:
                self.keep = keep
                yield keep

    async def begin(self, turn, text="Read all of src/pkg and fix E4021. Never touch the tests."):
        await turn.add(Message(role="user", content=text))

    async def go_on(self, turn, steps=1, *, text=None, until=None):
        """Take steps as an agent would, each with a request before it; all must be valid and fit."""
        for _ in range(steps):
            request = self.request = await turn.request(
                instructions="Be brief.", tools=TOOLS, profile=self.profile
            )
            body = request.to(self.profile, cache=False)
            assert get_profile(self.profile).check(body) == []
            assert request.report(self.profile).expected <= self.rules["max_tokens"]
            if request.rewritten is not None:
                self.reports.append(json.loads(json.dumps(request.rewritten)))
                if until is not None and len(self.reports) >= until:
                    return
            self.steps += 1
            said = text or "".join(LINE.format(self.steps, line) for line in range(12))
            call = ToolCall(
                tool_call_id=f"c{self.steps}",
                name="read_file",
                arguments={"path": f"src/pkg/parser_{self.steps}.py"},
            )
            await turn.add_response(
                [Message(role="assistant", content=f"Step {self.steps}: reading."), call]
            )
            await turn.add_result(call, said)

    async def rewrites(self, count=1):
        """Play a whole session until it has been rewritten so often."""
        async with self.opened() as keep, keep.turn("s") as turn:
            await self.begin(turn)
            await self.go_on(turn, 400, until=count)
        assert len(self.reports) == count
        return self.reports

    @property
    def step_report(self):
        """What the last report says of the step."""
        return next(s for s in self.reports[-1]["steps"] if s["name"] == "summarize")

    @property
    def cover(self):
        """The text that stands in the request for what was taken out."""
        found = [i.content for i in self.request.items if getattr(i, "role", "") == "user"]
        [text] = [text for text in found if text.startswith("[Earlier steps")]
        return text

    async def checkpoints(self):
        events = (await self.keep.sessions.get("s")).events
        return [event for event in events if isinstance(event, Checkpoint)]


@pytest.fixture
def play():
    """A session that outgrows its limit; its arguments are the summarizer's answers."""
    return Play


@pytest.fixture
def summary():
    """Make a good summary with something in it."""

    def make(goal="Fix E4021.", **sections):
        return "\n".join(
            f"## {heading}\n- {sections.get(heading.split()[0].lower(), goal if heading == 'Goal' else 'none')}"
            for heading in HEADINGS
        )

    return make


@pytest.fixture
def answered():
    """Make an answer with usage and cost."""

    def make(text, finish="stop", **fields):
        fields = {"usage": Usage(input_tokens=1_000, output_tokens=100), "cost": 0.25} | fields
        items = fields.pop("items", [Message(role="assistant", content=text)])
        return ModelAnswer(items=items, finish=finish, **fields)

    return make


@pytest.fixture
def asked_for():
    """Read a request to the summarizer: the references of its records, and its whole text."""

    def read(body):
        text = body["messages"][-1]["content"]
        text = text if isinstance(text, str) else "".join(part["text"] for part in text)
        lines = [json.loads(line) for line in text.split("\n") if line.startswith("{")]
        return [each["ref"] for each in lines if re.match(r"#\d", each.get("ref", ""))], lines, text

    return read
