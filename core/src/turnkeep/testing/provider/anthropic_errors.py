"""Anthropic's errors: bodies, and the sentences for each rule.

Sentences are those that the API was seen to answer with; where a rule is stricter than the API,
the sentence is the checker's own.
"""

from __future__ import annotations

import re
from typing import Final

from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider.refusal import Refusal, id_at, value_at

_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_INDEX: Final = re.compile(r"\[(\d+)\]")


def error(refusal: Refusal, request_id: str) -> Wire:
    """Give the body of an error."""
    kind = _KINDS.get(refusal.status)
    kind = kind or ("api_error" if refusal.status >= 500 else "invalid_request_error")
    inner = {"type": refusal.kind or kind, "message": refusal.message}
    return {"type": "error", "error": inner, "request_id": request_id}


def refusal(violation: Violation, body: Wire) -> Refusal:
    """Say what breaks a rule in the API's words."""
    rule, where, message = violation
    return Refusal(rule, _sentence(rule, where, message, body))


def _sentence(rule: str, where: str, message: str, body: Wire) -> str:
    at = _INDEX.sub(r".\1", where)
    value = value_at(body, where)
    if rule == "R1":
        call = id_at(body, where, "tool_use_id")
        if "already" in message:
            said = "each tool_use must have a single result. Found multiple `tool_result` blocks"
            return f"{at}: {said} with id: {call}"
        return (
            f"{at}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. Each "
            "`tool_result` block must have a corresponding `tool_use` block in the previous "
            "message."
        )
    if rule in {"R2", "R3"}:
        call = id_at(body, where, "id", "tool_use_id")
        return (
            f"{at.partition('.content')[0]}: `tool_use` ids were found without `tool_result` "
            f"blocks immediately after: {call}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message."
        )
    if rule == "R4":
        return 'messages: first message must use the "user" role'
    if rule == "R5":
        return (
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    if rule == "R6":
        return _empty(at, value)
    if rule == "R7":
        return f"{at.removesuffix('.id')}: `tool_use` ids must be unique"
    if rule == "R8":
        if where == "tool_choice":
            name = id_at(body, where, "name")
            return f"tool_choice: Tool '{name}' not found in provided tools"
        if "must define tools" in message:
            return "Requests which include `tool_use` or `tool_result` blocks must define tools"
    if rule == "R9":
        return _thinking(at, message, id_at(body, where, "type"))
    return _shape(where, at, message, body)


def _empty(at: str, value: object) -> str:
    if value == []:
        place = at.removesuffix(".content")
        return (
            f"{place}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    text = value.get("text", "") if isinstance(value, dict) else value
    place = at.partition(".")[0]
    if text:
        return f"{place}: text content blocks must contain non-whitespace text"
    return f"{place}: text content blocks must be non-empty"


def _thinking(at: str, message: str, kind: str) -> str:
    if "seal" in message:
        return (
            f"{at}.{kind}.{'data' if kind.startswith('redacted') else 'signature'}: Field required"
        )
    if "must begin" in message:
        return found_instead(at, kind)
    if "final block" in message:
        place = at.partition(".content")[0]
        return f"{place}: The final block in an assistant message cannot be `thinking`."
    return f"{at}: {message}"


def found_instead(at: str, kind: str) -> str:
    """Say that thinking is missing at the beginning of a message."""
    return (
        f"{at}.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When "
        "`thinking` is enabled, a final `assistant` message must start with a thinking block "
        "(preceeding the lastmost set of `tool_use` and `tool_result` blocks). To avoid this "
        "requirement, disable `thinking`."
    )


def _shape(where: str, at: str, message: str, body: Wire) -> str:
    if where == "messages":
        return "messages: at least one message is required"
    if where == "cache_control":
        count = message.partition(" ")[0]
        return f"A maximum of 4 blocks with cache_control may be provided. Found {count}."
    if where == "max_tokens":
        return "max_tokens: Input should be greater than or equal to 1"
    if "extra inputs" in message:
        return f"{at}: Extra inputs are not permitted"
    if "must alternate" in message:
        role = id_at(body, where, "role")
        return (
            'messages: roles must alternate between "user" and "assistant", but found multiple '
            f'"{role}" roles in a row'
        )
    if "declared twice" in message:
        return "tools: Tool names must be unique."
    if where.endswith(".id"):
        return (
            f"{at.removesuffix('.id')}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        )
    if where.endswith(".name"):
        return f"{at}: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    return f"{at}: {message}"
