"""Finished streams: the pieces that a provider sent, put together into the body of one response.

OpenAI Chat sends `chat.completion.chunk` objects whose deltas are appended (API reference,
"Streaming"); Anthropic sends events that open, extend and close content blocks
(platform.claude.com/docs, "Streaming Messages"); OpenAI Responses sends events of which the last
holds the whole response (API reference, "Streaming events"); Gemini sends responses whose parts are
appended (ai.google.dev/api/generate-content, "streamGenerateContent").
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
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
"""Events of OpenAI Responses that extend an item, and the field that they extend."""


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
    if str(first.get("type")).startswith("response."):
        return _join_responses(pieces)
    if "candidates" in first or "promptFeedback" in first:
        return _join_gemini(pieces)
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


def _join_responses(pieces: Sequence[object]) -> Joined:
    """Take the response that the last event holds; of a cut stream, the items that had come."""
    items: dict[int, Wire] = {}
    for place, piece in enumerate(pieces):
        path = f"[{place}]"
        event = as_object(piece, path)
        kind = as_text(event.get("type"), f"{path}.type")
        if kind in {"response.completed", "response.incomplete", "response.failed"}:
            body = dict(as_object(event.get("response"), f"{path}.response"))
            body["output"] = body.get("output") or [items[index] for index in sorted(items)]
            return Joined("openai-responses", body, cut=False)
        number = event.get("output_index")
        if not isinstance(number, int):
            continue
        if kind in {"response.output_item.added", "response.output_item.done"}:
            items[number] = dict(as_object(event.get("item"), f"{path}.item"))
        elif number in items and kind in _DELTAS:
            _extend_item(items[number], kind, as_text(event.get("delta"), f"{path}.delta"))
    body = {"object": "response", "output": [items[index] for index in sorted(items)]}
    return Joined("openai-responses", body, cut=True)


def _extend_item(item: Wire, kind: str, delta: str) -> None:
    key = _DELTAS[kind]
    if key in {"text", "refusal"}:
        part = {"type": "output_text" if key == "text" else "refusal", key: delta}
        content = item["content"] = list(item.get("content") or [])
        if content and isinstance(content[-1], dict) and content[-1].get("type") == part["type"]:
            content[-1] = {**content[-1], key: str(content[-1].get(key) or "") + delta}
        else:
            content.append(part)
    else:
        item[key] = str(item.get(key) or "") + delta


def _join_gemini(pieces: Sequence[object]) -> Joined:
    """Append the parts of the chunks; texts that run on become one, unless one is signed."""
    body: Wire = {}
    parts: list[Wire] = []
    finish = None
    for place, piece in enumerate(pieces):
        chunk = as_object(piece, f"[{place}]")
        body |= {key: value for key, value in chunk.items() if value is not None}
        for number, found in enumerate(as_list(chunk.get("candidates") or [], f"[{place}]")):
            path = f"[{place}].candidates[{number}]"
            candidate = as_object(found, path)
            if candidate.get("index") not in (0, None):
                continue  # of several answers, the first is the one that is kept
            finish = candidate.get("finishReason") or candidate.get("finish_reason") or finish
            content = as_object(candidate.get("content") or {}, f"{path}.content")
            for part in as_list(content.get("parts") or [], f"{path}.content.parts"):
                _append_part(parts, as_object(part, f"{path}.content.parts"))
    if parts or finish is not None or not body.get("promptFeedback"):
        whole = {"content": {"role": "model", "parts": parts}, "finishReason": finish}
        body["candidates"] = [whole]
    return Joined("gemini", body, cut=finish is None and not body.get("promptFeedback"))


def _append_part(parts: list[Wire], part: Wire) -> None:
    """Append a part, or its text to the text before it: never across a signature."""
    part = {key: value for key, value in part.items() if value is not None}
    text = part.get("text")
    if parts and isinstance(text, str) and part.keys() <= {"text", "thought"}:
        last = parts[-1]
        alike = last.keys() <= {"text", "thought"} and isinstance(last.get("text"), str)
        if alike and bool(last.get("thought")) == bool(part.get("thought")):
            parts[-1] = {**last, "text": last["text"] + text}
            return
    if text or part.keys() - {"text"}:
        parts.append(part)
