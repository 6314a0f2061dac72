"""Large inline media: stored once, in their event; checkpoints only refer to them.

A checkpoint repeats items word for word. A picture of a megabyte would be written again with each
one; instead a `BlobPart` names the event, item and part that hold it, and reading puts it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from turnkeep.content import BlobPart, FilePart, ImagePart, Item, Message, Part, Ref, ToolResult
from turnkeep.errors import CorruptSession
from turnkeep.events import Event, Placed

INLINE_LIMIT: Final = 64 * 1024
"""Bytes of inline data that a checkpoint may repeat."""

FetchEvent = Callable[[int], Awaitable[Event]]
"""Reads the event with a seq."""


def is_large(part: object) -> bool:
    """Say whether a part is too large to be repeated by a checkpoint."""
    return isinstance(part, ImagePart | FilePart) and _size(part) > INLINE_LIMIT


def refer(placed: Placed, original: Item | None = None) -> Placed:
    """Put references in place of an item's large inline parts, for use in a checkpoint.

    `original` is the item as its event has it, where that is not the same: its parts are referred
    to by their places there.
    """
    item = placed.item
    if not isinstance(item, Message | ToolResult) or isinstance(item.content, str):
        return placed
    if not any(map(is_large, item.content)):
        return placed
    whole = item if original is None else original
    assert isinstance(whole, Message | ToolResult)
    parts = list(whole.content)
    content = [
        BlobPart(
            seq=placed.seq,
            index=placed.index,
            part=parts.index(part),
            size=_size(part),
            media_type=part.media_type,
        )
        if isinstance(part, ImagePart | FilePart) and is_large(part)
        else part
        for part in item.content
    ]
    return placed.model_copy(update={"item": item.model_copy(update={"content": content})})


def references(item: Item) -> list[BlobPart]:
    """Give the references that an item holds."""
    if not isinstance(item, Message | ToolResult) or isinstance(item.content, str):
        return []
    return [part for part in item.content if isinstance(part, BlobPart)]


async def restore(item: Item, fetch: FetchEvent, *, session_id: str) -> Item:
    """Put the originals back in place of an item's references.

    Raises CorruptSession where a reference leads nowhere.
    """
    if not references(item):
        return item
    assert isinstance(item, Message | ToolResult)
    content: list[object] = []
    for part in item.content:
        if isinstance(part, BlobPart):
            original = _original(await fetch(part.seq), part)
            if original is None:
                ref = Ref(part.seq, part.index)
                raise CorruptSession(
                    session_id, part.seq, f"item {ref.index} has no part {part.part} any more"
                )
            content.append(original)
        else:
            content.append(part)
    return item.model_copy(update={"content": content})


def _original(event: Event, blob: BlobPart) -> Part | None:
    if min(blob.index, blob.part) < 0:
        return None
    try:
        item = event.content[blob.index]
        found = item.content[blob.part] if isinstance(item, Message | ToolResult) else None
    except IndexError:
        return None
    return found if isinstance(found, ImagePart | FilePart) else None


def _size(part: ImagePart | FilePart) -> int:
    data = part.data or ""
    return len(data) * 3 // 4 - data[-2:].count("=")
