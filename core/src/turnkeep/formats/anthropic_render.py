"""How items become Anthropic messages: one message for each run of one role, all of it in blocks.

Texts are always blocks, never plain strings, so that a cache marker changes nothing else.
"""

from __future__ import annotations

import base64
from typing import Final

from pydantic import JsonValue

from turnkeep.content import (
    ImagePart,
    Item,
    Message,
    Opaque,
    Part,
    Reasoning,
    TextPart,
    ToolCall,
    ToolResult,
    compact_json,
)
from turnkeep.formats.media import Media, as_media, describe, media_type, split_data_url, text_only
from turnkeep.formats.profile import SYSTEM_WRAPPER, Wire, WireMessage, is_blank, side_of

NAME: Final = "anthropic"
THINKING: Final = frozenset({"thinking", "redacted_thinking"})

MESSAGE: Final = 4
"""No figures are published for the frames of messages and blocks; these err upward."""
BLOCK: Final = 2
CALL: Final = 12
RESULT: Final = 12
IMAGE: Final = 1_600
"""Width x height / 750 tokens, and pictures over about 1.2 megapixels are shrunk ["Vision"]."""
FILE_MINIMUM: Final = 3_000
"""1,500 to 3,000 tokens a page of text, and a picture of the page ["PDF support"]."""
BASE64_PER_FILE_TOKEN: Final = 12
REDACTED_PER_TOKEN: Final = 4

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def replays(item: Reasoning | Opaque) -> bool:
    """Say whether an item is one of this provider's own blocks, and whole."""
    data = item.data
    if item.provider != NAME or not isinstance(data, dict):
        return False
    kind = data.get("type")
    if isinstance(item, Opaque):
        return isinstance(kind, str) and bool(kind)
    if kind == "thinking":
        signature = data.get("signature")
        whole = isinstance(signature, str) and signature != ""
        return whole and isinstance(data.get("thinking"), str)
    sealed = data.get("data")
    return kind == "redacted_thinking" and isinstance(sealed, str) and sealed != ""


class MessageWriter:
    """Takes items one by one; `messages` holds what is complete, `close` completes the rest."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.role = ""
        self.content: list[Wire] = []
        self.texts: list[str] = []
        self.overhead = MESSAGE

    def add(self, item: Item) -> None:
        """Take the next item; provider data that is not replayed is left out."""
        if isinstance(item, Reasoning | Opaque) and not replays(item):
            return
        role = "assistant" if side_of(item) == "assistant" else "user"
        if role != self.role:
            self.close()
            self.role = role
        if isinstance(item, Message):
            self._message(item)
        elif isinstance(item, ToolCall):
            block = {
                "type": "tool_use",
                "id": item.tool_call_id,
                "name": item.name,
                "input": item.arguments,
            }
            self.content.append(block)
            self.texts += (item.name, compact_json(item.arguments))
            self.overhead += CALL + _id_tokens(item.tool_call_id)
        elif isinstance(item, ToolResult):
            self._result(item)
        else:
            self._provider_block(item)

    def close(self) -> None:
        """Complete the message at hand."""
        if self.content:
            body = {"role": self.role, "content": self.content}
            self.messages.append(
                WireMessage(body, tuple(self.texts), self.overhead, len(self.content))
            )
        self.content, self.texts, self.overhead = [], [], MESSAGE

    def _text(self, text: str, into: list[Wire]) -> None:
        into.append({"type": "text", "text": text})
        self.texts.append(text)
        self.overhead += BLOCK

    def _message(self, item: Message) -> None:
        if item.role in {"system", "developer"}:
            self._text(SYSTEM_WRAPPER.format(text_only(item.content)), self.content)
        elif isinstance(item.content, str):
            self._text(item.content, self.content)
        else:
            for part in item.content:
                media = as_media(part)
                if media is None:
                    self._text(part.text if isinstance(part, TextPart) else "", self.content)
                elif item.role == "assistant":
                    self._text(describe(media), self.content)
                else:
                    self._media(media, self.content)

    def _result(self, item: ToolResult) -> None:
        """Add a result; texts between media become one block, joined by line ends."""
        inner: list[Wire] = []
        run: list[str] = []
        for piece in item.content:
            media = as_media(piece)
            if media is None:
                run.append(_piece_text(piece))
            elif (block := _media_block(media)) is None:
                run.append(describe(media))
            else:
                if run:
                    self._text("\n".join(run), inner)
                    run = []
                self._put_media(block, inner)
        if run:
            self._text("\n".join(run), inner)
        outer: Wire = {"type": "tool_result", "tool_use_id": item.tool_call_id, "content": inner}
        if item.status == "error":
            outer["is_error"] = True
        self.content.append(outer)
        self.overhead += RESULT + _id_tokens(item.tool_call_id)

    def _media(self, media: Media, into: list[Wire]) -> None:
        block = _media_block(media)
        if block is None:
            self._text(describe(media), into)
        else:
            self._put_media(block, into)

    def _put_media(self, block: Wire, into: list[Wire]) -> None:
        into.append(block)
        source = block["source"]
        if source["type"] == "text":
            self.texts.append(source["data"])
            self.overhead += CALL
        elif block["type"] == "image":
            self.overhead += IMAGE
        else:
            size = len(source.get("data", ""))
            self.overhead += max(FILE_MINIMUM, size // BASE64_PER_FILE_TOKEN)

    def _provider_block(self, item: Reasoning | Opaque) -> None:
        assert isinstance(item.data, dict)  # `replays` looked
        self.content.append(item.data)
        self.overhead += BLOCK
        kind = item.data["type"]
        if kind == "thinking":
            self.texts.append(str(item.data["thinking"]))
        elif kind == "redacted_thinking":
            self.overhead += len(str(item.data["data"])) // REDACTED_PER_TOKEN
        else:
            self.texts.append(compact_json(item.data))


def _piece_text(piece: str | Part | JsonValue) -> str:
    if isinstance(piece, str):
        return piece
    return piece.text if isinstance(piece, TextPart) else compact_json(piece)


def _media_block(media: Media) -> Wire | None:
    """Give the block of a picture or document, or None where the API has no form for it."""
    kind = media_type(media)
    data, url = media.data, media.url
    if url is not None and (found := split_data_url(url)) is not None:
        (kind, data), url = found, None
    source: Wire
    if url is not None:
        source = {"type": "url", "url": url}
        if not url.startswith(("http://", "https://")):
            return None
    else:
        source = {"type": "base64", "media_type": kind, "data": data}
    if isinstance(media, ImagePart):
        if url is None and kind not in IMAGE_TYPES:
            return None
        return {"type": "image", "source": source}
    if url is None and kind == "text/plain":
        try:
            text = base64.b64decode(data or "").decode()
        except UnicodeDecodeError:
            return None
        if is_blank(text):
            return None
        source = {"type": "text", "media_type": kind, "data": text}
    elif url is None and kind != "application/pdf":
        return None
    block: Wire = {"type": "document", "source": source}
    if media.name:
        block["title"] = media.name
    return block


def _id_tokens(call_id: str) -> int:
    """Count an id: random characters make about two to a token."""
    return len(call_id) // 2 + 1
