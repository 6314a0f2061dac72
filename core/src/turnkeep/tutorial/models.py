"""What a conversation and a run are made of, by the tutorial's names; and traces of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from turnkeep.agent.context import (
    AgentResult,
    ExecutionContext,
    PendingToolCall,
    ToolConfirmation,
)
from turnkeep.agent.tools import BaseTool, FunctionTool, tool
from turnkeep.content import (
    Item,
    Message,
    ToolCall,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.events import Checkpoint, Decision, Event, Retract
from turnkeep.manager import InMemorySessionManager
from turnkeep.session import BaseSessionManager, Session

__all__ = [
    "AgentResult",
    "BaseSessionManager",
    "BaseTool",
    "Event",
    "ExecutionContext",
    "FunctionTool",
    "InMemorySessionManager",
    "Message",
    "PendingToolCall",
    "Session",
    "ToolCall",
    "ToolConfirmation",
    "ToolResult",
    "display_trace",
    "format_trace",
    "tool",
]

_SHOWN = 500
"""Characters that are shown of one item."""


def format_trace(context: ExecutionContext | Session | Sequence[Event]) -> str:
    """Write what happened as lines for a person: who said, called and got what, and at what cost.

    `context` is a run's context, a session, or events. Long texts are cut.
    """
    events: Iterable[Event] = context if isinstance(context, Sequence) else context.events
    lines: list[str] = []
    for number, event in enumerate(events, 1):
        head = f"{number}. {event.timestamp:%Y-%m-%d %H:%M:%S} {event.author}"
        if event.usage is not None:
            used = event.usage
            head += f"  [{used.input_tokens:,} in, {used.cached_tokens:,} of them cached, "
            head += f"{used.output_tokens:,} out]"
        lines.append(head + ("  (cut off)" if event.partial else ""))
        lines += [f"   {line}" for line in _lines(event)]
    return "\n".join(lines)


def display_trace(context: ExecutionContext | Session | Sequence[Event]) -> None:
    """Print what `format_trace` writes."""
    print(format_trace(context))


def _lines(event: Event) -> Iterator[str]:
    if isinstance(event, Decision):
        said = "approved" if event.approved else "rejected"
        why = f": {event.reason}" if event.reason else ""
        changed = "" if event.arguments is None else f" with {compact_json(event.arguments)}"
        yield f"{said} {event.tool_call_id}{changed}{why}"
    elif isinstance(event, Checkpoint):
        before, after = (event.report.get(f"tokens_{when}") for when in ("before", "after"))
        yield f"context rewritten: {before} tokens became {after}"
    elif isinstance(event, Retract):
        yield f"taken back: {f'all after {event.after}' if event.after is not None else 'items'}"
    for item in event.content:
        yield _line(item)


def _line(item: Item) -> str:
    if isinstance(item, Message):
        return _cut(f"{item.role}: {message_text(item)}")
    if isinstance(item, ToolCall):
        return _cut(f"calls {item.name}({compact_json(item.arguments)}) as {item.tool_call_id}")
    if isinstance(item, ToolResult):
        return _cut(f"{item.name} gave {item.status}: {result_text(item)}")
    return f"({item.type} of {item.provider})"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
