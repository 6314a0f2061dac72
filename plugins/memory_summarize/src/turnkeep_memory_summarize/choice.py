"""Choice: which groups are to give way, and how many tokens may stand in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from turnkeep.optimize.index import oldest
from turnkeep.optimize.view import Group, View
from turnkeep.optimize.window import first_input
from turnkeep_memory_summarize.kept import Kept
from turnkeep_memory_summarize.options import SummarizeOptions

NEAR: Final = 0.25
"""Of the way from low to high water: as near to its target as a summary made ahead must bring a
context. Else the rest is summarized, too."""


class Choice(NamedTuple):
    """What is to be covered, and by how much."""

    kept: Kept
    own: Group | None
    """The group of the summary so far, if it stands."""
    groups: list[Group]
    """All that is to be covered, that one too."""
    most: int
    """Tokens of what may stand in their place, by the options."""

    @property
    def new(self) -> list[Group]:
        """What no summary covers yet."""
        own = -1 if self.own is None else self.own.number
        return [group for group in self.groups if group.number != own]

    @property
    def taken(self) -> int:
        """The tokens of all that is to be covered."""
        return sum(group.tokens for group in self.groups)

    @property
    def room(self) -> int:
        """The tokens of what may stand in their place."""
        return min(self.most, self.taken * 2 // 3)

    def allowed(self, view: View, options: SummarizeOptions) -> list[Group]:
        """Give all that might be summarized, oldest first."""
        first = first_input(view)
        own = -1 if self.own is None else self.own.number
        return [
            group
            for group in view.before_recent(options.keep_recent)
            if group.coverable and group is not first and group.number != own
        ]

    def made_ahead(self, view: View, ahead: Sequence[Group]) -> Choice:
        """Give a choice of what was summarized ahead, and of the rest only where it must be."""
        own = [] if self.own is None else [self.own]
        made = self._replace(groups=sorted([*own, *ahead]))
        after = view.tokens - made.taken + made.room
        near = view.target + NEAR * (view.trigger - view.target)
        return made if len(self.new) <= len(ahead) or after <= near else self


def choose(view: View, options: SummarizeOptions, target: int) -> Choice | None:
    """Choose the oldest groups; None where there is nothing new, or too little."""
    free = max(view.limit - view.standing, 0)
    most = min(options.tokens + options.index, int(options.share * free))
    kept, own = Kept.of(view.state).standing(view)
    groups, _ = oldest(view, most=most, keep_recent=options.keep_recent, target=target)
    choice = Choice(kept, own, groups, most)
    if own is not None and groups and own.number > groups[-1].number:
        # One text stands for all that was taken out, so what is between goes along.
        between = view.groups[groups[-1].number + 1 : own.number + 1]
        choice = choice._replace(groups=[*groups, *(g for g in between if g.coverable)])
    if not choice.new:
        return None
    fresh = sum(group.tokens for group in choice.new)
    if fresh < options.least * free and view.tokens <= view.trigger:
        return None  # the steps before have done nearly all of it
    return choice
