"""Reading what others wrote: each value with its path, so that a refusal names the place."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn, TypeVar

from pydantic import JsonValue, ValidationError

from turnkeep.codec import content_error
from turnkeep.content import Model, ToolCall, compact_json
from turnkeep.errors import ContentError

M = TypeVar("M", bound=Model)

RAW: Final = "__raw__"
"""The only argument of a call whose arguments were no JSON object: the text the model wrote."""

_ANTHROPIC_BLOCKS: Final = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"})
_OPENAI_PARTS: Final = frozenset({"image_url", "input_audio", "file", "refusal"})
_RESPONSES: Final = {"input": str | list | tuple, "output": list | tuple}
"""What bodies of OpenAI Responses hold: a request its input, a response its output."""


def refuse(path: str, message: str) -> NoReturn:
    """Raise ContentError that names the place."""
    raise ContentError(f"{path or 'body'}: {message}", path=path)


def as_object(value: object, path: str) -> dict[str, Any]:
    """Give a JSON object: a dict as it is, an SDK object as the dict it makes of itself."""
    if isinstance(value, dict):
        return value
    for method in ("to_dict", "model_dump"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            made = convert()
            if isinstance(made, dict):
                return made
    if isinstance(value, Mapping):
        return dict(value)
    refuse(path, f"an object is needed, not {type(value).__name__}")


def as_list(value: object, path: str) -> list[Any]:
    """Give a list."""
    if isinstance(value, list | tuple):
        return list(value)
    refuse(path, f"a list is needed, not {type(value).__name__}")


def as_text(value: object, path: str) -> str:
    """Give a text."""
    if isinstance(value, str):
        return value
    refuse(path, f"a text is needed, not {type(value).__name__}")


def as_count(value: object, path: str) -> int:
    """Give a number of tokens; nothing counts as 0."""
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    refuse(path, "a whole number from 0 is needed")


def text_or(value: Mapping[str, Any], key: str, default: str = "") -> str:
    """Give a text inside an object, or the default where there is none."""
    found = value.get(key)
    return found if isinstance(found, str) else default


def build(kind: type[M], path: str, /, **fields: object) -> M:
    """Make an item or part; raises ContentError with its path where a value does not fit."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        found = content_error(error, fields)
        refuse(path, str(found))


def unknown(value: Mapping[str, Any], known: Collection[str], kind: type[Model]) -> dict[str, Any]:
    """Give the fields that are not understood, to be kept on an item of this kind."""
    reserved = kind.model_fields
    return {
        key: below
        for key, below in value.items()
        if below is not None and isinstance(key, str) and key not in known and key not in reserved
    }


def read_arguments(value: object, path: str) -> dict[str, JsonValue]:
    """Read a call's arguments: an object, the JSON text of one, or nothing.

    Any other text (models do write broken JSON) is kept under `RAW`. It goes out again as that
    object: providers want an object, and the model sees what it wrote.
    """
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    text = as_text(value, path)
    if not text.strip():
        return {}
    try:
        arguments = json.loads(text, parse_constant=_no_constant)
        if isinstance(arguments, dict):
            # Half of a surrogate pair can be escaped in JSON text, but not be kept.
            compact_json(arguments).encode()
            ToolCall(tool_call_id="", name="", arguments=arguments)
            return arguments
    except (ValueError, RecursionError):
        pass
    return {RAW: text}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def detect(body: object) -> str | None:
    """Tell whose format a request or response body is: the name of a profile, or None.

    A request of plain texts alone reads the same in OpenAI Chat and Anthropic; its model's name
    decides, else it is taken for OpenAI's.
    """
    try:
        value = as_object(body, "")
    except ContentError:
        return None
    if "choices" in value:
        return "openai-chat"
    if "messages" in value:
        return _detect_request(value)
    if any(key in value for key in ("contents", "candidates", "promptFeedback")) or (
        value.get("role") == "model" and "parts" in value
    ):
        return "gemini"
    if value.get("object") == "response" or any(
        isinstance(value.get(key), kinds) for key, kinds in _RESPONSES.items()
    ):
        return "openai-responses"
    if value.get("role") != "assistant":
        return None
    if value.get("type") == "message":
        return "anthropic"
    if isinstance(value.get("content"), list) and "tool_calls" not in value:
        return _detect_request({"messages": [value]})
    return "openai-chat" if "content" in value or "tool_calls" in value else None


def _detect_request(body: Mapping[str, Any]) -> str | None:
    messages = body["messages"]
    if not isinstance(messages, list | tuple):
        return None
    if "system" in body or "anthropic_version" in body:
        return "anthropic"
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            return "openai-chat" if "function" in tool else "anthropic"
    for index, message in enumerate(messages):
        try:
            value = as_object(message, f"messages[{index}]")
        except ContentError:
            return None
        if value.get("role") in ("system", "developer", "tool") or value.get("tool_calls"):
            return "openai-chat"
        content = value.get("content")
        for block in content if isinstance(content, list) else ():
            kind = block.get("type") if isinstance(block, Mapping) else getattr(block, "type", None)
            if not isinstance(kind, str):
                continue
            if kind in _ANTHROPIC_BLOCKS or (isinstance(block, Mapping) and "source" in block):
                return "anthropic"
            if kind in _OPENAI_PARTS:
                return "openai-chat"
    return "anthropic" if "claude" in text_or(body, "model") else "openai-chat"
