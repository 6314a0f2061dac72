"""`summarize`: the oldest groups give way to a model's summary of them, and an index behind it.

It asks for a summary of what is new, with the summary so far; what that one covers is never read
again. What cannot be summarized, for whatever reason, gives way to what `notes` would put there: a
run goes on, and the report says why.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from turnkeep.content import Item
from turnkeep.model import ModelClient
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.index import Index
from turnkeep.optimize.plan import Cover, Plan, StepFailed
from turnkeep.optimize.view import Group, View
from turnkeep.optimize.window import runs
from turnkeep_memory_summarize.asking import Asking, Outcome
from turnkeep_memory_summarize.background import Background
from turnkeep_memory_summarize.choice import Choice, choose
from turnkeep_memory_summarize.cover import CoverText, room_for_summary
from turnkeep_memory_summarize.options import SummarizeOptions
from turnkeep_memory_summarize.prompt import Prompt
from turnkeep_memory_summarize.work import index_with, work_on

IN_TIME: Final = 0.9
"""Of the seconds that a step has: what is left is for what stands in if no summary came."""
_NOT_SHORTER: Final = "the summary is not shorter than what it would stand for"


class _Ahead(NamedTuple):
    """What was summarized ahead: these of the new groups; none if it was late."""

    groups: list[Group]
    outcome: Outcome


class Summarize:
    """The step. Use it inside `async with`, or close it: it may have tasks under way.

    `client` is the model that summarizes; `own` says that it is the conversation's own, whose
    provider has the conversation in its cache. Paths in the options start from `folder`. Raises
    ConfigError for a prompt that cannot be used.
    """

    def __init__(
        self,
        client: ModelClient,
        options: SummarizeOptions | None = None,
        *,
        own: bool = False,
        folder: Path | None = None,
    ) -> None:
        self._options = options or SummarizeOptions()
        prompt = Prompt.of(self._options, folder or Path())
        self._asking = Asking(client, self._options, prompt, own=own)
        self._background = Background(self._asking)
        self._reader = FactReader()
        self._model = client.model_id
        self.seconds = self._options.timeout / IN_TIME

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way."""
        await self._background.close()

    def saw(self, item: Item) -> None:
        """Read an item's names as it comes in (see `Optimizer`)."""
        self._reader.said_in([item])

    def ahead(self, view: View) -> None:
        """Begin to summarize what the next rewrite will take out (see `Optimizer`)."""
        if not self._options.background:
            return
        # As much as will be too much once the rewrite is due.
        growth = max(view.trigger - view.tokens, 0)
        choice = choose(view, self._options, max(view.target - growth, view.standing))
        if choice is None:
            return
        begun = self._background.of(view.session)
        allowed = choice.allowed(view, self._options)
        if begun is not None and begun.matches(view, choice.kept, allowed):
            return
        if room := room_for_summary(view, choice, self._options):
            _, lines = self._index(view, choice)
            work = work_on(view, choice.kept, choice.new, lines, room)
            self._background.begin(view, choice.kept, choice.new, work, self._options.timeout)

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        seconds = self._options.timeout
        if view.deadline is not None:
            seconds = min(seconds, view.deadline * IN_TIME)
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        choice = choose(view, self._options, view.target)
        if choice is None:
            return None
        begun = self._background.of(view.session)
        ahead = await self._made_ahead(view, choice, seconds)
        try:
            return await self._go_on(view, choice, ahead, deadline)
        except asyncio.CancelledError:
            if begun is not None and ahead is not None and ahead.groups:
                self._background.keep(view.session, begun)  # it is paid, and still of use
            raise

    async def _go_on(
        self, view: View, choice: Choice, ahead: _Ahead | None, deadline: float
    ) -> Plan | None:
        """Summarize what was not summarized ahead, and make the plan."""
        clock = asyncio.get_running_loop().time
        made = [] if ahead is None else ahead.groups
        choice = choice.made_ahead(view, made) if made else choice
        kept = choice.kept
        index, lines = self._index(view, choice)
        outcome = Outcome(kept.summary) if ahead is None else ahead.outcome
        known = kept.behind + sum(lines[: len(made)]) if made else 0
        rest = choice.new[len(made) :]
        if rest and outcome.problem is None:
            if room := room_for_summary(view, choice, self._options):
                so_far = replace(kept, summary=outcome.summary, behind=0) if made else kept
                work = work_on(view, so_far, rest, lines[len(made) :], room)
                if made:  # the conversation holds all that is summarized already
                    work = replace(work, extended=None)
                left = max(deadline - clock(), 0.001)
                more = await self._asking.summarize(work, left, Outcome(None))
                known += sum(record.listed for record in work.records[: more.done])
                more.spent.plus(outcome.spent)
                outcome = more
            else:
                outcome.way = "no room for a summary"
        outcome.spent.plus(self._background.owed(view.session))
        return self._planned(view, choice, index, kept.behind + sum(lines) - known, outcome)

    def _index(self, view: View, choice: Choice) -> tuple[Index, list[int]]:
        return index_with(choice.kept.index, choice.new, view, self._reader, self._options)

    async def _made_ahead(self, view: View, choice: Choice, seconds: float) -> _Ahead | None:
        """Give what was summarized ahead, if it is of use; waits for it if it is under way."""
        begun = self._background.of(view.session)
        if begun is None:
            return None
        groups = begun.matches(view, choice.kept, choice.allowed(view, self._options))
        if groups is None:
            self._background.drop(view.session)
            return None
        if not begun.task.done():
            if not begun.is_of_this_loop:  # nothing would tell this loop that it is ready
                self._background.drop(view.session)
                return None
            # Not with a timeout around it: who cancels this plan leaves the task as it is.
            await asyncio.wait([begun.task], timeout=seconds)
        late = not begun.task.done()
        failed = late or begun.task.cancelled() or begun.outcome.problem is not None
        self._background.drop(view.session, owed=failed)
        if late:
            problem = f"the model took longer than {seconds:g} s"
            return _Ahead(
                [], Outcome(choice.kept.summary, problem=problem, way="in the background")
            )
        if failed:
            return None  # it is asked again, now; what it took is owed
        begun.outcome.way += ", in the background"
        return _Ahead(groups, begun.outcome)

    def _planned(
        self, view: View, choice: Choice, index: Index, behind: int, outcome: Outcome
    ) -> Plan | None:
        """Make the plan; raises StepFailed where nothing is shorter than what it would cover."""
        ranked = index.ranked()
        writer = CoverText(view, choice, index, ranked, self._options)
        problem, summary, kept = outcome.problem, outcome.summary, choice.kept
        text = writer.write(summary, behind)
        if text is None and summary != kept.summary:
            problem, summary = problem or _NOT_SHORTER, kept.summary
            behind = len(index.lines) - len(kept.index.lines) + kept.behind
            text = writer.write(summary, behind)
        if text is None:
            if not outcome.spent.calls:
                return None  # they are too small to be worth it
            raise StepFailed(
                problem or _NOT_SHORTER, usage=outcome.spent.usage, cost=outcome.spent.cost
            )
        if problem is not None and behind:
            problem += "; the index alone stands for what is new"
        noted = kept.covering(text, choice.groups, view, choice.own)
        noted = replace(noted, summary=summary, index=index, behind=behind)
        edits = [
            Cover(run[0], run[-1], text if number == 0 else None)
            for number, run in enumerate(runs(choice.groups))
        ]
        return Plan(
            edits,
            noted.dump(ranked),
            {
                "groups": len(choice.new),
                "groups_in_all": index.groups,
                "summary": sum(view.count([summary])) if summary else 0,
                "in_the_index_only": behind,
                **outcome.told(self._model),
            },
            problem=problem,
            usage=outcome.spent.usage,
            cost=outcome.spent.cost,
        )
