"""How items become input items of OpenAI Responses: one wire message for each.

Reasoning keeps its place by links that the reader left in the extra field `openai_responses` of our
items: `before` on reasoning names the item that followed it, `after` on an item the reasoning that
it came from. The API refuses one without the other, so what has lost its partner is sent without
its id, and reasoning without follower not at all.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import (
    ImagePart,
    Item,
    Message,
    Model,
    Opaque,
    Part,
    Reasoning,
    TextPart,
    ToolCall,
    ToolResult,
    compact_json,
)
from turnkeep.formats.foreign import RAW
from turnkeep.formats.media import (
    Media,
    as_media,
    data_url,
    describe,
    media_type,
    split_data_url,
    text_only,
)
from turnkeep.formats.profile import Wire, WireMessage, side_of

NAME: Final = "openai-responses"
OWN: Final = "openai_responses"
"""The extra field of an item that holds what only this API has: ids, status, links."""

MESSAGE: Final = 4
CALL: Final = 14
RESULT: Final = 9
"""Frames as for OpenAI Chat: the figures for newer models were measured with this API."""
IMAGE: Final = 2_500
LOW_IMAGE: Final = 85
FILE_MINIMUM: Final = 1_500
BASE64_PER_FILE_TOKEN: Final = 12
SEALED_PER_TOKEN: Final = 4
"""Characters of sealed reasoning to a token: a guess that errs upward."""

MAX_ID: Final = 64
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def own(item: Model) -> dict[str, Any]:
    """Give what the reader kept of this API on an item, {} for items from elsewhere."""
    found = (item.__pydantic_extra__ or {}).get(OWN)
    return found if isinstance(found, dict) else {}


def replays(item: Reasoning | Opaque) -> bool:
    """Say whether an item is this provider's own, and whole.

    Requests say `store: false`, so the provider has nothing but what it is sent: reasoning goes
    back only sealed. Without, it answers "Items are not persisted when `store` is set to false"
    (github.com/vercel/ai/issues/7543).
    """
    data = item.data
    if item.provider != NAME or not isinstance(data, dict):
        return False
    kind = data.get("type")
    if isinstance(item, Opaque):
        return isinstance(kind, str) and kind not in {"", "reasoning", "function_call"}
    sealed, name = data.get("encrypted_content"), data.get("id")
    return (
        kind == "reasoning"
        and (isinstance(sealed, str) and sealed != "")
        and _fitting(name, "rs") is not None
        and isinstance(data.get("summary"), list)
    )


class InputWriter:
    """Takes items one by one; `messages` holds what is complete, `close` completes the rest."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.answer: list[Item] = []
        """The assistant's items at hand, whose reasoning is to be put before its followers."""
        self.custom: set[str] = set()
        """Calls of custom tools: their results have a type of their own."""

    def add(self, item: Item) -> None:
        """Take the next item; provider data that is not replayed is left out."""
        if isinstance(item, Reasoning | Opaque) and not replays(item):
            return
        if side_of(item) == "assistant":
            self.answer.append(item)
            return
        self.close()
        if isinstance(item, ToolResult):
            self._result(item)
        elif isinstance(item, Message):
            self._input(item)
        elif isinstance(item, Opaque):
            self._opaque(item)

    def close(self) -> None:
        """Write the assistant's items at hand."""
        linked: dict[str, list[Reasoning]] = {}
        for item in self.answer:
            if isinstance(item, Reasoning) and isinstance(before := own(item).get("before"), str):
                linked.setdefault(before, []).append(item)
        loose: list[Reasoning] = []
        sent: set[object] = set()
        for item in self.answer:
            if isinstance(item, Reasoning):
                if not isinstance(own(item).get("before"), str):
                    loose.append(item)
                continue
            for thought in (*loose, *linked.pop(str(_name_of(item)), ())):
                self._reasoning(thought)
                assert isinstance(thought.data, dict)  # `replays` looked
                sent.add(thought.data["id"])
            loose = []
            after = own(item).get("after")
            known = after in sent
            if isinstance(item, Message):
                self._said(item, known=known)
            elif isinstance(item, ToolCall):
                self._call(item, known=known)
            elif isinstance(item, Opaque) and (known or not isinstance(after, str)):
                self._opaque(item)
        self.answer = []

    def _put(self, body: Wire, texts: list[str], overhead: int, blocks: int = 1) -> None:
        self.messages.append(WireMessage(body, tuple(texts), overhead, blocks))

    def _said(self, item: Message, *, known: bool) -> None:
        content: list[Wire] = []
        if isinstance(item.content, str):
            content.append(_output(item.content, item))
        else:
            for part in item.content:
                if isinstance(part, TextPart):
                    content.append(_output(part.text, part))
                elif (media := as_media(part)) is not None:
                    content.append(_output(describe(media), item))
        about = own(item)
        body: Wire = {"type": "message", **_identity(about, "msg", known=known)}
        body["role"] = "assistant"
        body["content"] = content
        if isinstance(about.get("phase"), str):
            body["phase"] = about["phase"]  # "preserve and resend" [API reference, output messages]
        texts = [str(part.get("text", part.get("refusal"))) for part in content]
        self._put(body, texts, MESSAGE, len(content))

    def _call(self, item: ToolCall, *, known: bool) -> None:
        about = own(item)
        raw = item.arguments.get(RAW)
        if about.get("custom") is True and isinstance(raw, str):
            self.custom.add(item.tool_call_id)
            kind, key, prefix, arguments = "custom_tool_call", "input", "ctc", raw
        else:
            self.custom.discard(item.tool_call_id)
            kind, key, prefix = "function_call", "arguments", "fc"
            arguments = compact_json(item.arguments)
        body: Wire = {"type": kind, **_identity(about, prefix, known=known)}
        body |= {"call_id": item.tool_call_id, "name": item.name, key: arguments}
        self._put(body, [item.name, arguments], CALL + _id_tokens(item.tool_call_id))

    def _result(self, item: ToolResult) -> None:
        custom = item.tool_call_id in self.custom
        body: Wire = {"type": "custom_tool_call_output" if custom else "function_call_output"}
        body["call_id"] = item.tool_call_id
        parts: list[Wire] = []
        texts: list[str] = []
        overhead = RESULT + _id_tokens(item.tool_call_id)
        run: list[str] = []
        for piece in item.content:
            media = as_media(piece)
            if media is None:
                run.append(_piece_text(piece))
            elif (made := _media(media)) is None:
                run.append(describe(media))
            else:
                if run:
                    _add_text("\n".join(run), parts, texts)
                    run = []
                parts.append(made[0])
                overhead += made[1]
        if parts:
            if run:
                _add_text("\n".join(run), parts, texts)
            body["output"] = parts
        else:
            body["output"] = "\n".join(run)
            texts.append(body["output"])
        self._put(body, texts, overhead, len(parts) or 1)

    def _input(self, item: Message) -> None:
        content: list[Wire] = []
        texts: list[str] = []
        overhead = MESSAGE
        if item.role != "user" or isinstance(item.content, str):
            _add_text(text_only(item.content), content, texts)
        else:
            for part in item.content:
                media = as_media(part)
                if media is None:
                    _add_text(part.text if isinstance(part, TextPart) else "", content, texts)
                elif (made := _media(media)) is None:
                    _add_text(describe(media), content, texts)
                else:
                    content.append(made[0])
                    overhead += made[1]
        body = {"type": "message", "role": item.role, "content": content}
        self._put(body, texts, overhead, len(content))

    def _reasoning(self, item: Reasoning) -> None:
        assert isinstance(item.data, dict)  # `replays` looked
        overhead = MESSAGE + len(str(item.data["encrypted_content"])) // SEALED_PER_TOKEN
        self._put(item.data, [compact_json(item.data["summary"])], overhead)

    def _opaque(self, item: Opaque) -> None:
        assert isinstance(item.data, dict)  # `replays` looked
        body: Wire = item.data
        if side_of(item) == "input" and str(body["type"]).startswith("input_"):
            body = {"type": "message", "role": "user", "content": [body]}  # a part of a message
        self._put(body, [compact_json(item.data)], MESSAGE)


def _name_of(item: Item) -> object:
    """Give the id by which reasoning names its follower."""
    if isinstance(item, Opaque):
        return item.data.get("id") if isinstance(item.data, dict) else None
    return own(item).get("id")


def _identity(about: dict[str, Any], prefix: str, *, known: bool) -> Wire:
    """Give an item's id and status where its reasoning is sent, too.

    An id alone is refused: "was provided without its required 'reasoning' item"
    (github.com/continuedev/continue/issues/10018); without ids the API has nothing to compare.
    """
    name = _fitting(about.get("id"), prefix)
    if not known or name is None:
        return {}
    status = about.get("status")
    return {"id": name, "status": status} if isinstance(status, str) else {"id": name}


def _fitting(name: object, prefix: str) -> str | None:
    """Give an id of an item if the API takes it: "Expected an ID that begins with 'fc'"."""
    fits = isinstance(name, str) and name.startswith(prefix) and len(name) <= MAX_ID
    return str(name) if fits else None


def _output(text: str, source: Model) -> Wire:
    extra = source.__pydantic_extra__ or {}
    if extra.get("refusal") is True:
        return {"type": "refusal", "refusal": text}
    annotations = extra.get("annotations")
    kept = annotations if isinstance(annotations, list) else []
    return {"type": "output_text", "text": text, "annotations": kept}


def _piece_text(piece: str | Part | JsonValue) -> str:
    if isinstance(piece, str):
        return piece
    return piece.text if isinstance(piece, TextPart) else compact_json(piece)


def _add_text(text: str, parts: list[Wire], texts: list[str]) -> None:
    parts.append({"type": "input_text", "text": text})
    texts.append(text)


def _media(media: Media) -> tuple[Wire, int] | None:
    """Give the part of a picture or document and its tokens; None where the API has no form."""
    url, kind = media.url, media_type(media)
    if url is not None and (found := split_data_url(url)) is not None:
        kind = found[0]
    elif url is not None and not url.startswith(("http://", "https://")):
        return None
    source = data_url(media) if url is None else url
    inline = source.startswith("data:")
    if isinstance(media, ImagePart):
        if inline and kind not in IMAGE_TYPES:
            return None
        part = {"type": "input_image", "detail": media.detail or "auto", "image_url": source}
        return part, LOW_IMAGE if media.detail == "low" else IMAGE
    if not inline:
        return {"type": "input_file", "file_url": source}, FILE_MINIMUM
    if source.endswith(","):  # nothing in it
        return None
    part = {"type": "input_file", "filename": media.name or "file", "file_data": source}
    return part, max(FILE_MINIMUM, len(source) // BASE64_PER_FILE_TOKEN)


def _id_tokens(call_id: str) -> int:
    """Count an id: random characters make about two to a token."""
    return len(call_id) // 2 + 1
