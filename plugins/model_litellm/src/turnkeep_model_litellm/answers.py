"""Answers: what the provider sent, whole or in pieces, as a `ModelAnswer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import ToolCall
from turnkeep.errors import ContentError
from turnkeep.formats import get_profile
from turnkeep.formats.stream import join_stream
from turnkeep.model import FinishReason, ModelAnswer
from turnkeep_model_litellm.faults import Faults
from turnkeep_model_litellm.prices import cost_of
from turnkeep_model_litellm.target import Target

_FINISHES: Final[Mapping[str, FinishReason]] = {
    # OpenAI Chat
    "stop": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
    # Anthropic
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    # OpenAI Responses
    "completed": "stop",
    "max_output_tokens": "length",
    # Gemini, in lower case
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
}


def answer_of(
    target: Target, faults: Faults, body: Mapping[str, Any], headers: Mapping[str, str]
) -> ModelAnswer:
    """Read a response body. Raises ModelError for one that is no answer."""
    if _failed(body):
        raise faults.of_event(body.get("error") or body)
    blocked = _blocked(body)
    if blocked is not None:
        empty = {"content": {"role": "model", "parts": []}, "finishReason": blocked}
        body = {**body, "candidates": [empty]}
    try:
        parsed = get_profile(target.profile).parse_response(body)
    except ContentError as error:
        raise faults.garbage(str(error)) from None
    if not parsed.items and parsed.finish is None:
        raise faults.garbage("an answer without content")
    finish = _FINISHES.get((parsed.finish or "").lower(), "content_filter" if blocked else "other")
    if finish == "stop" and any(isinstance(item, ToolCall) for item in parsed.items):
        finish = "tool_calls"  # Responses and Gemini say that they are done with calls, too
    return ModelAnswer(
        items=parsed.items,
        usage=parsed.usage,
        finish=finish,
        model=_text(body.get("model") or body.get("modelVersion")),
        cost=cost_of(target, parsed.usage),
        partial=parsed.partial,
        provider=_reported(body, headers, parsed.finish),
    )


def joined_answer(
    target: Target,
    faults: Faults,
    events: Sequence[dict[str, Any]],
    headers: Mapping[str, str],
    *,
    whole: bool = True,
) -> ModelAnswer:
    """Read the events of a finished stream, or of a cut one if not `whole`.

    Raises ModelUnavailable with what came as its `partial` if the stream ended before the answer.
    """
    if not events and not whole:
        raise faults.cut()
    try:
        joined = join_stream(events)
    except ContentError as error:
        raise faults.garbage(str(error)) from None
    if joined is None:
        raise faults.garbage("a stream of events that are not the provider's")
    if whole and not joined.cut:
        return answer_of(target, faults, _named(joined.body, events), headers)
    cut = faults.cut()
    cut.partial = partial_answer(target, events, headers)
    raise cut


def partial_answer(
    target: Target,
    events: Sequence[dict[str, Any]],
    headers: Mapping[str, str],
) -> ModelAnswer | None:
    """Read what came of a stream that was cut off; None if that was nothing."""
    try:
        joined = join_stream(events)
        if joined is None:
            return None
        parsed = get_profile(target.profile).parse_response(joined.body)
    except ContentError:
        return None
    if not parsed.items:
        return None
    body = _named(joined.body, events)
    return ModelAnswer(
        items=parsed.items,
        usage=parsed.usage,
        finish="other",
        model=_text(body.get("model") or body.get("modelVersion")),
        cost=cost_of(target, parsed.usage),
        partial=True,
        provider=_reported(body, headers, None),
    )


def _named(body: dict[str, Any], events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add what names the answer, where joining has left it out (OpenAI Chat)."""
    first = events[0] if events else {}
    return {key: first[key] for key in ("id", "model") if first.get(key)} | body


def _failed(body: Mapping[str, Any]) -> bool:
    if body.get("status") in {"failed", "cancelled"}:
        return True
    return bool(body.get("error")) and not body.get("choices") and not body.get("output")


def _blocked(body: Mapping[str, Any]) -> str | None:
    """Say why Gemini refused a prompt, if it did."""
    feedback = body.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
    return _text(reason) if not body.get("candidates") else None


def _reported(
    body: Mapping[str, Any], headers: Mapping[str, str], said: str | None
) -> dict[str, JsonValue]:
    """Keep by what a provider's support finds a call, and why it says that the model stopped."""
    lower = {name.lower(): value for name, value in headers.items()}
    request = next(
        (
            lower[name]
            for name in ("x-request-id", "request-id", "x-amzn-requestid")
            if name in lower
        ),
        None,
    )
    found = {
        "id": _text(body.get("id") or body.get("responseId")),
        "request_id": request,
        "finish": said,
    }
    return {key: value for key, value in found.items() if value}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
