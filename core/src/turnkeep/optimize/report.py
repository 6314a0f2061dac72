"""Report: what a rewrite did and what it costs, as JSON; stored with its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from turnkeep.content import Item, Message, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.optimize.economy import payback
from turnkeep.optimize.reference import mark
from turnkeep.repair.steps import Repair

if TYPE_CHECKING:
    from turnkeep.optimize.ask import Ask, StepReport
    from turnkeep.optimize.rules import Levels


def report_of(
    *,
    reason: str,
    ask: Ask,
    levels: Levels,
    growth: float,
    steps: Sequence[StepReport],
    owed: Sequence[StepReport],
    before: Sequence[Entry],
    after: Sequence[Entry],
    tokens: int,
    repairs: Sequence[Repair],
    seconds: float,
) -> dict[str, JsonValue]:
    """Tell of a rewrite: sizes in tokens, places by reference.

    `first_changed` is where the old and the new context part, `kept` what stands before it and
    stays in a provider's cache, `invalidated` what has to be written again. `payback` is after how
    many calls that has paid for itself. `for_nothing`, where it is there, are steps of earlier
    tries and discarded ones whose models were paid.
    """
    weigh = ask.scale.weigh
    place = _parting(before, after)
    kept = ask.fixed + sum(weigh(entry.item) for entry in after[:place])
    behind = max(tokens - kept, 0)
    saved = ask.tokens - tokens
    calls = payback(behind=behind, saved=saved, prices=ask.prices)
    told: dict[str, JsonValue] = {
        "reason": reason,
        "limit": ask.limit,
        "trigger": levels.trigger,
        "target": levels.target,
        "tokens_before": ask.tokens,
        "tokens_after": tokens,
        "parts_before": {"instructions and tools": ask.fixed, **_parts(before, weigh)},
        "parts_after": {"instructions and tools": ask.fixed, **_parts(after, weigh)},
        "first_changed": mark(before[place].ref) if place < len(before) else None,
        "kept": kept,
        "invalidated": behind,
        "payback_calls": None if calls is None else round(calls, 1),
        "growth": round(growth, 1),
        "idle": round(ask.idle, 3),
        "prices": ask.prices.name,
        "steps": [step.told() for step in steps],
        "repairs": len(repairs),
        "seconds": round(seconds, 6),
    }
    if owed:
        told["for_nothing"] = [step.told() for step in owed]
    return told


def _parting(before: Sequence[Entry], after: Sequence[Entry]) -> int:
    """Give the place of the first entry that is not the same item in both."""
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        if old.item is not new.item:
            return place
    return min(len(before), len(after))


_ROLES: Final = {"user": "user", "assistant": "answers"}


def _parts(entries: Sequence[Entry], weigh: Callable[[Item], int]) -> dict[str, JsonValue]:
    parts: dict[str, int] = {}
    for entry in entries:
        name = _part(entry)
        parts[name] = parts.get(name, 0) + weigh(entry.item)
    return dict(parts)


def _part(entry: Entry) -> str:
    item = entry.item
    kind = type(item)  # see ITEM_TYPES
    if entry.form == "cover":
        return "notes"
    if kind is Message:
        return _ROLES.get(item.role, "system")  # type: ignore[union-attr]  # it is one
    if kind is ToolCall:
        return "arguments"
    return "results" if kind is ToolResult else "provider data"
