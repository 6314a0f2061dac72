"""What a server gives back, as pieces of a tool result."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from turnkeep.content import FilePart, ImagePart
from turnkeep.errors import ToolError

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock

Piece: TypeAlias = str | ImagePart | FilePart | dict[str, Any] | list[Any] | int | float | None
"""A text, a part, or any other JSON."""


def size(result: CallToolResult) -> int:
    """Give the characters of a result, as it came: texts and base64."""
    total = 0
    for block in result.content:
        match block.type:
            case "text":
                total += len(block.text)
            case "image" | "audio":
                total += len(block.data)
            case "resource":
                total += len(getattr(block.resource, "text", "") or "")
                total += len(getattr(block.resource, "blob", "") or "")
    if result.structured_content is not None:
        total += len(json.dumps(result.structured_content, ensure_ascii=False))
    return total


def error_text(result: CallToolResult) -> str:
    """Give what a server says of a call that failed."""
    texts = [block.text for block in result.content if block.type == "text"]
    said = "\n".join(text for text in texts if text.strip())
    if not said and result.structured_content is not None:
        said = json.dumps(result.structured_content, ensure_ascii=False)
    return said or "the tool failed and did not say why"


def pieces(result: CallToolResult) -> list[Piece]:
    """Give the pieces of a result, in the server's order.

    Servers repeat structured content as text for clients that know only text. One of the two is
    left out: the text or, where the structure only wraps a value (`{"result": …}`), the structure.
    """
    texts = [block.text for block in result.content if block.type == "text"]
    structured = result.structured_content
    if structured is None:
        return [piece for block in result.content for piece in _pieces(block)]
    wrapped = isinstance(structured, dict) and set(structured) == {"result"}
    if wrapped and texts and _says(texts, structured["result"]):
        return [piece for block in result.content for piece in _pieces(block)]
    repeated = _says(texts, structured)
    found = [
        piece
        for block in result.content
        if not (repeated and block.type == "text")
        for piece in _pieces(block)
    ]
    return [*found, structured]


def returned(result: CallToolResult, limit: int | None) -> Piece | list[Piece]:
    """Give what a tool returns for a result: its one text or JSON value, or its pieces.

    Raises ToolError for a result of a call that failed, and for one of more than `limit`
    characters.
    """
    if limit is not None and (large := size(result)) > limit:
        raise ToolError(
            f"the call was made, but its result of {large:,} characters is left out, as it is "
            f"over the limit of {limit:,}; ask for less of it"
        )
    if result.is_error:
        raise ToolError(error_text(result))
    found = pieces(result)
    if len(found) == 1 and not isinstance(found[0], ImagePart | FilePart):
        return found[0]
    return found


def _says(texts: list[str], value: Any) -> bool:
    """Say whether texts are a value written as JSON, or its items one by one, or itself."""
    if isinstance(value, str) and texts == [value]:
        return True
    if len(texts) == 1 and _is(texts[0], value):
        return True
    return (
        isinstance(value, list)
        and len(value) == len(texts)
        and all(text == item or _is(text, item) for text, item in zip(texts, value, strict=True))
    )


def _is(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except (ValueError, RecursionError):
        return False


def _pieces(block: ContentBlock) -> Iterator[Piece]:
    match block.type:
        case "text":
            yield block.text
        case "image" | "audio":
            yield _media(block.data, block.mime_type)
        case "resource_link":
            yield block.model_dump(
                mode="json",
                by_alias=True,
                exclude_none=True,
                include={"type", "uri", "name", "title", "description", "mime_type", "size"},
            )
        case "resource":
            resource = block.resource
            blob = getattr(resource, "blob", None)
            if blob is None:
                yield getattr(resource, "text", "")
            else:
                name = PurePosixPath(unquote(urlsplit(resource.uri).path)).name or None
                yield _media(blob, resource.mime_type, name)


def _media(data: str, media_type: str | None, name: str | None = None) -> Piece:
    kind = media_type or "application/octet-stream"
    try:
        raw = base64.b64decode("".join(data.split()).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        return f"[{kind}: left out, as the server did not send it as base64]"
    if kind.startswith("image/"):
        return ImagePart.from_bytes(raw, kind)
    return FilePart.from_bytes(raw, kind, name=name)


_URL_SAFE = str.maketrans("-_", "+/")
