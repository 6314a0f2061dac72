"""What the server saw: each request, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnkeep.content import Usage
from turnkeep.testing.provider.script import Answer


@dataclass
class SeenRequest:
    """One request as it came, and how it was answered.

    Attributes:
        number: 1 for the first request of the server.
        profile: the name of the profile whose API was called.
        path: the path of its URL, without the query.
        body: the JSON body; {} if there was none.
        headers: by names in small letters; a key is never kept, "(hidden)" stands for it.
        model: the model that was asked for, "" if none.
        streamed: whether a stream was asked for.
        at: when it came, in seconds of the server's clock.
        status: the status of the answer; 0 if none was sent.
        error: the sentence of the error that was sent, None if it was answered.
        rule: which rule refused it: "R1" to "R9" or "wire" (see docs/formats.md), "parameter",
            "seal", "context", "auth", "limit"; None if it was not refused.
        answer: what the script gave.
        usage: what was billed, None if nothing was.
        delivered: whether the answer went out whole, as far as the server can tell.
    """

    number: int
    profile: str
    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    model: str
    streamed: bool
    at: float
    status: int = 0
    error: str | None = None
    rule: str | None = None
    answer: Answer | None = None
    usage: Usage | None = None
    delivered: bool = False
    delays: list[float] = field(default_factory=list)
    """The seconds that a fault made the answer wait, in order."""
