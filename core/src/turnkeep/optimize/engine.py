"""Engine: keeps a context within its limit by rare rewrites, each in one step, and tells of each.

Between rewrites a context only grows, byte for byte, so a provider's cache of it stays valid. A
rewrite runs the steps of the pipeline in order until the target is reached; each returns a plan,
which is applied to a copy of the list (items are shared, never changed), checked, and counted.
What comes out is stored as a checkpoint before any request is built on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from turnkeep.content import Item
from turnkeep.context import Entry
from turnkeep.optimize.ask import Ask, Rewrite, Stage
from turnkeep.optimize.course import Course
from turnkeep.optimize.rules import ContextRules, Levels
from turnkeep.optimize.run import Run
from turnkeep.optimize.view import View

_logger = logging.getLogger("turnkeep")


class Engine:
    """Rules and an opened pipeline; shared by all sessions of a keeper."""

    def __init__(self, rules: ContextRules, stages: Sequence[Stage]) -> None:
        self.rules = rules
        self.stages = tuple(stages)
        self.saw = [_guarded(s) for s in stages if hasattr(s.optimizer, "saw")]
        """Lets the steps see an item that enters a context."""
        self.begins = [s for s in stages if hasattr(s.optimizer, "ahead")]
        """Steps that begin before a rewrite is due."""

    def reason(self, ask: Ask, course: Course) -> tuple[str | None, Levels]:
        """Say why a rewrite is due (None if it is not), and where high and low water are."""
        levels = self.rules.levels(
            standing=min(ask.fixed + course.leading, ask.limit),
            limit=ask.limit,
            growth=course.growth,
            prices=ask.prices,
            bound=course.thinking and ask.scale.binds_thinking,
        )
        if ask.tokens > ask.limit:
            return "limit", levels
        high = max(levels.trigger, course.waits)
        if ask.tokens > high:
            return "trigger", levels
        cold = ask.prices.read < 1 and ask.idle > ask.prices.lifetime
        low = high - (levels.trigger - levels.target) / 2
        if cold and ask.tokens > max(low, course.failed):
            return "cold", levels
        return None, levels

    async def rewrite(
        self,
        entries: Callable[[], Sequence[Entry]],
        memory: Mapping[str, JsonValue],
        ask: Ask,
        course: Course,
    ) -> Rewrite | None:
        """Rewrite a context if it is time to, else give None; `course` has followed its items.

        Raises ContextOverflow where the request cannot be made to fit.
        """
        reason, levels = self.reason(ask, course)
        if reason is None:
            if self.begins and ask.tokens > course.near(levels):
                course.begun(ask.tokens)
                self._begin(self.run(entries(), memory, ask, course, levels))
            return None
        return await self.run(entries(), memory, ask, course, levels).play(reason)

    def run(
        self,
        entries: Sequence[Entry],
        memory: Mapping[str, JsonValue],
        ask: Ask,
        course: Course,
        levels: Levels,
    ) -> Run:
        """Prepare a rewriting with this pipeline."""
        return Run(
            self.stages,
            ask,
            course,
            levels,
            timeout=self.rules.step_timeout,
            entries=entries,
            memory=memory,
        )

    def _begin(self, run: Run) -> None:
        """Tell the steps that a rewrite comes near."""
        for stage in self.begins:
            ahead: Callable[[View], object] = stage.optimizer.ahead  # type: ignore[attr-defined]
            try:
                ahead(run.view(stage))
            except Exception as error:  # a stranger's step; its plan may still do
                _logger.debug("step %s failed to begin ahead", stage.name, exc_info=error)


def _guarded(stage: Stage) -> Callable[[Item], None]:
    saw: Callable[[Item], object] = stage.optimizer.saw  # type: ignore[attr-defined]  # optional

    def see(item: Item) -> None:
        try:
            saw(item)
        except Exception as error:  # a stranger's step; its plan may still do
            _logger.debug("step %s failed to see an item", stage.name, exc_info=error)

    return see
