"""OpenAI Chat Completions: requests out, requests and responses in.

Rules and fields are those of the API reference (platform.openai.com/docs/api-reference/chat) and
of error texts that the API answers with; what is normalised on the way is in `docs/formats.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import (
    ImagePart,
    Item,
    Message,
    Opaque,
    Reasoning,
    Request,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
    compact_json,
    result_text,
)
from turnkeep.formats import openai_chat_check, openai_chat_read
from turnkeep.formats.media import Media, as_media, data_url, describe, text_only
from turnkeep.formats.profile import (
    Countable,
    ParsedResponse,
    Violation,
    Wire,
    WireMessage,
    cache_key,
    definition_texts,
    is_blank,
    side_of,
)

NAME: Final = "openai-chat"

REQUEST: Final = 3
"""Every answer is primed with three tokens [OpenAI cookbook, "How to count tokens"]."""
MESSAGE: Final = 4
"""Three tokens frame a message, one more a name [the same]."""
CALL: Final = 14
"""What frames a call (recipient, channel, type); no figure is published, this one errs upward (see
`tokens/formulas/openai.py`)."""
RESULT: Final = 9
"""What frames a result with newer models, as recorded reports say [the same]."""
TOOL: Final = 16
"""What frames a tool definition, about 11 by the cookbook's formula; errs upward."""
IMAGE: Final = 2_500
"""1,536 patches at 1.62 tokens, the most for small models [OpenAI guide, "Images and vision"]."""
LOW_IMAGE: Final = 85
"""A picture with detail "low" [the same]."""
FILE_MINIMUM: Final = 1_500
BASE64_PER_FILE_TOKEN: Final = 12
"""A document costs its text and a picture of each page; a guess from its size (see the guide)."""

MEDIA_BELOW: Final = "(see the next message)"
"""Text of a result that holds media only: tool messages carry text, and not an empty one."""

MAX_ID: Final = 40
"""The API answers "Expected a string with maximum length 40" to longer call ids."""
_NAME_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
MAX_NAME: Final = 64
"""Function names: letters, digits, _ and -, at most 64 [API reference]."""


class OpenAIChat:
    """The profile of OpenAI Chat Completions and of the many servers that speak it."""

    name = NAME
    request_overhead = REQUEST

    def render(self, items: Iterable[Item]) -> list[WireMessage]:
        """Render items in their order (see `Profile`)."""
        writer = _Writer()
        for item in items:
            writer.add(item)
        return writer.finish()

    def system(
        self, instructions: str, leading: Sequence[Message]
    ) -> tuple[list[Wire] | None, list[WireMessage]]:
        """Render instructions as the first message; the API has no system field."""
        first = [] if is_blank(instructions) else [Message(role="system", content=instructions)]
        return None, self.render([*first, *leading])

    def system_texts(self, system: list[Wire] | None) -> Countable:  # noqa: ARG002  # no use for it here
        """Give nothing: system text is in the messages."""
        return Countable((), 0)

    def tools(self, definitions: Sequence[ToolDefinition]) -> list[Wire]:
        """Render tool definitions; an extra field `strict` is passed on."""
        return [_tool(definition) for definition in definitions]

    def tool_texts(self, definitions: Sequence[ToolDefinition]) -> Countable:
        """Give names, descriptions and schemas as JSON, which is more than the API counts."""
        return Countable(definition_texts(definitions), TOOL * len(definitions))

    def inferred_tools(self, messages: Sequence[WireMessage]) -> list[Wire]:  # noqa: ARG002  # no use for it here
        """Give none: the API takes calls of tools that are not declared."""
        return []

    def breakpoints(
        self,
        tools: Sequence[Wire],  # noqa: ARG002  # no use for it here
        system: Sequence[Wire] | None,  # noqa: ARG002  # no use for it here
        messages: Sequence[WireMessage],  # noqa: ARG002  # no use for it here
        *,
        stable: int = 0,  # noqa: ARG002  # no use for it here
    ) -> tuple[int, ...]:
        """Give none: OpenAI caches prefixes by itself."""
        return ()

    def payload(
        self,
        *,
        messages: Sequence[WireMessage],
        system: list[Wire] | None = None,  # noqa: ARG002  # no use for it here
        tools: Sequence[Wire] = (),
        tool_choice: JsonValue = None,
        model_id: str | None = None,
        max_output: int | None = None,
        session_id: str | None = None,
        stable: int = 0,  # noqa: ARG002  # no use for it here
        cache: bool = True,
    ) -> Wire:
        """Assemble a request body (see `Profile`)."""
        body: Wire = {} if model_id is None else {"model": model_id}
        body["messages"] = [message.body for message in messages]
        if tools:
            body["tools"] = list(tools)
            if tool_choice is not None:
                body["tool_choice"] = _tool_choice(tool_choice)
        if max_output is not None:
            body["max_completion_tokens"] = max_output
        if cache and session_id is not None:
            body["prompt_cache_key"] = cache_key(session_id)
        return body

    def check(self, body: Mapping[str, Any]) -> list[Violation]:
        """Check a request body (see `Profile`)."""
        return openai_chat_check.check(body)

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say True only for content parts of our own parser: Chat takes no reasoning back."""
        return (
            isinstance(item, Opaque)
            and item.provider == NAME
            and side_of(item) == "input"
            and isinstance(item.data, dict)
        )

    def allowed_id(self, call_id: str, suffix: str = "") -> str:
        """Cut ids to the 40 characters that the API takes; an empty one becomes "call"."""
        base = "call" if is_blank(call_id) else call_id
        return base[: MAX_ID - len(suffix)] + suffix

    def allowed_name(self, name: str) -> str:
        """Put _ for what a function name may not hold."""
        return _NAME_CHARACTERS.sub("_", name)[:MAX_NAME] or "unknown"

    def parse_request(self, body: object) -> Request:
        """Read a request body (see `Profile`)."""
        return openai_chat_read.parse_request(body)

    def parse_response(self, body: object) -> ParsedResponse:
        """Read a response body, its first choice, or a bare assistant message."""
        return openai_chat_read.parse_response(body)


class _Writer:
    """Turns a run of items into messages, holding back what may still be added to."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.assistant: Message | None = None
        self.calls: list[ToolCall] = []
        self.media: list[tuple[str, Media]] = []

    def add(self, item: Item) -> None:
        if isinstance(item, ToolResult):
            self.close_assistant()
            self.messages.append(self.result(item))
        elif isinstance(item, ToolCall):
            self.close_media()
            self.calls.append(item)
        elif isinstance(item, Message) and item.role == "assistant":
            self.close_media()
            self.close_assistant()
            self.assistant = item
        elif isinstance(item, Message):
            self.close_assistant()
            self.close_media()
            self.messages.append(_input(item))
        elif side_of(item) == "input" and PROFILE.replays(item):
            self.close_assistant()
            self.close_media()
            self.messages.append(_part_message(item.data))

    def finish(self) -> list[WireMessage]:
        self.close_assistant()
        self.close_media()
        return self.messages

    def close_assistant(self) -> None:
        if self.assistant is None and not self.calls:
            return
        body: Wire = {"role": "assistant", "content": None}
        texts: list[str] = []
        overhead = MESSAGE
        if self.assistant is not None:
            text = text_only(self.assistant.content)
            body["content"] = text
            texts.append(text)
            _put_name(body, self.assistant)
        if self.calls:
            body["tool_calls"] = calls = []
            for call in self.calls:
                arguments = compact_json(call.arguments)
                function = {"name": call.name, "arguments": arguments}
                calls.append({"id": call.tool_call_id, "type": "function", "function": function})
                texts += (call.name, arguments)
                overhead += CALL + _id_tokens(call.tool_call_id)
        self.messages.append(WireMessage(body, tuple(texts), overhead, 1 + len(self.calls)))
        self.assistant, self.calls = None, []

    def result(self, item: ToolResult) -> WireMessage:
        text = result_text(item)
        media = [found for piece in item.content if (found := as_media(piece)) is not None]
        if media:
            self.media += [(item.tool_call_id, found) for found in media]
            text = MEDIA_BELOW if is_blank(text) else text
        body = {"role": "tool", "tool_call_id": item.tool_call_id, "content": text}
        return WireMessage(body, (text,), RESULT + _id_tokens(item.tool_call_id), 1)

    def close_media(self) -> None:
        """Put what the results held beside text into a user message behind them."""
        if not self.media:
            return
        content: list[Wire] = []
        texts: list[str] = []
        overhead = MESSAGE
        owner = None
        for call_id, media in self.media:
            if call_id != owner:
                owner = call_id
                heading = f"From the result of {call_id}:"
                content.append({"type": "text", "text": heading})
                texts.append(heading)
            overhead += _add_media(media, content, texts)
        body = {"role": "user", "content": content}
        self.messages.append(WireMessage(body, tuple(texts), overhead, len(content)))
        self.media = []


def _input(message: Message) -> WireMessage:
    body: Wire = {"role": message.role}
    texts: list[str] = []
    overhead = MESSAGE
    if message.role == "user" and not isinstance(message.content, str):
        content: list[Wire] = []
        for part in message.content:
            media = as_media(part)
            if media is not None:
                overhead += _add_media(media, content, texts)
            elif isinstance(part, TextPart):
                content.append({"type": "text", "text": part.text})
                texts.append(part.text)
        body["content"] = content
        blocks = len(content)
    else:
        text = text_only(message.content)
        body["content"] = text
        texts.append(text)
        blocks = 1
    _put_name(body, message)
    return WireMessage(body, tuple(texts), overhead, blocks)


def _part_message(part: JsonValue) -> WireMessage:
    return WireMessage({"role": "user", "content": [part]}, (compact_json(part),), MESSAGE, 1)


def _put_name(body: Wire, message: Message) -> None:
    """Pass on the participant's name, an extra field that the API takes on every message."""
    name = (message.__pydantic_extra__ or {}).get("name")
    if isinstance(name, str) and name:
        body["name"] = name


def _add_media(media: Media, content: list[Wire], texts: list[str]) -> int:
    """Add a picture or document to a user message; return its tokens."""
    if isinstance(media, ImagePart):
        url = media.url if media.url is not None else data_url(media)
        image: Wire = {"url": url}
        if media.detail is not None:
            image["detail"] = media.detail
        content.append({"type": "image_url", "image_url": image})
        return LOW_IMAGE if media.detail == "low" else IMAGE
    if media.data is None:  # Chat takes documents inline or by file id only
        text = describe(media)
        content.append({"type": "text", "text": text})
        texts.append(text)
        return 0
    file = {"filename": media.name or "file", "file_data": data_url(media)}
    content.append({"type": "file", "file": file})
    return max(FILE_MINIMUM, len(media.data) // BASE64_PER_FILE_TOKEN)


def _tool(definition: ToolDefinition) -> Wire:
    function: Wire = {"name": definition.name}
    if definition.description:
        function["description"] = definition.description
    function["parameters"] = definition.parameters
    strict = (definition.__pydantic_extra__ or {}).get("strict")
    if isinstance(strict, bool):
        function["strict"] = strict
    return {"type": "function", "function": function}


def _tool_choice(choice: JsonValue) -> JsonValue:
    if isinstance(choice, dict) and set(choice) == {"name"}:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _id_tokens(call_id: str) -> int:
    """Count an id: random characters make about two to a token."""
    return len(call_id) // 2 + 1


PROFILE: Final = OpenAIChat()
