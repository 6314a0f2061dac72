"""Requests and answers inside the lines of request logs, in whatever they are wrapped.

Known are plain bodies, and what these write: OpenAI's batch files (`body`), OpenPipe (`input`,
`output`; `reqPayload`, `respPayload`), Helicone (`request_body`, `response_body`), Langfuse
(`input`, a list of messages), LiteLLM (`messages` beside `response`; `kwargs`,
`proxy_server_request`), the request options of the SDKs (`json_data`), claude-trace
(`request.body`, `response.body_raw`), and HAR files (`postData.text`, `content.text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from turnkeep.formats.foreign import detect, text_or
from turnkeep.formats.logs.lines import parse
from turnkeep.formats.logs.making import moment
from turnkeep.formats.profile import Wire

REQUEST_KEYS: Final = (
    "request", "request_body", "reqPayload", "body", "json_data", "input", "kwargs", "postData",
    "text", "proxy_server_request", "data",
)  # fmt: skip
"""Where a request body may be, the likeliest first."""
ANSWER_KEYS: Final = (
    "response", "response_body", "respPayload", "output", "completion", "answer", "events",
)  # fmt: skip
"""Where an answer may be, in the object that holds the request."""
INNER_KEYS: Final = ("body", "body_raw", "content", "text", "response", "data", "events", "chunks")
"""Where, inside such a value, the body itself may be."""
TIME_KEYS: Final = (
    "timestamp", "time", "ts", "created_at", "startTime", "start_time", "startedDateTime",
    "requestedAt", "request_created_at", "logged_at",
)  # fmt: skip
OUTPUT_KINDS: Final = frozenset(
    {"message", "reasoning", "function_call", "custom_tool_call", "web_search_call"}
)
"""Types of what OpenAI Responses gives out, where the list stands alone."""
DEPTH: Final = 4
"""Objects around a body."""


class Exchange(NamedTuple):
    """A request body and the answer to it, None where the log has none."""

    request: Wire | None
    answer: Any
    when: datetime | None


def unwrap(value: Wire) -> Exchange | None:
    """Find the request, the answer or both in a line; None where there is neither."""
    request = _request(value, DEPTH)
    answer = _answer_beside(value)
    if request is None and answer is None:
        return None
    return Exchange(request, answer, _time(value))


def profile_of(request: Wire, answer: object) -> str | None:
    """Tell the format of a request. Where its texts do not tell it, its answer's does."""
    found = detect(request)
    if found == "openai-chat" and isinstance(answer, dict) and detect(answer) == "anthropic":
        return "anthropic"
    return found


def _request(value: object, depth: int) -> Wire | None:
    body = _opened(value)
    if not isinstance(body, dict):
        return None
    if _is_request(body):
        return _as_chat(body)
    if depth:
        for key in REQUEST_KEYS:
            if key in body and (found := _request(body[key], depth - 1)) is not None:
                return found
    return None


def _is_request(body: Wire) -> bool:
    if _is_messages(body.get("messages")) or (
        isinstance(body.get("contents"), list) and "candidates" not in body
    ):
        return True
    given = body.get("input")
    return _is_items(given) or (isinstance(given, str) and "model" in body)


def _is_messages(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in value)
    )


def _is_items(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and ("type" in each or "role" in each) for each in value)
    )


def _as_chat(body: Wire) -> Wire:
    """Give what is called input, but is messages of OpenAI Chat, its proper name."""
    given = body.get("input")
    if _is_messages(given) and any(
        each["role"] == "tool" or each.get("tool_calls") for each in given or ()
    ):
        return {**{key: below for key, below in body.items() if key != "input"}, "messages": given}
    return body


def _answer_beside(value: Wire) -> Any:
    if _is_answer(value) and not isinstance(value.get("output"), list):
        return value
    if value.get("object") == "response":
        return value
    for key in ANSWER_KEYS:
        if key in value and (found := _answer(value[key], DEPTH)) is not None:
            return found
    return None


def _is_answer(value: Wire) -> bool:
    lists = (value.get("choices"), value.get("candidates"), value.get("output"))
    return any(isinstance(each, list) for each in lists) or (
        value.get("role") in ("assistant", "model")
    )


def _answer(value: object, depth: int) -> Any:
    """Give an answer's body, or the pieces of a stream; a text is the answer itself."""
    if isinstance(value, str):
        if (pieces := _stream(value)) is not None:
            return pieces
        opened = _opened(value)
        if isinstance(opened, str):
            return opened if depth == DEPTH and opened.strip() else None
        value = opened
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], dict) and value[0].get("role") == "assistant":
            return value[0]
        if not value or not all(isinstance(each, dict) for each in value):
            return None
        kinds = {text_or(each, "type") for each in value}
        return {"output": value} if kinds <= OUTPUT_KINDS else value
    if not isinstance(value, dict):
        return None
    if _is_answer(value):
        return value
    if depth:
        for key in INNER_KEYS:
            if key in value and (found := _answer(value[key], depth - 1)) is not None:
                return found
    return None


def _stream(text: str) -> list[Any] | None:
    """Read server-sent events; None if the text is something else."""
    if not text.lstrip().startswith(("data:", "event:", ":")):
        return None
    pieces = []
    for line in text.split("\n"):
        if line.startswith("data:") and (data := line[5:].strip()) and data != "[DONE]":
            try:
                pieces.append(parse(data))
            except (ValueError, RecursionError):
                break  # cut off: what came before it was received
    return pieces or None


def _opened(value: object) -> object:
    """Give the JSON that a text holds; bodies are often logged as texts."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parse(value)
        except (ValueError, RecursionError):
            return value
    return value


def _time(value: Mapping[str, Any]) -> datetime | None:
    for place in (value, value.get("request")):
        if isinstance(place, dict):
            for key in TIME_KEYS:
                if (found := moment(place.get(key))) is not None:
                    return found
    return None
