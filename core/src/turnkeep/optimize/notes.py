"""`notes`: the oldest groups give way to a list of the names they used and an index of their steps.

No model is asked. The names are those of the agent's own calls and texts and of the user's; each
line of the index is a reference by which `recall` reads the step back. Together they stand where
the groups stood, as one message of the user's role, and grow as more groups join them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.content import Item, Message
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.index import Index, example, fitting, oldest
from turnkeep.optimize.plan import Cover, Plan
from turnkeep.optimize.view import View
from turnkeep.optimize.window import runs

HEADER: Final = (
    "[Earlier steps were taken out of this context; they are kept in the log. A reference such as "
    "{} names one.]"
)
NAMES: Final = "Names that came up: "


class NotesOptions(BaseModel):
    """How much may stand in place of what is taken out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_recent: int = Field(default=3, ge=1, description="Newest groups that are never taken out")
    names: int = Field(default=3_000, ge=0, description="Tokens for the list of names")
    index: int = Field(default=4_000, ge=0, description="Tokens for the index of steps")
    share: float = Field(
        default=0.15, gt=0, le=1, description="Of what can shrink, the most that both may take"
    )
    argument: int = Field(default=70, ge=0, description="Characters of an argument in the index")
    quote: int = Field(default=160, ge=0, description="Characters of a message in the index")


class Notes:
    """Covers the oldest groups until the target is reached."""

    def __init__(self, options: NotesOptions) -> None:
        self._options = options
        self._reader = FactReader()

    def saw(self, item: Item) -> None:
        """Read an item as it comes in (see `Optimizer`)."""
        self._reader.said_in([item])

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        options = self._options
        most = min(options.names + options.index, int(options.share * (view.limit - view.standing)))
        old, taken = oldest(view, most=most, keep_recent=options.keep_recent)
        new = [group for group in old if group.kind != "cover"]
        if not new:
            return None
        index = Index.of(view.state)
        for group in new:
            index.take(
                view.entries_of(group),
                self._reader,
                argument=options.argument,
                quote=options.quote,
            )
        ranked = index.ranked()
        text = notes_text(
            index,
            ranked,
            view,
            names=options.names,
            lines=options.index,
            most=min(most, taken * 2 // 3),
        )
        if view.weigh(Message(role="user", content=text)) >= taken:
            return None  # they are too small to be worth it
        edits = [
            Cover(run[0], run[-1], text if number == 0 else None)
            for number, run in enumerate(runs(old))
        ]
        return Plan(edits, index.dump(ranked), {"groups": len(new), "groups_in_all": index.groups})


def notes_text(
    index: Index, ranked: Sequence[str], view: View, *, names: int, lines: int, most: int
) -> str:
    """Write the notes within `most` tokens: names by rank, the index from its end back.

    `names` and `lines` are the most that each of the two may take of it.
    """
    said = fitting(ranked, min(names, most * names // max(names + lines, 1)), view, ", ")
    used = sum(view.count([f"{name}, " for name in said]))
    kept = index.listed(view, min(lines, most - used))
    parts = [HEADER.format(example(kept))]
    if said:
        parts.append(NAMES + ", ".join(sorted(said)))
    return "\n".join([*parts, *index.told(kept)])
