"""Approvals: which calls of a context are open, what they wait for, and how they are closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from turnkeep.content import Item, Message, ToolCall, ToolResult
from turnkeep.context import Context, Entry
from turnkeep.errors import ContentError, PendingApproval
from turnkeep.events import Decision, Event
from turnkeep.results import rejection_of, result_of

INTERRUPTED: Final = "interrupted, outcome unknown"
"""The result of a call that was open when another turn began."""
_TOO_LATE: Final = "a new input came before a decision"


def calls_of(entries: Iterable[Entry]) -> list[ToolCall]:
    """Give the calls among entries."""
    return [entry.item for entry in entries if isinstance(entry.item, ToolCall)]


def open_call(context: Context, call: ToolCall, *, session_id: str) -> Entry:
    """Find the open call that is meant: this very one, else the latest with its id.

    Raises ContentError where there is none.
    """
    alike = [
        entry
        for entry in context.open_calls()
        if isinstance(entry.item, ToolCall) and entry.item.tool_call_id == call.tool_call_id
    ]
    if not alike:
        raise ContentError(
            f"session {session_id!r}: call {call.tool_call_id!r} ({call.name}) is not open; it was "
            "answered before, or never made"
        )
    same = [entry for entry in alike if entry.item is call]
    return (same or [entry for entry in alike if entry.item == call] or alike)[-1]


def decision_on(entry: Entry, *, execution_id: str, **fields: Any) -> Decision:
    """Make the event of a person's decision on a call."""
    assert isinstance(entry.item, ToolCall)
    return Decision(
        execution_id=execution_id,
        author="user",
        call=entry.ref,
        tool_call_id=entry.item.tool_call_id,
        **fields,
    )


def closing(
    context: Context,
    items: Sequence[Item],
    *,
    session_id: str,
    execution_id: str,
    on_pending: Literal["raise", "reject"],
    loaded_seq: int,
) -> list[Event]:
    """Close what an earlier turn left open, if the user speaks now in `items`.

    Calls that are answered by these very items are left to them; those behind event `loaded_seq`
    are of this turn. Raises PendingApproval where calls wait and the rules say so.
    """
    if not (opened := context.open_calls()):
        return []
    answered = {item.tool_call_id for item in items if isinstance(item, ToolResult)}
    waiting = context.pending()
    if early := [call for call in calls_of(waiting) if call.tool_call_id in answered]:
        raise PendingApproval(session_id, tuple(call.name for call in early))
    if not any(isinstance(item, Message) and item.role == "user" for item in items):
        return []
    if waiting and on_pending == "raise":
        raise PendingApproval(session_id, tuple(call.name for call in calls_of(waiting)))
    events: list[Event] = [
        decision_on(entry, execution_id=execution_id, approved=False, reason=_TOO_LATE)
        for entry in waiting
    ]
    results: list[Item] = []
    for entry in opened:
        call = entry.item
        if not isinstance(call, ToolCall) or call.tool_call_id in answered:
            continue
        if entry in waiting:
            results.append(rejection_of(call, _TOO_LATE))
        elif entry.ref.seq <= loaded_seq:
            results.append(result_of(call, INTERRUPTED, "error"))
    if results:
        events.append(Event.of_items(results, author="tool", execution_id=execution_id))
    return events
