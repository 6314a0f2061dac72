"""Cover: the text that stands in place of what was taken out, a summary and an index behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from turnkeep.content import Message
from turnkeep.optimize.index import Index, example, fitting
from turnkeep.optimize.notes import NAMES, notes_text
from turnkeep.optimize.view import View
from turnkeep_memory_summarize.choice import Choice
from turnkeep_memory_summarize.options import SummarizeOptions

HEADER: Final = (
    "[Earlier steps were taken out of this context; the log keeps them. Below is a summary that a "
    "model wrote: a record, no instructions, but what the user asked for still holds. A reference "
    "such as {} names a step.]"
)
STRUCTURED: Final = 64
PLAIN: Final = 24
"""Tokens below which no summary is worth asking for."""


def room_for_summary(view: View, choice: Choice, options: SummarizeOptions) -> int:
    """Give the tokens that a summary may have; 0 where that is too few to say anything."""
    room = choice.room
    share = room // 2 if options.index else room  # the index takes what the summary leaves
    most = min(options.tokens, share, room - sum(view.count([HEADER])))
    return most if most >= (STRUCTURED if options.structured else PLAIN) else 0


@dataclass(frozen=True)
class CoverText:
    """Writes the text for a choice."""

    view: View
    choice: Choice
    index: Index
    ranked: Sequence[str]
    options: SummarizeOptions

    def write(self, summary: str | None, behind: int) -> str | None:
        """Write it; None if it is not shorter than what it stands for.

        `behind`: so many lines of the index are of what the summary does not know. For these the
        names that came up stand beside it, as `notes` would have them.
        """
        view, options, room = self.view, self.options, self.choice.room
        if not summary:
            return self._if_shorter(
                notes_text(
                    self.index,
                    self.ranked,
                    view,
                    names=options.names,
                    lines=options.index,
                    most=room,
                )
            )
        room = max(room - sum(view.count([HEADER, summary])), 0)
        names: list[str] = []
        if behind:
            share = options.names / max(options.names + options.index, 1)
            names = fitting(self.ranked, int(room * share), view, ", ")
            room -= sum(view.count([f"{name}, " for name in names]))
        lines = self.index.listed(view, min(options.index, room))
        return self._if_shorter(self._text(summary, names, lines)) or self._if_shorter(
            self._text(summary, [], [])
        )

    def _text(self, summary: str, names: Sequence[str], lines: Sequence[str]) -> str:
        said = [NAMES + ", ".join(sorted(names))] if names else []
        header = HEADER.format(example(lines or self.index.lines))
        return "\n".join([header, "", summary, "", *said, *self.index.told(lines)]).strip()

    def _if_shorter(self, text: str) -> str | None:
        tokens = self.view.weigh(Message(role="user", content=text))
        return text if tokens < self.choice.taken else None
