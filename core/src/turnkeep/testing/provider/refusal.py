"""Refusals: what a provider says instead of an answer, before it takes its provider's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_STEP = re.compile(r"[^.\[\]]+")


class Refusal(NamedTuple):
    """An error to answer with.

    Attributes:
        rule: which rule refuses (see `SeenRequest.rule`); "" for what is not the request's fault.
        message: the sentence.
        status: of HTTP.
        kind: the provider's type or status of error; "" for what belongs to the HTTP status.
        code: OpenAI's code, or Gemini's reason.
        param: OpenAI's parameter, or Gemini's field.
    """

    rule: str
    message: str
    status: int = 400
    kind: str = ""
    code: str | None = None
    param: str | None = None


def value_at(body: Mapping[str, Any], where: str) -> Any:
    """Give what stands at a place ("messages[2].content[0]") of a body; None if nothing does."""
    value: Any = body
    for step in _STEP.findall(where):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def id_at(body: Mapping[str, Any], where: str, *names: str) -> str:
    """Give the id at a place, under the first of these names that it has."""
    value = value_at(body, where)
    for name in names:
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(found, str):
            return found
    return value if isinstance(value, str) else ""
