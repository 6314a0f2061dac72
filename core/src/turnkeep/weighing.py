"""Weighing: what a turn knows of its requests' tokens. One tally a form, and the reports.

Both begin with the notes that an earlier turn left in the session's head, follow the live context,
and begin anew where it was rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnkeep.content import Item, ToolDefinition, Usage
from turnkeep.context import Context
from turnkeep.formats.profile import Profile
from turnkeep.prepared import Counts, PreparedRequest
from turnkeep.sizing import Size, Sizing
from turnkeep.tally import Mark, Tally, way_of
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.formulas import Formula
from turnkeep.tokens.learned import Learned


class Weighing:
    """Follows one session's context; made for each turn."""

    def __init__(self, counter: TokenCounter, learned: Learned | None = None) -> None:
        self._sizing = Sizing(counter, learned or Learned(), learn=learned is not None)
        self._tallies: dict[str, Tally] = {}
        self._newest: Tally | None = None
        self._mark: Mark | None = None
        self._context: Context | None = None
        self._items: list[Item] | None = None

    def follow(self, context: Context, notes: Mapping[str, Any]) -> None:
        """Begin with the notes of an earlier turn if this context was not followed so far."""
        if context is not self._context:
            self._sizing.resume(context, notes)
            known = notes.get("base") == context.base
            self._mark = Mark.load(notes.get("mark")) if known else None
        elif context.items is self._items:
            return
        else:
            self._mark = None
        self._tallies, self._newest = {}, None
        self._context, self._items = context, context.items

    def tally(
        self,
        profile: Profile,
        formula: Formula,
        counter: TokenCounter,
        model: str,
        tools: Sequence[ToolDefinition],
    ) -> Tally:
        """Give the tally of this session for a way of counting (see `prepared.TallyFor`)."""
        way = way_of(profile, counter, model, tools)
        if way not in self._tallies:
            self._tallies[way] = Tally(
                profile, formula, counter, model=model, tools=tools, mark=self._mark
            )
        self._newest = self._tallies[way]
        return self._newest

    def size(self, model: str, counts: Counts) -> Size:
        """Size a request that is made of the context as it is."""
        assert self._context is not None
        return self._sizing.size(self._context, model=model, whole=counts.whole, fixed=counts.fixed)

    def reported(
        self, usage: Usage, answer: Sequence[Item], seq: int, prepared: PreparedRequest | None
    ) -> None:
        """Take a provider's report of the request that was prepared last (None: not here).

        `answer` is what its answer adds to the context, as event `seq`.
        """
        if self._context is None:
            return
        counts = None if prepared is None else prepared.counts()
        self._sizing.reported(
            usage,
            context=self._context,
            answer=answer,
            seq=seq,
            model="" if prepared is None else prepared.request.model_id or "",
            whole=None if counts is None else counts.whole,
            fixed=None if counts is None else counts.fixed,
        )

    def notes(self) -> dict[str, Any]:
        """Give what the next turn begins with, as JSON."""
        if self._context is None:
            return {}
        notes = self._sizing.notes()
        mark = None if self._newest is None else self._newest.mark()
        if mark is not None:
            notes |= {"mark": mark.dump(), "base": self._context.base}
        return notes
