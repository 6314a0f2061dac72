"""What of a provider's event is shown as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from turnkeep.content import compact_json
from turnkeep.model import CallDelta, TextDelta, ThinkingDelta

Delta = TextDelta | ThinkingDelta | CallDelta
Event = dict[str, Any]


class Reader(Protocol):
    """Gives the pieces of one stream's events, in their order."""

    def read(self, event: Event) -> Iterator[Delta]:
        """Give the pieces of the next event."""


def reader_of(profile: str) -> Reader:
    """Give a reader for a new stream in a profile's form."""
    readers: dict[str, type[Reader]] = {
        "openai-chat": ChatReader,
        "openai-responses": ResponsesReader,
        "anthropic": AnthropicReader,
        "gemini": GeminiReader,
    }
    return readers[profile]()


class _Calls:
    """Numbers the calls of an answer in the order in which they begin, and keeps their names."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._names: dict[object, str] = {}

    def piece(self, key: object, name: object, arguments: object) -> CallDelta:
        number = self._numbers.setdefault(key, len(self._numbers))
        if isinstance(name, str) and name:
            self._names[key] = name
        text = arguments if isinstance(arguments, str) else ""
        return CallDelta(number, self._names.get(key), text)


class ChatReader:
    """Chunks of OpenAI Chat."""

    def __init__(self) -> None:
        self._calls = _Calls()

    def read(self, event: Event) -> Iterator[Delta]:
        """Give the pieces of the next chunk."""
        for choice in event.get("choices") or ():
            if choice.get("index") not in (0, None):
                continue
            delta = choice.get("delta") or {}
            yield from _thinking(delta.get("reasoning_content"))
            for key in ("content", "refusal"):
                yield from _text(delta.get(key))
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                yield self._calls.piece(
                    call.get("index"), function.get("name"), function.get("arguments")
                )


class ResponsesReader:
    """Events of OpenAI Responses."""

    def __init__(self) -> None:
        self._calls = _Calls()

    def read(self, event: Event) -> Iterator[Delta]:
        """Give the pieces of the next event."""
        kind, delta, place = event.get("type"), event.get("delta"), event.get("output_index")
        item = event.get("item") or {}
        if kind in {"response.output_text.delta", "response.refusal.delta"}:
            yield from _text(delta)
        elif kind in {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}:
            yield from _thinking(delta)
        elif kind == "response.output_item.added" and item.get("type") == "function_call":
            yield self._calls.piece(place, item.get("name"), item.get("arguments"))
        elif kind == "response.function_call_arguments.delta":
            yield self._calls.piece(place, None, delta)


class AnthropicReader:
    """Events of Anthropic Messages."""

    def __init__(self) -> None:
        self._calls = _Calls()

    def read(self, event: Event) -> Iterator[Delta]:
        """Give the pieces of the next event."""
        kind, place = event.get("type"), event.get("index")
        block, delta = event.get("content_block") or {}, event.get("delta") or {}
        if kind == "content_block_start" and block.get("type") == "tool_use":
            yield self._calls.piece(place, block.get("name"), "")
        elif kind == "content_block_start":
            yield from _text(block.get("text"))
            yield from _thinking(block.get("thinking"))
        elif kind == "content_block_delta":
            yield from _text(delta.get("text"))
            yield from _thinking(delta.get("thinking"))
            if delta.get("type") == "input_json_delta":
                yield self._calls.piece(place, None, delta.get("partial_json"))


class GeminiReader:
    """Chunks of Gemini's streamGenerateContent."""

    def __init__(self) -> None:
        self._calls = _Calls()
        self._count = 0

    def read(self, event: Event) -> Iterator[Delta]:
        """Give the pieces of the next chunk."""
        for candidate in (event.get("candidates") or ())[:1]:
            for part in (candidate.get("content") or {}).get("parts") or ():
                if part.get("thought"):
                    yield from _thinking(part.get("text"))
                else:
                    yield from _text(part.get("text"))
                if call := part.get("functionCall"):
                    self._count += 1
                    arguments = compact_json(call.get("args") or {})
                    yield self._calls.piece(self._count, call.get("name"), arguments)


def _text(text: object) -> Iterator[Delta]:
    if isinstance(text, str) and text:
        yield TextDelta(text)


def _thinking(text: object) -> Iterator[Delta]:
    if isinstance(text, str) and text:
        yield ThinkingDelta(text)
