"""Weighing: what a turn knows of its requests' tokens. One tally a form, and the reports.

Both begin with the notes that an earlier turn left in the session's head, follow the live context,
and begin anew where it was rewritten. Nothing of this may end a turn: what fails is logged and left
out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from turnkeep.content import Item, Usage
from turnkeep.context import Context
from turnkeep.prepared import PreparedRequest, SizeOf, TallyFor
from turnkeep.sizing import Counted, Size, Sizing, Undo
from turnkeep.tally import Mark, Tally, Way
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.learned import Learned

_logger = logging.getLogger("turnkeep")

TALLIES: Final = 4
"""Ways of counting that are followed at once; a program with ever new tools has ever new ones."""


class Weighing:
    """Follows one session's context; made for each turn."""

    def __init__(
        self, counter: TokenCounter, learned: Learned | None = None, *, arrival: str = ""
    ) -> None:
        self._arrival = arrival
        """How items are shortened as they come in: notes of another way are of other items."""
        self._sizing = Sizing(counter, learned or Learned(), learn=learned is not None)
        self._tallies: dict[str, Tally] = {}
        self._mark: Mark | None = None
        self._context: Context | None = None
        self._items: list[Item] | None = None

    def follow(self, context: Context, notes: Mapping[str, Any]) -> None:
        """Begin with the notes of an earlier turn if this context was not followed so far."""
        if context is self._context and context.items is self._items:
            return
        self._mark = None
        if context is not self._context:
            same = notes.get("arrival", "") == self._arrival
            self._sizing.resume(context, notes if same else {**notes, "anchor": None})
            if same and notes.get("base") == context.base:
                self._mark = Mark.load(notes.get("mark"))
        self._tallies = {}
        self._context, self._items = context, context.items

    def tally_for(self) -> TallyFor:
        """Give what gives the tallies of requests that are made of the context as it is now."""
        return partial(self._tally, self._items)

    def adopt(self, tally: Tally) -> None:
        """Go on with a tally that has followed the items of the context as it is now."""
        self._tallies[tally.way.name] = tally

    def size_of(self, model: str) -> SizeOf:
        """Give what sizes a request that is made of the context as it is now."""
        return partial(self._size, self._context, model)

    def factor(self, model: str) -> float:
        """Give how many of the provider's tokens one of ours is, as far as reports have taught."""
        return self._sizing.correction(model).factor

    def reported(
        self,
        usage: Usage,
        answer: Sequence[Item],
        seq: int,
        prepared: PreparedRequest | None,
        upto: int,
    ) -> Undo:
        """Take a provider's report of the request that was prepared last (None: not here).

        `answer` is what its answer adds to the context, as event `seq`; `upto` the last event that
        the request held. Gives a call that takes it back.
        """
        model = "" if prepared is None else prepared.request.model_id or ""
        try:
            assert self._context is not None, "follow first"
            return self._sizing.reported(
                usage,
                context=self._context,
                answer=answer,
                seq=seq,
                upto=upto,
                model=model,
                counted=None if prepared is None else prepared.counted(),
            )
        except Exception as error:  # an answer was paid for: it must be stored
            _logger.debug("a report of tokens could not be taken", exc_info=error)
            return lambda: None

    def teach(self, prepared: PreparedRequest | None) -> None:
        """Let other sessions begin with what this one has learned."""
        self._sizing.teach("" if prepared is None else prepared.request.model_id or "")

    def notes(self) -> dict[str, Any]:
        """Give what the next turn begins with, as JSON; nothing where it cannot be told."""
        if self._context is None:
            return {}
        try:
            notes = self._sizing.notes()
            newest = next(reversed(self._tallies.values()), None)
            mark = None if newest is None else newest.mark()
        except Exception as error:  # the turn's last answer is stored with them
            _logger.debug("what is known of tokens could not be noted", exc_info=error)
            return {}
        # A context that was rewritten since has another list, of which nothing is counted yet.
        if mark is not None and self._items is self._context.items:
            notes |= {"mark": mark.dump(), "base": self._context.base}
        if self._arrival:
            notes["arrival"] = self._arrival
        return notes

    def _tally(self, items: list[Item] | None, way: Way) -> Tally | None:
        if items is not self._items:
            return None  # of a context that is no more
        name = way.name
        tally = self._tallies.pop(name, None) or Tally(way, mark=self._mark)
        self._tallies[name] = tally
        while len(self._tallies) > TALLIES:
            del self._tallies[next(iter(self._tallies))]
        return tally

    def _size(self, context: Context | None, model: str, counted: Counted) -> Size | None:
        if context is None or context is not self._context:
            return None
        return self._sizing.size(context, model=model, counted=counted)
