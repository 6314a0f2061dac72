"""Pictures and documents inside messages: their types, data URLs, and a text to stand for them."""

from __future__ import annotations

import base64
import binascii
from typing import Final, TypeAlias

from turnkeep.content import BlobPart, FilePart, ImagePart, Part, TextPart
from turnkeep.errors import ContentError

Media: TypeAlias = ImagePart | FilePart

_MAGIC: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
"""How the base64 of a picture begins, by format: for pictures that came without their type."""


def media_type(part: Media) -> str | None:
    """Give the media type as said, or as an inline picture's first bytes show it."""
    if part.media_type is not None or part.data is None:
        return part.media_type
    for start, name in _MAGIC.items():
        if part.data.startswith(start):
            return name
    return None


def data_url(part: Media) -> str:
    """Write inline data as a data URL (RFC 2397)."""
    return f"data:{media_type(part) or 'application/octet-stream'};base64,{part.data}"


def split_data_url(url: str) -> tuple[str, str] | None:
    """Give the media type and the base64 of a data URL, or None if it is not such a URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return head[len("data:") : -len(";base64")], data


def describe(part: Media) -> str:
    """Give the text that stands for a part where a provider has no form for it."""
    facts = [part.name] if isinstance(part, FilePart) and part.name else []
    if part.url is not None and not part.url.startswith("data:"):
        facts.append(part.url)
    if part.media_type:
        facts.append(part.media_type)
    return f"[{part.type}: {', '.join(facts) or 'inline'}]"


def as_media(piece: object) -> Media | None:
    """Give the piece if it is a picture or a document.

    Raises ContentError for a blob, whose bytes are elsewhere.
    """
    if isinstance(piece, ImagePart | FilePart):
        return piece
    if isinstance(piece, BlobPart):
        raise ContentError(
            f"a blob part (event {piece.seq}, item {piece.index}, part {piece.part}) cannot be "
            "rendered: put the original part in its place first"
        )
    return None


def text_only(content: str | list[Part]) -> str:
    """Write content as one text, with a text in place of each picture and document."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        media = as_media(part)
        if media is not None:
            texts.append(describe(media))
        elif isinstance(part, TextPart):
            texts.append(part.text)
    return "\n".join(texts)
