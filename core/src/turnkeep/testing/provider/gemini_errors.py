"""Gemini's errors: bodies, and the sentences for each rule.

Sentences are those that the API was seen to answer with (docs/design/validity.md names sources);
where a rule is stricter than the API, the sentence is the checker's own.
"""

from __future__ import annotations

from typing import Any, Final

from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider.refusal import Refusal, id_at

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RPC: Final = "type.googleapis.com/google.rpc"
EQUAL: Final = (
    "Please ensure that the number of function response parts is equal to the number of function "
    "call parts of the function call turn."
)
BEHIND: Final = (
    "Please ensure that function response turn comes immediately after a function call turn."
)
LAST: Final = "Please ensure that multiturn requests ends with a user role or a function response."
FIRST: Final = "Please ensure that multiturn requests begin with a user role."


def error(refusal: Refusal) -> Wire:
    """Give the body of an error."""
    inner: Wire = {
        "code": refusal.status,
        "message": refusal.message,
        "status": refusal.kind or _STATUSES.get(refusal.status, "UNKNOWN"),
    }
    details: list[Any] = []
    if refusal.code is not None:
        details.append(
            {"@type": f"{_RPC}.ErrorInfo", "reason": refusal.code, "domain": "googleapis.com"}
        )
    if refusal.param is not None:
        found = {"field": refusal.param, "description": refusal.message}
        details.append({"@type": f"{_RPC}.BadRequest", "fieldViolations": [found]})
    return {"error": inner | ({"details": details} if details else {})}


def unknown(name: str, where: str = "") -> str:
    """Say that there is no such field."""
    place = f" at '{where}'" if where else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'


def refusal(violation: Violation, body: Wire) -> Refusal:
    """Say what breaks a rule in the API's words."""
    rule, where, message = violation
    said = {"R2": EQUAL, "R3": BEHIND, "R4": FIRST, "R5": LAST}.get(rule, message)
    if rule == "R1":
        said = EQUAL
    elif "missing a thought_signature" in message:
        name = id_at(body, f"{where}.functionCall", "name")
        place = int(where.partition("[")[2].partition("]")[0]) + 1
        said = (
            "Function call is missing a thought_signature in functionCall parts. This is required "
            "for tools to work correctly, and missing thought_signature may lead to degraded model "
            f"performance. Additional data, function call `default_api:{name}` , position {place}. "
            "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more "
            "details."
        )
    elif "Unknown name" in message:
        parent, _, field = where.rpartition(".")
        said = unknown(field, parent)
    elif where == "contents":
        said = "* GenerateContentRequest.contents: contents is not specified\n"
    elif rule == "R6" and where.endswith(".parts"):
        said = f"* GenerateContentRequest.{where}: contents.parts must not be empty.\n"
    elif "one initialized field" in message:
        said = f"* GenerateContentRequest.{where}.data: {message}\n"
    return Refusal(rule, said, param=where if rule == "wire" else None)
