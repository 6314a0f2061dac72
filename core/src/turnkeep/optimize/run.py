"""Run: one rewriting of a context, from its reason to its report."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue, ValidationError

from turnkeep.content import Reasoning, Usage
from turnkeep.context import Entry
from turnkeep.errors import ContextOverflow
from turnkeep.optimize import fit
from turnkeep.optimize.ask import Ask, Rewrite, Stage, StepReport
from turnkeep.optimize.checked import Checked
from turnkeep.optimize.course import ENGINE, Course
from turnkeep.optimize.economy import LEAST_PROGRESS
from turnkeep.optimize.edits import BadEdit, apply, check_json
from turnkeep.optimize.plan import Plan, StepFailed
from turnkeep.optimize.report import report_of
from turnkeep.optimize.rules import Levels
from turnkeep.optimize.view import Grouped, View, groups_of, reweighed

_logger = logging.getLogger("turnkeep")

AGAIN: Final = 1.1
"""After a try that gained nothing, the next one waits until the context has grown by a tenth."""
STEP_SECONDS: Final = 30.0
"""What a step has that asks for no more, where `step_timeout` is not set."""
_ROOM: Final = 0.9
"""What `fit` leaves of the limit, where it can."""
_FITS: Final = 6
"""How often `fit` corrects itself: its pieces are weighed alone, the request as a whole."""


class Run:
    """One rewriting of a context."""

    def __init__(
        self,
        stages: Sequence[Stage],
        ask: Ask,
        course: Course,
        levels: Levels,
        *,
        timeout: float | None,
        entries: Sequence[Entry],
        memory: Mapping[str, JsonValue],
    ) -> None:
        self.stages = stages
        self.timeout = timeout
        self.course = course
        self.levels = levels
        self.ask = ask
        self.before = entries
        self.entries = list(entries)
        self.memory = dict(memory)
        self.tokens = ask.tokens
        self.steps: list[StepReport] = []
        self._groups: Grouped | None = None
        self.standing = min(ask.fixed + course.leading, ask.limit)

    async def play(self, reason: str) -> Rewrite | None:
        """Rewrite; None where that gains too little.

        What models took for nothing is told with the next rewrite.
        """
        try:
            rewrite = await self._play(reason)
        except BaseException:
            self._owe()
            raise
        if rewrite is None:
            self._owe()
        return rewrite

    def _owe(self) -> None:
        self.course.owed += filter(StepReport.was_paid, self.steps)
        self.steps = []

    async def _play(self, reason: str) -> Rewrite | None:
        began = time.perf_counter()
        ask, course = self.ask, self.course
        checked = await self._pipeline()
        # Just under the limit is no rest either: the next call but one would be over it again.
        if self.tokens > (_ROOM * ask.limit if reason == "limit" else ask.limit):
            checked = self._fit()
        saved = ask.tokens - self.tokens
        least = LEAST_PROGRESS * (ask.limit - self.standing)
        if self.entries == list(self.before) or (reason != "limit" and saved < least):
            course.waits = course.failed = ask.tokens * AGAIN
            return None
        waits = float(self.tokens + self.levels.trigger - self.levels.target)
        if any(step.problem for step in self.steps):
            waits = max(waits, self.tokens * AGAIN)
        owed, course.owed = course.owed, []
        report = report_of(
            reason=reason,
            ask=ask,
            levels=self.levels,
            growth=course.growth,
            steps=self.steps,
            owed=owed,
            before=self.before,
            after=self.entries,
            tokens=self.tokens,
            repairs=checked.repairs,
            seconds=time.perf_counter() - began,
        )
        self.memory[ENGINE] = {"growth": round(course.growth, 1), "waits": waits}
        paid = [*owed, *filter(StepReport.was_paid, self.steps)]
        return Rewrite(self.entries, self.memory, report, self.tokens, checked.tally, paid)

    async def _pipeline(self) -> Checked:
        """Run the steps; if what they leave breaks a rule, again, checking after each."""
        start = self.entries, dict(self.memory), self.tokens
        self.leave_reasoning_out()
        for stage in self.stages:
            if self.tokens <= self.levels.target:
                break
            await self._step(stage)
        checked = self._check()
        if checked.breaks(self.ask.repairs):
            checked = await self._step_by_step(*start)
        self.tokens = self.ask.fixed + checked.tokens
        return checked

    async def _step_by_step(
        self, entries: list[Entry], memory: dict[str, JsonValue], tokens: int
    ) -> Checked:
        """Run the steps again, and discard what the first to break a rule leaves."""
        self._restore(entries, tokens)
        self._owe()
        self.memory = memory
        self.leave_reasoning_out()
        checked = self._check()
        for stage in self.stages:
            if self.tokens <= self.levels.target:
                break
            kept = self.entries, dict(self.memory), self.tokens
            await self._step(stage)
            if self.entries is kept[0]:
                continue  # it did nothing
            after = self._check()
            if broken := after.breaks(checked.repairs):
                self._restore(kept[0], kept[2])
                self.memory = kept[1]
                step = self.steps[-1]
                step.after, step.edits = step.before, 0
                step.problem = f"its result was discarded: {broken}"
                _logger.warning("context step %s: %s", step.name, step.problem)
            else:
                checked = after
        return checked

    def _check(self) -> Checked:
        return self.ask.scale.check([entry.item for entry in self.entries])

    def leave_reasoning_out(self) -> None:
        """Leave out what was thought before the current turn, and what is bound to what changes.

        No provider wants it back, and what stood before it is about to change.
        """
        if not any(type(entry.item) is Reasoning for entry in self.entries):
            return
        groups, _, keep = self._grouped()
        newest = next((group for group in reversed(groups) if group.kind == "step"), None)
        if newest is not None and self.ask.scale.binds_thinking:
            keep = max(keep, newest.first)
        kept = [
            entry
            for place, entry in enumerate(self.entries)
            if place >= keep or type(entry.item) is not Reasoning
        ]
        if len(kept) < len(self.entries):
            self._take(kept)

    async def _step(self, stage: Stage) -> None:
        step = StepReport(stage.name, self.tokens, self.tokens)
        self.steps.append(step)
        began = time.perf_counter()
        seconds = self._seconds(stage)
        try:
            async with asyncio.timeout(seconds):
                view = self.view(stage)
                plan = await stage.optimizer.plan(view)
            if plan is not None:
                step.usage, step.cost = _usage(plan.usage), _cost(plan.cost)
            if plan is not None and plan.edits:
                self._apply(stage.name, view, plan)
                step.edits, step.notes = len(plan.edits), plan.notes
                step.problem = plan.problem and _storable(plan.problem)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is this run that is cancelled, not what the step waited for
            step.problem = "failed: what it waited for was cancelled"
        except TimeoutError:
            step.problem = f"took longer than {seconds:g} s"
        except StepFailed as error:
            step.problem = _storable(str(error))
            step.usage, step.cost = _usage(error.usage), _cost(error.cost)
        except BadEdit as error:
            step.problem = f"its plan was discarded: {error}"
        except Exception as error:  # a stranger's step: the run goes on without it
            step.problem = f"failed: {type(error).__name__}"
            _logger.debug("step %s failed", stage.name, exc_info=error)
        if step.problem is not None:
            _logger.warning("context step %s: %s", stage.name, step.problem)
        step.after = self.tokens
        step.seconds = round(time.perf_counter() - began, 6)

    def _seconds(self, stage: Stage) -> float:
        """Give the seconds that a step has: what the rules say goes before what it asks for."""
        if self.timeout is not None:
            return self.timeout
        wanted = getattr(stage.optimizer, "seconds", None)
        given = isinstance(wanted, int | float) and not isinstance(wanted, bool)
        return float(wanted) if given and wanted > 0 else STEP_SECONDS  # type: ignore[operator, arg-type]  # it is a number

    def _apply(self, name: str, view: View, plan: Plan) -> None:
        check_json([plan.state, dict(plan.notes)], "its state")
        entries = apply(view, plan)
        before = self.tokens
        self._take(entries)
        if self.tokens > before:
            raise BadEdit("it makes the context larger")
        if plan.state is not None:
            self.memory[name] = plan.state

    def _take(self, entries: list[Entry]) -> None:
        weigh, old = self.ask.scale.weigh, self.entries
        changed = (
            [place for place, entry in enumerate(entries) if entry is not old[place]]
            if len(entries) == len(old)
            else []
        )
        if changed and all(entries[place].form == "stub" for place in changed):
            # The items are smaller, the groups are the same.
            gain = sum(weigh(old[place].item) - weigh(entries[place].item) for place in changed)
            groups = self._groups and reweighed(self._groups, entries, changed, weigh)
            self._restore(entries, self.tokens - gain, groups)
            return
        before = sum(weigh(entry.item) for entry in old)
        self._restore(entries, self.tokens - before + sum(weigh(entry.item) for entry in entries))

    def _restore(self, entries: list[Entry], tokens: int, groups: Grouped | None = None) -> None:
        self.entries, self.tokens, self._groups = entries, tokens, groups

    def _grouped(self) -> Grouped:
        if self._groups is None:
            self._groups = groups_of(self.entries, self.ask.scale.weigh)
        return self._groups

    def view(self, stage: Stage | None = None) -> View:
        """Give the context as a step (None: `fit`) sees it now."""
        groups, fixed, turn = self._grouped()
        return View(
            entries=tuple(self.entries),
            groups=tuple(groups),
            fixed=fixed,
            tokens=self.tokens,
            standing=self.standing,
            limit=self.ask.limit,
            trigger=self.levels.trigger,
            target=self.levels.target,
            turn=turn,
            idle=self.ask.idle,
            prices=self.ask.prices,
            state=None if stage is None else self.memory.get(stage.name),
            deadline=None if stage is None else self._seconds(stage),
            weigh=self.ask.scale.weigh,
            count=self.ask.scale.count,
            session=self.ask.session,
            extended=self.ask.extended,
        )

    def _fit(self) -> Checked:
        """Shorten and take out until the whole request fits, as counted in its provider's form."""
        before, limit = self.tokens, self.ask.limit
        step = StepReport("fit", before, before)
        self.steps.append(step)
        began = time.perf_counter()
        checked = self._check()
        # With some room, or the next call would be over the limit again.
        goal = int(limit * _ROOM)
        for _ in range(_FITS):
            total = self.ask.fixed + checked.tokens
            if total <= goal:
                break
            view = self.view()
            if total > limit:
                plan = fit.fit(view, total - goal) or fit.fit(view, total - limit)
            else:  # room is not worth what the model has not seen yet
                view = _sparing_newest(view)
                plan = fit.fit(view, total - goal)
            goal = limit
            if plan is None:
                break
            self._take(apply(view, plan))
            step.edits += len(plan.edits)
            checked = self._check()
        self.tokens = self.ask.fixed + checked.tokens
        if self.tokens > limit and (least := self._least()) is not None:
            checked = least
            step.edits += 1
        step.after, step.seconds = self.tokens, round(time.perf_counter() - began, 6)
        if self.tokens > limit:
            raise self._overflow()
        if not step.edits:
            self.steps.remove(step)  # there was only no room to be made
        return checked

    def _least(self) -> Checked | None:
        """Go on from the least that can be left, if that fits; give None if it does not.

        What a piece saves is not always what it weighs: without what stood before it a system
        message is one of the leading ones, and what repair leaves out weighs nothing.
        """
        for entries in fit.least(self.view()):
            before = self.entries, self.tokens, self._groups
            self._restore(entries, self.tokens)
            edits, _ = fit.shrink(self.view(), self.tokens)
            self._restore(apply(self.view(), Plan(edits)), self.tokens)
            checked = self._check()
            if self.ask.fixed + checked.tokens <= self.ask.limit and not checked.breaks(
                self.ask.repairs
            ):
                self.tokens = self.ask.fixed + checked.tokens
                return checked
            self._restore(*before)
        return None

    def _overflow(self) -> ContextOverflow:
        floor: list[tuple[str, int]] = [("instructions and tools", self.ask.fixed)]
        for group in self._grouped()[0]:
            entry = self.entries[group.first]
            what = {
                "system": "a system message",
                "input": "a message of the user",
                "step": "the newest step",
                "cover": "notes",
            }[group.kind]
            floor.append((f"{what} ({entry.ref.seq}.{entry.ref.index})", group.tokens))
        return ContextOverflow(self.ask.limit, self.tokens, floor)


def _sparing_newest(view: View) -> View:
    newest = next((group for group in reversed(view.groups) if group.kind == "step"), None)
    refs = () if newest is None else (entry.ref for entry in view.entries_of(newest))
    return replace(view, fixed=view.fixed.union(refs))


def _cost(given: object) -> float | None:
    """Give what a stranger's plan says that its model cost, if it is an amount."""
    amount = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if amount and math.isfinite(given) else None  # type: ignore[arg-type]  # it is a number


def _storable(sentence: object) -> str:
    """Give a stranger's sentence as it can be stored."""
    return str(sentence).encode("utf-8", "replace").decode()


def _usage(given: object) -> Usage | None:
    """Give what a stranger's plan says that its model took, if it is a report of tokens."""
    try:
        return Usage.model_validate(given.__dict__) if isinstance(given, Usage) else None
    except ValidationError:
        return None
