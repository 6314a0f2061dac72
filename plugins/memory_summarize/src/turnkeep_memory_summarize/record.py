"""Records: items as data, one JSON object a line, in a block that nothing in them can end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import (
    Message,
    Ref,
    ToolCall,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.context import Entry
from turnkeep.optimize.reference import mark
from turnkeep.optimize.shorten import Count, ends, media_note

HISTORY: Final = "history"
SUMMARY: Final = "summary_so_far"
_TRIES: Final = 8
_HEAD: Final = 0.6


class Record(NamedTuple):
    """One item, ready to be read by a model.

    `listed` is how many lines of the index are known to whoever has read it; the last record of a
    group has them all.
    """

    data: dict[str, Any]
    ref: Ref
    listed: int = 0

    @property
    def line(self) -> str:
        """The line as it is sent."""
        return as_line(self.data)


def records_of(entries: Sequence[Entry], listed: int) -> list[Record]:
    """Give the records of a group; what nobody can read in it has none."""
    found = [Record(data, entry.ref) for entry in entries if (data := _data(entry)) is not None]
    if found:
        found[-1] = found[-1]._replace(listed=listed)
    elif listed:
        found = [Record({"from": "log", "ref": mark(entries[0].ref)}, entries[0].ref, listed)]
    return found


def records_of_lines(lines: Iterable[str]) -> Iterator[Record]:
    """Give the records of steps that are gone: only their lines in the index are left."""
    for line in lines:
        yield Record({"from": "index", "text": line}, Ref(1, 0), 1)


def summary_block(text: str) -> str:
    """Set the summary so far apart."""
    return block(SUMMARY, [as_line({"from": "summary", "text": text})])


def block(name: str, lines: Iterable[str]) -> str:
    """Set lines apart by a tag. Nothing in a line ends it, as `as_line` escapes what would."""
    return "\n".join([f"<{name}>", *lines, f"</{name}>"])


def as_line(data: dict[str, Any]) -> str:
    """Write a record as one line of JSON, in which no tag can be closed."""
    return compact_json(data).replace("</", "<\\/")


def shortened(record: Record, most: int, count: Count) -> Record:
    """Cut a record so that its line has at most `most` tokens: both ends stay, and a marker."""
    tokens = count([record.line])[0]
    if tokens <= most:
        return record
    key = "arguments" if "call" in record.data else "text"
    value = record.data.get(key, "")
    text = value if isinstance(value, str) else compact_json(value)
    keep = len(text) * most // tokens
    for _ in range(_TRIES):
        head = round(keep * _HEAD)
        cut = ends(text, head, keep - head, record.ref) if keep > 1 else "[left out]"
        shorter = record._replace(data={**record.data, key: cut})
        now = count([shorter.line])[0]
        if now <= most or keep <= 1:
            break
        keep = min(keep * most // now, keep - 1) * 9 // 10
    return shorter


def _data(entry: Entry) -> dict[str, Any] | None:
    item = entry.item
    if isinstance(item, Message):
        text = message_text(item)
        if entry.form == "cover":
            return {"from": "notes", "text": text}
        media = {} if isinstance(item.content, str) else _media(item.content)
        return {"ref": mark(entry.ref), "from": item.role, "text": text, **media}
    if isinstance(item, ToolCall):
        return {
            "ref": mark(entry.ref),
            "from": "assistant",
            "call": item.name,
            "arguments": item.arguments,
        }
    if isinstance(item, ToolResult):
        failed = {"failed": True} if item.status == "error" else {}
        return {
            "ref": mark(entry.ref),
            "from": "tool",
            "tool": item.name,
            **failed,
            "text": result_text(item),
            **_media(item.content),
        }
    return None  # a provider's own: no other model reads it


def _media(pieces: Sequence[Any]) -> dict[str, str]:
    note = media_note(pieces)
    return {"media": note} if note else {}
