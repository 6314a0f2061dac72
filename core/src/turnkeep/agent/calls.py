"""Calls: which of them a decision means, which may run again, and ids that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

from turnkeep.agent.context import ToolConfirmation
from turnkeep.agent.tools import BaseTool
from turnkeep.codec import encode_object
from turnkeep.content import Item, ToolCall
from turnkeep.errors import ContentError
from turnkeep.events import new_id
from turnkeep.model import ModelAnswer
from turnkeep.turn import Turn


def matched(
    turn: Turn, tools: Mapping[str, BaseTool], confirmations: Sequence[ToolConfirmation]
) -> list[tuple[ToolCall, ToolConfirmation]]:
    """Find the waiting call of each confirmation, before any is recorded.

    Raises ContentError for one that fits no waiting call, or whose arguments the tool would not
    take.
    """
    waiting = list(turn.pending)
    found: list[tuple[ToolCall, ToolConfirmation]] = []
    for confirmation in confirmations:
        call = next(
            (each for each in waiting if each.tool_call_id == confirmation.tool_call_id), None
        )
        if call is None:
            there = ", ".join(repr(each.tool_call_id) for each in turn.pending) or "none"
            raise ContentError(
                f"session {turn.session_id!r}: no call {confirmation.tool_call_id!r} waits for a "
                f"decision (any more); waiting: {there}. It was answered before, or its session "
                "has expired"
            )
        waiting.remove(call)
        _check_changed(turn, call, tools.get(call.name), confirmation.modified_arguments)
        found.append((call, confirmation))
    return found


def _check_changed(
    turn: Turn, call: ToolCall, tool: BaseTool | None, changed: dict[str, object] | None
) -> None:
    if changed is None:
        return
    what = f"session {turn.session_id!r}: the changed arguments of {call.tool_call_id!r}"
    encode_object(changed, what)
    try:
        if tool is not None:
            tool.check(deepcopy(changed))
    except ValueError as error:
        raise ContentError(f"{what} ({call.name}): {error}") from None


def rerunnable(
    turn: Turn, tools: Mapping[str, BaseTool], deciding: Sequence[ToolCall]
) -> list[ToolCall]:
    """Give the calls that an earlier turn left open, and that do no harm when run again."""
    waiting = turn.pending
    return [
        _as_decided(turn, call)
        for call in turn.open_calls
        if call not in waiting
        and call not in deciding
        and (tool := tools.get(call.name)) is not None
        and tool.idempotent
    ]


def _as_decided(turn: Turn, call: ToolCall) -> ToolCall:
    """Give a call with the arguments that a person changed, if one did."""
    for entry in turn.context.open_calls():
        decision = turn.context.decisions.get(entry.ref)
        if entry.item is call and decision is not None and decision.arguments is not None:
            return call.model_copy(update={"arguments": decision.arguments})
    return call


def distinct(answer: ModelAnswer) -> ModelAnswer:
    """Give an answer whose calls have ids of their own: by them results and decisions find theirs.

    Some models give the same id to all calls of an answer, or none at all.
    """
    taken: set[str] = set()
    items: list[Item] = []
    for item in answer.items:
        new = item
        if isinstance(item, ToolCall):
            wanted = item.tool_call_id or f"call_{new_id()}"
            name, number = wanted, 1
            while name in taken:
                number += 1
                name = f"{wanted}__{number}"
            taken.add(name)
            if name != item.tool_call_id:
                new = item.model_copy(update={"tool_call_id": name})
        items.append(new)
    return answer if items == answer.items else replace(answer, items=items)
