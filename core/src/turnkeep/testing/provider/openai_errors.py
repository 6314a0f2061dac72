"""OpenAI's errors, of Chat and of Responses: bodies, and the sentences for each rule.

Sentences are those that the API was seen to answer with (docs/design/validity.md names sources);
where a rule is stricter than the API, the sentence is the checker's own.
"""

from __future__ import annotations

from typing import Final

from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider.refusal import Refusal, id_at, value_at

_KINDS: Final = {
    401: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
ROLES: Final = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"


def error(refusal: Refusal) -> Wire:
    """Give the body of an error."""
    kind = refusal.kind or _KINDS.get(refusal.status, "invalid_request_error")
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def unauthorized(*, shown: bool) -> Refusal:
    """Refuse a key; the API shows a part of it, which is left out here."""
    if shown:
        said = (
            "Incorrect API key provided. You can find your API key at "
            "https://platform.openai.com/account/api-keys."
        )
        return Refusal("auth", said, 401, code="invalid_api_key")
    said = (
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    return Refusal("auth", said, 401)


def limited() -> Refusal:
    """Refuse by the rate."""
    said = "Rate limit reached for requests. Please try again later."
    return Refusal("limit", said, 429, "requests", "rate_limit_exceeded")


def overloaded() -> Refusal:
    """Refuse by the load."""
    said = "The server is currently overloaded with other requests. Please try again later."
    return Refusal("overloaded", said, 503)


def missing(name: str) -> Refusal:
    """Refuse a body without a parameter."""
    said = f"Missing required parameter: '{name}'."
    return Refusal("parameter", said, code="missing_required_parameter", param=name)


def unknown(name: str) -> Refusal:
    """Refuse a body with a parameter that there is none of."""
    said = f"Unknown parameter: '{name}'."
    return Refusal("parameter", said, code="unknown_parameter", param=name)


def chat_refusal(violation: Violation, body: Wire) -> Refusal:
    """Say what breaks a rule in the words of Chat."""
    rule, where, _ = violation
    if rule == "R1":
        said = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'."
        )
        return Refusal(rule, said, param=f"{where}.role")
    if rule in {"R2", "R3"}:
        call = id_at(body, where, "id", "tool_call_id")
        said = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{call}"
        )
        return Refusal(rule, said, param="messages")
    if rule == "R7":
        said = f"Duplicate value for 'tool_call_id' of '{value_at(body, where)}' in {where}"
        return Refusal(rule, said, param=where)
    if rule == "R6" and value_at(body, where) is None:
        said = "Invalid value for 'content': expected a string, got null."
        return Refusal(rule, said, param=where)
    if where.endswith(".role") or (rule == "wire" and where.count("[") == 1 and "." not in where):
        role = id_at(body, where, "role")
        if where.startswith("messages"):
            said = f"Invalid value: '{role}'. Supported values are: {ROLES}."
            return Refusal(rule, said, code="invalid_value", param=f"{where}.role")
    return shared(violation, body)


def responses_refusal(violation: Violation, body: Wire) -> Refusal:
    """Say what breaks a rule in the words of Responses."""
    rule, where, message = violation
    call = id_at(body, where, "call_id")
    if rule == "R1" and message.startswith("No tool call found"):
        said = f"No tool call found for function call output with call_id {call}."
        return Refusal(rule, said, param="input")
    if rule == "R2":
        return Refusal(rule, f"No tool output found for function call {call}.", param="input")
    if "Items are not persisted" in message:
        return gone(id_at(body, where, "id"), rule)
    if rule == "R9" and "required following item" in message:
        name = id_at(body, where, "id")
        said = (
            f"Item '{name}' of type 'reasoning' was provided without its required following item."
        )
        return Refusal(rule, said, param="input")
    if rule == "R9" and "required reasoning item" in message:
        name, kind = id_at(body, where), id_at(body, where.removesuffix(".id"), "type")
        said = (
            f"Item '{name}' of type '{kind or 'message'}' was provided without its required "
            "'reasoning' item."
        )
        return Refusal(rule, said, param="input")
    if "Expected an ID" in message:
        said = f"Invalid '{where}': '{value_at(body, where)}'. {message}."
        return Refusal(rule, said, code="invalid_value", param=where)
    return shared(violation, body)


def gone(item: str, rule: str) -> Refusal:
    """Refuse an item that the provider does not have."""
    said = (
        f"Item with id '{item}' not found. Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input."
    )
    return Refusal(rule, said, 404, param="input")


def shared(violation: Violation, body: Wire) -> Refusal:
    """Say what both APIs say alike."""
    rule, where, message = violation
    value = value_at(body, where)
    if rule == "R9" and where.rpartition(".")[2].startswith(("reasoning", "thinking")):
        return unknown(where)._replace(rule=rule)
    if where == "tool_choice" and value is not None and "tools" not in body:
        said = (
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are "
            "specified."
        )
        return Refusal(rule, said, param=where)
    code = "invalid_value"
    if isinstance(value, list) and not value:
        said = "empty array. Expected an array with minimum length 1, but got an empty array"
        said, code = f"{said} instead", "empty_array"
    elif where == "tools" and isinstance(value, list):
        said = f"array too long. Expected an array with maximum length 128, but got {len(value)}"
        said, code = f"{said} instead", "array_above_max_length"
    elif isinstance(value, str) and where.endswith(".name") and rule == "wire":
        said = "string does not match pattern. Expected a string that matches the pattern "
        said += "'^[a-zA-Z0-9_-]+$'"
    elif isinstance(value, str) and where.endswith(("id", "_key")) and rule == "wire":
        most = 40 if where.endswith(".id") else 64
        said = f"string too long. Expected a string with maximum length {most}, but got a string "
        said, code = f"{said}with length {len(value)} instead", "string_above_max_length"
    else:
        said = message.removesuffix(".")
    return Refusal(rule, f"Invalid '{where}': {said}.", code=code, param=where)
