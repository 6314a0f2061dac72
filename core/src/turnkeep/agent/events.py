"""What `Agent.stream` yields, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from turnkeep.agent.context import AgentResult, PendingToolCall
from turnkeep.content import ToolCall, ToolResult
from turnkeep.model import CallDelta, ModelAnswer, TextDelta, ThinkingDelta
from turnkeep.prepared import RequestReport


@dataclass(frozen=True)
class ModelCalled:
    """A request is about to be sent: what it weighs, and what a rewrite before it did, if any.

    `prefix_broken` is the share of the context's own request that a callback's does not begin
    with, so that no provider's cache can give it back; None where no callback changed it.
    """

    step: int
    request: RequestReport
    rewritten: Mapping[str, Any] | None = None
    prefix_broken: float | None = None


@dataclass(frozen=True)
class ModelAnswered:
    """The model's answer is stored."""

    step: int
    answer: ModelAnswer


@dataclass(frozen=True)
class ToolStarted:
    """A tool begins to run."""

    call: ToolCall


@dataclass(frozen=True)
class ToolFinished:
    """A tool's result, or its error, is stored."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True)
class ConfirmationsNeeded:
    """The run pauses: these calls wait for a person."""

    calls: Sequence[PendingToolCall]


@dataclass(frozen=True)
class Finished:
    """The run is over; always the last."""

    result: AgentResult


AgentEvent: TypeAlias = (
    ModelCalled
    | TextDelta
    | ThinkingDelta
    | CallDelta
    | ModelAnswered
    | ToolStarted
    | ToolFinished
    | ConfirmationsNeeded
    | Finished
)
