"""Events as lines for a person to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from turnkeep.cli.table import local_time, printable
from turnkeep.content import (
    Item,
    Message,
    Opaque,
    Reasoning,
    ToolCall,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.context import Entry
from turnkeep.events import Checkpoint, Decision, Event, Retract, Tombstone
from turnkeep.session import SessionInfo

WIDTH = 100


def describe_session(info: SessionInfo, *, at: int | None = None) -> str:
    """Write what is known of a session as one line; `at`: of it as it was after that event."""
    words = printable(info.session_id)
    if info.user_id:
        words += f", user {printable(info.user_id)}"
    times = f"{local_time(info.created_at)} to {local_time(info.updated_at)}"
    words += f": {info.events} events, {times}"
    if info.forked:
        origin = printable(str(info.forked.get("session")))
        words += f", forked from {origin} at event {info.forked.get('seq')}"
    return words if at is None else f"{words}; as it was after event {at}"


_FORMS: Final = {
    "cut": "shortened as it came in",
    "stub": "shortened",
    "cover": "in place of others",
}


def describe_entry(entry: Entry, *, full: bool = False) -> Iterator[str]:
    """Write an item of a context as a line that begins with its identity, SEQ.INDEX."""
    ref, item, form = entry
    head, text = _describe(item)
    if form != "whole":
        head = f"{head} ({_FORMS[form]})"
    shown = printable(text, keep="\n\t") if full else _cut(text)
    yield f"{f'{ref.seq}.{ref.index}':>7} {printable(head)} {shown}".rstrip()


def describe_event(event: Event, *, full: bool = False) -> Iterator[str]:
    """Write an event as lines that begin with its seq; texts are cut to a line unless `full`."""
    label = f"{event.seq:>5}"
    if isinstance(event, Decision):
        verb = "approved" if event.approved else "rejected"
        yield printable(
            f"{label} {event.author} {verb} call {event.tool_call_id} of event {event.call.seq}"
        )
    elif isinstance(event, Retract):
        what = (
            f"everything after event {event.after}"
            if event.after is not None
            else ", ".join(f"{ref.seq}.{ref.index}" for ref in event.items)
        )
        yield printable(f"{label} {event.author} took back {what}")
    elif isinstance(event, Checkpoint):
        yield f"{label} checkpoint of {len(event.contents)} items"
    elif isinstance(event, Tombstone):
        why = f": {event.reason}" if event.reason else ""
        yield printable(f"{label} {event.author} ({event.was}, erased{why})")
    for item in event.content:
        head, text = _describe(item)
        partial = " (cut off)" if event.partial else ""
        shown = printable(text, keep="\n\t") if full else _cut(text)
        yield f"{label} {printable(head)}{partial} {shown}".rstrip()
        label = " " * len(label)
    if event.state is not None:
        yield f"{label} state {_cut(compact_json(event.state))}"


def _describe(item: Item) -> tuple[str, str]:
    if isinstance(item, Message):
        return item.role, message_text(item)
    if isinstance(item, ToolCall):
        return "call", f"{item.name} {compact_json(item.arguments)}"
    if isinstance(item, Reasoning):
        return "reasoning", f"({item.provider})"
    if isinstance(item, Opaque):
        return item.kind, f"({item.provider})"
    return ("result" if item.status == "success" else "error"), f"{item.name} {result_text(item)}"


def _cut(text: str) -> str:
    """Make one printable line of a text; control characters could drive the terminal."""
    line = " ".join(text[: WIDTH * 4].split())
    line = printable(line)
    return line if len(line) <= WIDTH and len(text) <= WIDTH * 4 else f"{line[: WIDTH - 1]}…"
