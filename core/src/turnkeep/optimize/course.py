"""Course: how a session has gone since its last rewrite, kept up with what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from turnkeep.content import Item, Message, Reasoning
from turnkeep.formats.profile import side_of
from turnkeep.optimize.ask import StepReport
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.rules import Levels

ENGINE: Final = "engine"
"""The name under which the engine keeps its own notes beside those of the steps."""
_PRIOR: Final = 8
_NEAR: Final = 0.7
"""Of the way from low to high water, where a rewrite comes near."""
_AGAIN: Final = 1.1


class Course:
    """What the engine knows of one session between requests, kept up with what is new.

    `prior` is what a call added before the last checkpoint, as that says.
    """

    def __init__(self, base: int = 0, memory: Mapping[str, JsonValue] | None = None) -> None:
        self.waits = 0.0
        """Tokens below which no further try is made: each rewrite is to gain what it was made for,
        also where the one before did not get down to its target."""
        self.failed = 0.0
        """Tokens below which no try is made again that gained nothing, also with a cold cache."""
        self.leading = 0
        """Tokens of the system messages that stand before all else."""
        self.thinking = False
        """Whether the current turn holds reasoning."""
        self.owed: list[StepReport] = []
        """Steps whose models were paid although nothing came of it: told with the next rewrite."""
        self._base = base
        self._seen = 0
        self._steps = 0
        self._grown = 0
        self._side: str = "input"
        self._leads = True
        self._prior = 0.0
        self._begun = 0.0
        match (memory or {}).get(ENGINE):
            case {"growth": float() | int() as growth, "waits": float() | int() as waits}:
                self._prior, self.waits = float(growth), float(waits)

    def follow(
        self, items: Sequence[Item], scale: Scale, saw: Sequence[Callable[[Item], None]] = ()
    ) -> None:
        """Take in the items that are new; the first `base` are those of a checkpoint.

        Each of them is given to each of `saw`.
        """
        for place in range(self._seen, len(items)):
            item = items[place]
            for see in saw if place >= self._base else ():
                see(item)
            kind = type(item)  # asked for by type: see ITEM_TYPES
            role = item.role if kind is Message else ""  # type: ignore[union-attr]  # it is one
            if role in ("system", "developer"):
                if self._leads:
                    self.leading += scale.weigh(item)
            else:
                self._leads = False
            if role == "user":
                self.thinking = False
            elif kind is Reasoning and scale.replays(item):  # type: ignore[arg-type]  # it is one
                self.thinking = True
            side = side_of(item)
            if place >= self._base:
                self._grown += scale.weigh(item)
                self._steps += side == "assistant" and self._side != "assistant"
            self._side = side
        self._seen = len(items)

    def near(self, levels: Levels) -> float:
        """Give the tokens above which steps are told that a rewrite comes near."""
        return max(levels.target + _NEAR * (levels.trigger - levels.target), self._begun)

    def begun(self, tokens: int) -> None:
        """Note that they were told at so many tokens: again once it has grown some more."""
        self._begun = tokens * _AGAIN

    @property
    def growth(self) -> float:
        """Tokens that a call adds, on average; what was known before counts as some calls."""
        known = _PRIOR if self._prior else 0
        return (self._prior * known + self._grown) / max(known + self._steps, 1)
