"""What an optimizer is, and what it may ask for: a closed set of edits, applied by the engine.

An author writes one async function over an immutable view and returns edits. What is hard stays
with the framework: that the request is valid and fits, that nothing is lost, when to run, what to
store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from pydantic import JsonValue

from turnkeep.content import Part, ResultPiece, Usage
from turnkeep.context import Entry
from turnkeep.errors import TurnkeepError
from turnkeep.optimize.view import Group, View

Content: TypeAlias = str | Sequence[Part] | Sequence[ResultPiece] | Mapping[str, JsonValue]
"""Of a message its text or parts, of a result its pieces, of a call its arguments."""


@dataclass(frozen=True)
class Replace:
    """Put a shorter content in an item: same type of item, fewer tokens.

    Never in reasoning, in what is pinned, in instructions, or in the user's current message.
    """

    entry: Entry
    content: Content


@dataclass(frozen=True)
class Cover:
    """Put one text of the user's role, or nothing, in place of a run of whole groups.

    Never of what is pinned, of instructions, of the user's current message, or of calls that still
    want a result.
    """

    first: Group
    last: Group
    text: str | None = None


Edit: TypeAlias = Replace | Cover


@dataclass(frozen=True)
class Plan:
    """What to do.

    `state` is kept with the checkpoint for the step's next run (None: the old one stays); `notes`
    are figures for the report. `problem` says what went wrong although there is a plan, `usage`
    and `cost` (US dollars) what a model took for it.
    """

    edits: Sequence[Edit]
    state: JsonValue = None
    notes: Mapping[str, int | str] = field(default_factory=dict)
    problem: str | None = None
    usage: Usage | None = None
    cost: float | None = None


class StepFailed(TurnkeepError):
    """Raised by a step that has no plan: its sentence goes into the report.

    It holds no piece of a conversation. `usage` and `cost` (US dollars) are what a model took all
    the same.
    """

    def __init__(
        self, sentence: str, *, usage: Usage | None = None, cost: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.usage = usage
        self.cost = cost


class Optimizer(Protocol):
    """One step of a pipeline. A plan is a matter of the view alone: the same view, the same plan.

    None, or a plan without edits, means there is nothing to do. What raises or takes too long is
    skipped and named in the report; a plan that breaks a rule is discarded.

    An optimizer may have a method `saw(item)`: it is called with each item that enters a context,
    to prepare what a plan will need. A request waits for a plan, and for an arrival it need not.
    It may have an attribute `seconds`: how long a plan may take where `[context] step_timeout` says
    nothing (30 without it).
    It may have a method `ahead(view)`: it is called when a rewrite comes near, and returns at once;
    what it begins in the background a later plan may use.
    """

    async def plan(self, view: View) -> Plan | None:
        """Say how to make the context smaller, down to `view.target` if it can be."""
        ...
