"""Finished streams: the pieces that a provider sent, put together into the body of one response.

OpenAI Chat sends `chat.completion.chunk` objects whose deltas are appended (API reference,
"Streaming"); Anthropic sends events that open, extend and close content blocks
(platform.claude.com/docs, "Streaming Messages").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from turnkeep.formats.foreign import as_list, as_object, as_text, refuse
from turnkeep.formats.profile import Wire

_ANTHROPIC_EVENTS = frozenset(
    {
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop", "ping", "error",
    }
)  # fmt: skip


class Joined(NamedTuple):
    """The body that the pieces make, whose format it is, and whether the stream was cut off."""

    profile: str
    body: Wire
    cut: bool


def join_stream(pieces: Sequence[object]) -> Joined | None:
    """Put a stream together; None if the pieces are no stream of a known provider.

    Raises ContentError, with the path, for pieces that do not fit together.
    """
    if not pieces or isinstance(pieces[0], str | int | float | None):
        return None
    first = as_object(pieces[0], "[0]")
    if first.get("type") in _ANTHROPIC_EVENTS:
        return _join_anthropic(pieces)
    choices = first.get("choices")
    if first.get("object") == "chat.completion.chunk" or (
        isinstance(choices, list) and choices and "delta" in as_object(choices[0], "[0].choices[0]")
    ):
        return _join_openai(pieces)
    return None


def _join_openai(pieces: Sequence[object]) -> Joined:
    message: Wire = {"role": "assistant", "content": None}
    calls: dict[int, Wire] = {}
    body: Wire = {}
    finish = None
    for place, piece in enumerate(pieces):
        chunk = as_object(piece, f"[{place}]")
        if chunk.get("usage") is not None:
            body["usage"] = chunk["usage"]
        for number, found in enumerate(as_list(chunk.get("choices") or [], f"[{place}].choices")):
            path = f"[{place}].choices[{number}]"
            choice = as_object(found, path)
            if choice.get("index", 0) != 0:
                continue  # of several answers, the first is the one that is kept
            finish = choice.get("finish_reason") or finish
            delta = as_object(choice.get("delta") or {}, f"{path}.delta")
            for key in ("content", "refusal"):
                if delta.get(key) is not None:
                    text = as_text(delta[key], f"{path}.delta.{key}")
                    message[key] = (message.get(key) or "") + text
            for call in as_list(delta.get("tool_calls") or [], f"{path}.delta.tool_calls"):
                _extend_call(calls, as_object(call, f"{path}.delta.tool_calls"))
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    body["choices"] = [{"index": 0, "message": message, "finish_reason": finish}]
    return Joined("openai-chat", body, finish is None)


def _extend_call(calls: dict[int, Wire], delta: Wire) -> None:
    """Append a piece of a tool call: its id and name come first, its arguments in pieces."""
    empty: Wire = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    index = delta.get("index", len(calls))
    call = calls.setdefault(index if isinstance(index, int) else len(calls), empty)
    call["id"] = delta.get("id") or call["id"]
    function = as_object(delta.get("function") or {}, "tool_calls.function")
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _join_anthropic(pieces: Sequence[object]) -> Joined:
    body: Wire = {"type": "message", "role": "assistant", "content": []}
    blocks: dict[int, Wire] = {}
    inputs: dict[int, str] = {}
    finished = False
    for place, piece in enumerate(pieces):
        path = f"[{place}]"
        event = as_object(piece, path)
        kind = event.get("type")
        if kind == "message_start":
            body |= as_object(event.get("message"), f"{path}.message")
        elif kind == "content_block_start":
            block = dict(as_object(event.get("content_block"), f"{path}.content_block"))
            blocks[_index(event, path)] = block
        elif kind == "content_block_delta":
            index = _index(event, path)
            if index not in blocks:
                refuse(path, "extends a content block that was not begun")
            delta = as_object(event.get("delta"), f"{path}.delta")
            _extend_block(blocks[index], delta, index, inputs)
        elif kind == "message_delta":
            delta = as_object(event.get("delta") or {}, f"{path}.delta")
            body["stop_reason"] = delta.get("stop_reason") or body.get("stop_reason")
            body["usage"] = (body.get("usage") or {}) | (event.get("usage") or {})
        elif kind == "message_stop":
            finished = True
    for index, text in inputs.items():
        blocks[index]["input"] = _arguments(text)
    body["content"] = [blocks[index] for index in sorted(blocks)]
    return Joined("anthropic", body, not finished)


def _extend_block(block: Wire, delta: Wire, index: int, inputs: dict[int, str]) -> None:
    if delta.get("type") == "input_json_delta":
        inputs[index] = inputs.get(index, "") + (delta.get("partial_json") or "")
        return
    if delta.get("type") == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
        return
    for key in ("text", "thinking", "signature"):
        if isinstance(delta.get(key), str):
            block[key] = (block.get(key) or "") + delta[key]


def _arguments(text: str) -> Any:
    """Read a tool's input; what was cut off stays the text that it is."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


def _index(event: Wire, path: str) -> int:
    index = event.get("index")
    if not isinstance(index, int):
        refuse(path, "a content block has an index")
    return index
