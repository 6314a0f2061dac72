"""The keys of core's own tables, and durations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import core_schema

from turnkeep.meta import TURN_TIMEOUT
from turnkeep.optimize.rules import Use
from turnkeep.store import MAX_TTL

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN: Final = r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*"


def seconds(text: str) -> float:
    """Read a duration such as "24h", "10m", "1.5s" or "250ms"; a bare number is seconds.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(_PATTERN, text, re.ASCII)
    if match is None:
        raise ValueError('a duration is a number with a unit, such as "90s", "10m", "24h" or "7d"')
    return float(match[1]) * _UNITS.get(match[2], 1.0)


def duration_text(value: float) -> str:
    """Write seconds the way `seconds` reads them, in the largest unit that is whole."""
    for unit, size in reversed(_UNITS.items()):
        if value >= size and (value / size).is_integer():
            return f"{value / size:.0f}{unit}"
    return f"{value!r}s"


def _duration(value: object) -> object:
    return seconds(value) if isinstance(value, str) else value


class AsDuration:
    """Marks a float as seconds that may be written as a text with a unit: put it last.

    `Annotated[float, Field(gt=0), AsDuration()]`; without bounds of its own, `Duration` will do.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_duration, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": f"^{_PATTERN}$"}]}


Duration: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False), AsDuration()]
"""Seconds, read from a number or from a text such as "10m". For the options of plugins, too."""

_Lasting: TypeAlias = Annotated[
    float, Field(gt=0, le=MAX_TTL, allow_inf_nan=False, strict=True), AsDuration()
]


class Wrap(Use):
    """A store wrapper with options of its own, as in `{ use = "compress", above = 500 }`."""

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield "use", self.use  # its options may be secrets


class SessionOptions(BaseModel):
    """How sessions are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field(default="memory", description="what keeps the sessions")
    wrap: list[str | Wrap] = Field(
        default=[],
        description='what stands around the store, from it outwards, as in ["encrypt", "compress"]',
        examples=[["compress"]],
    )
    ttl: _Lasting | None = Field(
        default=None,
        examples=["24h"],
        description="sessions expire this long after their last append; default: never",
    )
    sweep: _Lasting | None = Field(
        default=None,
        examples=["10m"],
        description="expired sessions are removed this often in the background; default: not",
    )
    turn_timeout: Annotated[float, Field(ge=0.05, le=MAX_TTL, strict=True), AsDuration()] = Field(
        default=TURN_TIMEOUT,
        description="a turn silent for this long is dead, and may be taken over",
    )
    on_conflict: Literal["error", "wait"] = Field(
        default="error", description="what a turn does while another one of its session runs"
    )
    on_pending: Literal["raise", "reject"] = Field(
        default="raise", description="what a new input does while calls wait for approval"
    )


class ModelOptions(BaseModel):
    """Which model answers. Without a client a program asks its models itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str | None = Field(
        default=None, description="what speaks to the model", examples=["litellm"]
    )
    id: str = Field(
        default="",
        description="the model, as its client names it",
        examples=["openai/gpt-4o-mini"],
    )


class TokenOptions(BaseModel):
    """How tokens are counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counter: str = Field(default="estimate", description="what counts the tokens")
    learn: bool = Field(
        default=True,
        description="whether counts are corrected by what providers report of requests",
    )
