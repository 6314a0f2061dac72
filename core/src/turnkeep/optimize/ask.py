"""Ask: what the engine is asked about a request, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic import JsonValue, TypeAdapter, ValidationError

from turnkeep.content import Item, Usage, sum_usage
from turnkeep.context import Entry
from turnkeep.model import ModelRequest
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.plan import Optimizer
from turnkeep.prices import PriceRow
from turnkeep.repair.steps import Repair
from turnkeep.tally import Tally

Extended: TypeAlias = Callable[[Sequence[Item]], ModelRequest]


class Stage(NamedTuple):
    """A step of the pipeline, opened."""

    name: str
    optimizer: Optimizer


class Ask(NamedTuple):
    """A request about to be made: how it is counted, and what is known of it.

    `limit` is in tokens as our counter counts them. `fixed` are those of instructions and tools,
    `tokens` those of the whole, `repairs` what was repaired of it. `idle` are the seconds since the
    last request.
    """

    scale: Scale
    limit: int
    fixed: int
    tokens: int
    prices: PriceRow
    repairs: Sequence[Repair] = ()
    idle: float = 0.0
    session: str = ""
    """The session's id, by which a step tells conversations apart."""
    extended: Extended | None = None
    """Gives the request as it was about to be sent, with further items behind it."""


@dataclass
class StepReport:
    """What one step did: sizes in tokens, how many edits, or what was wrong with it."""

    name: str
    before: int
    after: int
    edits: int = 0
    notes: Mapping[str, int | str] = field(default_factory=dict)
    problem: str | None = None
    seconds: float = 0.0
    usage: Usage | None = None
    cost: float | None = None

    def was_paid(self) -> bool:
        """Tell whether a model took anything for it."""
        return bool(self.usage or self.cost)

    def told(self) -> dict[str, JsonValue]:
        """Give it as JSON."""
        told: dict[str, JsonValue] = {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "edits": self.edits,
            "seconds": self.seconds,
        }
        if self.notes:
            told["notes"] = dict(self.notes)
        if self.usage is not None:
            told["usage"] = self.usage.model_dump()
        if self.cost is not None:
            told["cost"] = self.cost
        if self.problem is not None:
            told["problem"] = self.problem
        return told

    @classmethod
    def of_told(cls, told: Any) -> StepReport | None:
        """Read what `told` gave; None for anything else."""
        try:
            return _TOLD.validate_python(told)
        except ValidationError:
            return None


_TOLD: Final = TypeAdapter(StepReport)


class Rewrite(NamedTuple):
    """A context rewritten: what a checkpoint stores."""

    entries: list[Entry]
    memory: dict[str, JsonValue]
    report: dict[str, JsonValue]
    tokens: int
    tally: Tally
    """It has followed the items of the entries."""
    paid: Sequence[StepReport] = ()
    """The steps whose models were paid for it, those before that came to nothing among them."""

    @property
    def usage(self) -> Usage | None:
        """What models took for it."""
        return sum_usage(step.usage for step in self.paid)
