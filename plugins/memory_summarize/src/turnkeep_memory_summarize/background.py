"""Background: one summary a session that is begun before it is needed.

Requests may come on several event loops, as where each is handled in a thread of its own. A task
belongs to the loop that began it: only there it can be waited for and cancelled, and where that
loop was closed first, it never ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from turnkeep.content import Item, Reasoning, Ref
from turnkeep.optimize.view import Group, View
from turnkeep_memory_summarize.asking import Asking, Outcome, Spent
from turnkeep_memory_summarize.kept import Kept
from turnkeep_memory_summarize.work import Work

MOST: Final = 256
"""Sessions that are thought ahead for; of more the oldest are dropped."""


@dataclass
class Begun:
    """A summary under way, or done: of which groups, and behind which summary."""

    digest: str
    groups: list[list[tuple[Ref, Item]]]
    task: asyncio.Task[Outcome]
    outcome: Outcome

    @property
    def is_lost(self) -> bool:
        """Whether it can never be ready: its loop was closed and has left it unfinished."""
        return not self.task.done() and self.task.get_loop().is_closed()

    @property
    def is_of_this_loop(self) -> bool:
        """Whether the loop that runs here has begun it, and so hears of its end."""
        return self.task.get_loop() is asyncio.get_running_loop()

    def matches(self, view: View, kept: Kept, allowed: Sequence[Group]) -> list[Group] | None:
        """Give its groups in a view, if they still stand there, oldest of those allowed, in order.

        An item that has been shortened meanwhile is the same one: a log only grows.
        """
        if self.digest != kept.digest or len(allowed) < len(self.groups):
            return None
        found = list(allowed[: len(self.groups)])
        for group, read in zip(found, self.groups, strict=True):
            now = [entry for entry in view.entries_of(group) if type(entry.item) is not Reasoning]
            if len(now) != len(read):
                return None
            for entry, (ref, item) in zip(now, read, strict=True):
                same = entry.item is item or entry.item == item or entry.form == "stub"
                if entry.ref != ref or not same:
                    return None
        return found


class Background:
    """The summaries under way, by session. They are in this process's memory, and nowhere else."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._begun: dict[str, Begun] = {}
        self._owed: dict[str, Spent] = {}
        """What calls took whose summaries nobody will use."""
        self._tasks: set[asyncio.Task[Outcome]] = set()

    def begin(
        self, view: View, kept: Kept, groups: Sequence[Group], work: Work, seconds: float
    ) -> None:
        """Begin one for a session, in place of what may be under way."""
        self.drop(view.session)
        while len(self._begun) >= MOST:
            self.drop(next(iter(self._begun)))
        outcome = Outcome(None)
        task = asyncio.get_running_loop().create_task(
            self._asking.summarize(work, seconds, outcome), name="turnkeep-summarize"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        read = [
            [(e.ref, e.item) for e in view.entries_of(group) if type(e.item) is not Reasoning]
            for group in groups
        ]
        self._begun[view.session] = Begun(kept.digest, read, task, outcome)

    def of(self, session: str) -> Begun | None:
        """Give what is under way or done for a session."""
        begun = self._begun.get(session)
        if begun is not None and begun.is_lost:
            self.drop(session)
            return None
        return begun

    def keep(self, session: str, begun: Begun) -> None:
        """Take back what was dropped: the plan that took it did not end."""
        self._begun.setdefault(session, begun)

    def drop(self, session: str, *, owed: bool = True) -> None:
        """Forget a session's, and end it; what it took is owed, unless it is told elsewhere."""
        begun = self._begun.pop(session, None)
        if begun is not None:
            self._end(begun.task)
            if owed and begun.outcome.spent.calls:
                self._owed.setdefault(session, Spent()).plus(begun.outcome.spent)
                while len(self._owed) > MOST:
                    del self._owed[next(iter(self._owed))]

    def owed(self, session: str) -> Spent:
        """Give what calls took that were for nothing, to be told once."""
        return self._owed.pop(session, None) or Spent()

    async def close(self) -> None:
        """End all of them, and wait until those of this loop have ended."""
        self._begun.clear()
        for task in list(self._tasks):
            self._end(task)
        here = asyncio.get_running_loop()
        ending = [task for task in list(self._tasks) if task.get_loop() is here]
        await asyncio.gather(*ending, return_exceptions=True)

    def _end(self, task: asyncio.Task[Outcome]) -> None:
        """Have a task cancelled by its own loop; let go of one that no loop runs any more."""
        loop = task.get_loop()
        if task.done() or loop.is_closed():
            self._tasks.discard(task)
        elif loop is asyncio.get_running_loop():
            task.cancel()
        else:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # it was closed at this moment
                self._tasks.discard(task)
