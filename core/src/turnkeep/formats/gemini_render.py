"""How items become Gemini contents: one for each run of the model's, of results, of input.

A thought signature belongs to the part that it came on. The reader keeps it there, in the extra
field `gemini` of the call or message, so it moves and goes with it; a first call of a step that has
none gets the documented placeholder (ai.google.dev/gemini-api/docs/thought-signatures, FAQ).
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import (
    FilePart,
    Item,
    Message,
    Model,
    Opaque,
    Reasoning,
    TextPart,
    ToolCall,
    ToolResult,
    compact_json,
    result_text,
)
from turnkeep.formats.media import Media, as_media, describe, media_type, split_data_url, text_only
from turnkeep.formats.profile import SYSTEM_WRAPPER, Wire, WireMessage, is_blank, side_of

NAME: Final = "gemini"
OWN: Final = "gemini"
"""The extra field of an item that holds what only this API has."""
SIGNATURE: Final = "thoughtSignature"
PLACEHOLDER: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini 3 did not make, or that lost it. The page names
this value for "transferring history from other models" and for calls that were injected; Google
Cloud's page on the same names only this one of the two."""

MESSAGE: Final = 4
"""No figures are published for frames; these err upward."""
CALL: Final = 12
RESULT: Final = 12
IMAGE: Final = 6_192
"""24 tiles of 258 ["Image understanding"], the most of a large picture before Gemini 3."""
FILE_MINIMUM: Final = 3_000
BASE64_PER_FILE_TOKEN: Final = 12
SIGNED_PER_TOKEN: Final = 4

MEDIA_BESIDE: Final = "(see the parts of this response)"
"""Output of a result that holds media only."""
IMAGE_TYPES: Final = frozenset(
    {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}
)
"""["Image understanding"]."""
IN_RESPONSE: Final = frozenset(
    {"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"}
)
"""Media that go into a response; a cautious list, others are named in its text."""
_SUFFIXES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".pdf": "application/pdf",
}
_DATA: Final = frozenset({"functionCall", "functionResponse"})
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\Z")
_NEEDED: Final = {"inlineData": ("mimeType", "data"), "fileData": ("fileUri",)}
_BESIDE: Final = frozenset(
    {"thought", SIGNATURE, "partMetadata", "videoMetadata", "mediaResolution"}
)


def own(item: Model) -> dict[str, Any]:
    """Give what the reader kept of this API on an item, {} for items from elsewhere."""
    found = (item.__pydantic_extra__ or {}).get(OWN)
    return found if isinstance(found, dict) else {}


def replays(item: Reasoning | Opaque) -> bool:
    """Say whether an item is a part of this provider's own that can stand alone."""
    data = item.data
    if item.provider != NAME or not isinstance(data, dict):
        return False
    text, signed = data.get("text"), SIGNATURE in data
    if signed and not _is_signature(data[SIGNATURE]):
        return False
    said = isinstance(text, str) and (signed or not is_blank(text))
    if isinstance(item, Reasoning):
        return data.get("thought") is True and said
    kinds = data.keys() - _BESIDE
    if len(kinds) != 1 or kinds & _DATA:
        return False
    [kind] = kinds
    value = data[kind]
    if kind == "text":
        return said
    needed = _NEEDED.get(kind, ())
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in needed)


class ContentWriter:
    """Takes items one by one; `messages` holds what is complete, `close` completes the rest."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.side = ""
        self.parts: list[Wire] = []
        self.texts: list[str] = []
        self.overhead = MESSAGE
        self.names: dict[str, str] = {}
        """The tool of the latest call with each id."""
        self.nameless: set[str] = set()
        """Calls that came without an id: neither they nor their responses are sent with one."""

    def add(self, item: Item) -> None:
        """Take the next item; provider data that is not replayed is left out."""
        if isinstance(item, Reasoning | Opaque) and not replays(item):
            return
        side = side_of(item)
        if side != self.side:
            self.close()
            self.side = side
        if isinstance(item, Message):
            self._message(item)
        elif isinstance(item, ToolCall):
            self._call(item)
        elif isinstance(item, ToolResult):
            self._result(item)
        else:
            self._part(item)

    def close(self) -> None:
        """Complete the content at hand."""
        if self.parts:
            # Function responses stand in a content of their own: mixed with text, the API has
            # taken them for the model's (github.com/pydantic/pydantic-ai/issues/4210).
            body = {"role": "model" if self.side == "assistant" else "user", "parts": self.parts}
            self.messages.append(
                WireMessage(body, tuple(self.texts), self.overhead, len(self.parts))
            )
        self.parts, self.texts, self.overhead = [], [], MESSAGE

    def _text(self, text: str, beside: Wire | None = None) -> None:
        self.parts.append({"text": text, **(beside or {})})
        self.texts.append(text)

    def _message(self, item: Message) -> None:
        if item.role in {"system", "developer"}:
            self._text(SYSTEM_WRAPPER.format(text_only(item.content)))
        elif isinstance(item.content, str):
            beside = _beside(item) if item.role == "assistant" else {}
            self.overhead += _sealed(beside)
            self._text(item.content, beside)
        else:
            for part in item.content:
                media = as_media(part)
                if media is None:
                    self._text(part.text if isinstance(part, TextPart) else "")
                elif item.role == "assistant" or (made := _media(media)) is None:
                    self._text(describe(media))
                else:
                    self.parts.append(made)
                    self.overhead += _media_tokens(made)

    def _call(self, item: ToolCall) -> None:
        call_id = item.tool_call_id
        first = not any("functionCall" in part for part in self.parts)
        self.names[call_id] = item.name
        call: Wire = {"name": item.name, "args": item.arguments}
        if own(item).get("id") is False:
            self.nameless.add(call_id)
        else:
            self.nameless.discard(call_id)
            call = {"id": call_id, **call}
        beside = _beside(item)
        if first and SIGNATURE not in beside:
            beside = {**beside, SIGNATURE: PLACEHOLDER}
        self.parts.append({"functionCall": call, **beside})
        self.texts += (item.name, compact_json(item.arguments))
        self.overhead += CALL + _id_tokens(call_id) + _sealed(beside)

    def _result(self, item: ToolResult) -> None:
        call_id = item.tool_call_id
        response: Wire = {} if call_id in self.nameless else {"id": call_id}
        response["name"] = self.names.get(call_id) or item.name or "unknown"
        parts: list[Wire] = []
        pieces: list[Any] = []
        for piece in item.content:
            media = as_media(piece)
            made = None if media is None else _media(media, IN_RESPONSE)
            if made is not None and "inlineData" in made:
                parts.append(made)
                self.overhead += _media_tokens(made)
            else:
                pieces.append(piece if media is None else describe(media))
        value = _value(item, pieces)
        if parts and isinstance(value, str) and is_blank(value):
            value = MEDIA_BESIDE
        about = own(item)
        if item.status == "error":
            response["response"] = {"error": value}
        elif about.get("bare") is True and isinstance(value, dict):
            response["response"] = value
        else:
            response["response"] = {"result" if about.get("key") == "result" else "output": value}
        if parts:
            response["parts"] = parts
        self.parts.append({"functionResponse": response})
        self.texts.append(value if isinstance(value, str) else compact_json(value))
        self.overhead += RESULT + _id_tokens(call_id)

    def _part(self, item: Reasoning | Opaque) -> None:
        assert isinstance(item.data, dict)  # `replays` looked
        self.parts.append(item.data)
        self.overhead += _sealed(item.data)
        text = item.data.get("text")
        self.texts.append(text if isinstance(text, str) else compact_json(item.data))


def _beside(item: Model) -> Wire:
    """Give the other fields of the part that an item came in; not a signature that is none."""
    found = own(item).get("part")
    if not isinstance(found, dict):
        return {}
    if SIGNATURE in found and not _is_signature(found[SIGNATURE]):
        return {key: value for key, value in found.items() if key != SIGNATURE}
    return found


def _is_signature(value: object) -> bool:
    """Say whether a value is base64, of either alphabet: others cannot be this API's."""
    return isinstance(value, str) and _BASE64.match(value) is not None


def _value(item: ToolResult, pieces: list[Any]) -> JsonValue:
    """Give what a result says: its only JSON value as it is, or one text."""
    if len(pieces) == 1 and not isinstance(pieces[0], str | Model):
        value: JsonValue = pieces[0]
        return value
    return result_text(item.model_copy(update={"content": pieces}))


def _media(media: Media, types: frozenset[str] | None = None) -> Wire | None:
    """Give the part of a picture or document, or None where the API has no form for it."""
    kind, data, url = media_type(media), media.data, media.url
    if url is not None and (found := split_data_url(url)) is not None:
        (kind, data), url = found, None
    if url is not None:
        if not url.startswith(("http://", "https://", "gs://")):
            return None
        kind = kind or _SUFFIXES.get(url[url.rfind(".") :].lower())
        return {"fileData": {"mimeType": kind, "fileUri": url} if kind else {"fileUri": url}}
    if not data or not kind or not _takes(kind, media, types):
        return None
    return {"inlineData": {"mimeType": kind, "data": data}}


def _takes(kind: str, media: Media, types: frozenset[str] | None) -> bool:
    if types is not None:
        return kind in types
    if isinstance(media, FilePart) and kind.startswith(("text/", "audio/", "video/")):
        return True
    return kind in IMAGE_TYPES or (isinstance(media, FilePart) and kind == "application/pdf")


def _media_tokens(part: Wire) -> int:
    blob = part.get("inlineData") or part["fileData"]
    kind = str(blob.get("mimeType") or "image/")
    if kind.startswith("image/"):
        return IMAGE
    return max(FILE_MINIMUM, len(blob.get("data", "")) // BASE64_PER_FILE_TOKEN)


def _sealed(part: Wire) -> int:
    signature = part.get(SIGNATURE)
    return len(signature) // SIGNED_PER_TOKEN if isinstance(signature, str) else 0


def _id_tokens(call_id: str) -> int:
    """Count an id: random characters make about two to a token."""
    return len(call_id) // 2 + 1
