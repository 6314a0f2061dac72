"""Results of tool calls, made of whatever a tool gives back."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from turnkeep.codec import content_error
from turnkeep.content import Model, ToolCall, ToolResult
from turnkeep.errors import ContentError


def result_of(call: ToolCall, value: object, status: Literal["success", "error"]) -> ToolResult:
    """Make the result of a call: of a text, any JSON, parts, an exception, or a result.

    Raises ContentError for what is not JSON, or a result of another call.
    """
    if isinstance(value, ToolResult):
        if value.tool_call_id != call.tool_call_id:
            raise ContentError(
                f"a result of call {value.tool_call_id!r} cannot answer call {call.tool_call_id!r}"
            )
        return value
    if isinstance(value, BaseException):
        value, status = f"{type(value).__name__}: {value}", "error"
    parts = isinstance(value, list) and any(isinstance(part, Model) for part in value)
    fields = {
        "tool_call_id": call.tool_call_id,
        "name": call.name,
        "status": status,
        "content": value if parts else [] if value is None else [value],
    }
    try:
        return ToolResult.model_validate(fields)
    except ValidationError as error:
        raise content_error(error, fields) from None


def rejection_of(call: ToolCall, reason: str | None) -> ToolResult:
    """Make the result of a call that a person rejected."""
    return result_of(call, f"rejected: {reason}" if reason else "rejected", "error")
