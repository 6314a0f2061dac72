"""Bench: a scene put before the engine, as a turn would put it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnkeep.content import Item, Model, ToolResult
from turnkeep.context import Entry
from turnkeep.optimize import fit
from turnkeep.optimize.ask import Ask, Rewrite, Stage
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.course import Course
from turnkeep.optimize.edits import apply
from turnkeep.optimize.engine import Engine
from turnkeep.optimize.plan import Cover, Optimizer, Plan, Replace
from turnkeep.optimize.rules import ContextRules
from turnkeep.optimize.run import Run
from turnkeep.optimize.view import View
from turnkeep.prepared import PreparedRequest
from turnkeep.prices import price_row
from turnkeep.testing.optimizers.scenes import DECLARED, INSTRUCTIONS, Scene
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.memo import Memo

_COUNTER: Final = Memo(EstimateCounter())
TRIGGER: Final = 0.5
TARGET: Final = 0.25


class _Idle:
    """Stands for the step whose view is wanted where the pipeline is empty."""

    async def plan(self, view: View) -> None:
        """Plan nothing."""


class Bench:
    """A scene with everything that the engine wants to know of it, and a pipeline."""

    def __init__(
        self, scene: Scene, optimizers: Sequence[Optimizer] = (), *, seconds: float = 30.0
    ) -> None:
        self.scene = scene
        weighed = prepared(scene.items).weighed(scene.profile)
        self.scale = Scale(weighed.way, INSTRUCTIONS)
        self.course = Course()
        self.course.follow(scene.items, self.scale)
        rules = ContextRules(
            max_tokens=scene.limit, trigger=TRIGGER, target=TARGET, step_timeout=seconds
        )
        stages = [Stage(f"step{number}", each) for number, each in enumerate(optimizers)]
        self.engine = Engine(rules, stages)
        prices = price_row("anthropic-5m")
        self.ask = Ask(
            self.scale, scene.limit, weighed.fixed, weighed.tokens, prices, weighed.repairs
        )

    def view(self, name: str = "step0") -> View:
        """Give the view that the first step of the pipeline has."""
        run = self._run(self.scene.entries)
        run.leave_reasoning_out()
        stages = {stage.name: stage for stage in self.engine.stages}
        return run.view(stages.get(name) or Stage(name, _Idle()))

    async def rewrite(self) -> Rewrite | None:
        """Rewrite the context if it is time to. Raises ContextOverflow."""
        entries = list(self.scene.entries)
        return await self.engine.rewrite(lambda: entries, self.scene.memory, self.ask, self.course)

    def floor(self) -> int:
        """Give the tokens of the least that may be left: what is fixed, and the newest step."""
        view = self.view()
        newest = next((group for group in reversed(view.groups) if group.kind == "step"), None)
        keep = [
            entry
            for group in view.groups
            if not group.coverable or group == newest
            for entry in view.entries_of(group)
        ]
        run = self._run(keep)
        edits, _ = fit.shrink(run.view(), 10**9)
        least = apply(run.view(), Plan(edits))
        return self.ask.fixed + self.scale.check([entry.item for entry in least]).tokens

    def _run(self, entries: Sequence[Entry]) -> Run:
        _, levels = self.engine.reason(self.ask, self.course)
        return self.engine.run(entries, self.scene.memory, self.ask, self.course, levels)


def prepared(items: Sequence[Item], *, fresh: bool = False) -> PreparedRequest:
    """Prepare a request of a scene's session; `fresh`: counted by what remembers nothing."""
    return PreparedRequest.of_items(
        items,
        instructions=INSTRUCTIONS,
        tools=DECLARED,
        session_id="s",
        counter=EstimateCounter() if fresh else _COUNTER,
    )


def body_of(scene: Scene, items: Sequence[Item]) -> Mapping[str, Any]:
    """Give the request's body in the scene's form."""
    return prepared(items).to(scene.profile, cache=False)


def told(plan: Plan | None) -> str:
    """Write a plan as JSON, so that two can be compared wherever they were made."""
    if plan is None or not plan.edits:
        return "nothing"
    edits: list[Any] = []
    for edit in plan.edits:
        if isinstance(edit, Replace):
            edits.append(["replace", *edit.entry.ref, _plain(edit.content)])
        elif isinstance(edit, Cover):
            edits.append(["cover", edit.first.first, edit.last.last, edit.text])
        else:
            edits.append(["?", repr(type(edit))])
    return json.dumps([edits, plan.state, dict(plan.notes)], default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    return f"?{type(value).__name__}"


def frozen(entries: Sequence[Entry]) -> str:
    """Write entries as JSON, each with its identity and form."""
    return json.dumps(
        [[*entry.ref, entry.form, entry.item.model_dump(mode="json")] for entry in entries]
    )


def text_in(content: Any) -> str:
    """Give all texts of a content, or of an item, as one."""
    if isinstance(content, ToolResult):
        content = content.content
    if isinstance(content, Model):
        content = content.model_dump(mode="json")
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return "\n".join(text_in(below) for below in content.values())
    if isinstance(content, list | tuple):
        return "\n".join(map(text_in, content))
    return ""
