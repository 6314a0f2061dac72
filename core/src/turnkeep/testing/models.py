"""A model client that says what it is told to, and checks what it is asked: for tests of agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeAlias

from turnkeep.content import ITEM_TYPES, Item, Message, ToolCall, Usage
from turnkeep.formats import get_profile
from turnkeep.model import (
    DEFAULTS,
    CallDelta,
    ModelAnswer,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
    TextDelta,
)

Said: TypeAlias = str | Item | Sequence[Item] | ModelAnswer | BaseException
"""An answer: a text, items, a whole answer, or an error to raise."""
Script: TypeAlias = Said | Callable[[dict[str, Any]], Said]
"""An answer, or a function that gives one for the body of the request."""


class ScriptedModel:
    """Gives answers in their order, to one request each; `requests` holds the bodies.

    A request that its provider would not take is an AssertionError: so is one too many. Without
    `usage` an answer reports none. `pieces` cuts streamed texts into pieces of so many characters.
    """

    def __init__(
        self,
        *answers: Script,
        profile: str = "openai-chat",
        model_id: str = "scripted",
        limits: ModelLimits | None = None,
        pieces: int = 8,
    ) -> None:
        self.answers = list(answers)
        self.profile = profile
        self.model_id = model_id
        self.limits = limits or ModelLimits()
        self.pieces = pieces
        self.requests: list[dict[str, Any]] = []
        self.settings: list[ModelSettings] = []

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Give the next answer."""
        body = request.to(self.profile)
        assert not (broken := get_profile(self.profile).check(body)), broken
        self.requests.append(body)
        self.settings.append(settings)
        assert self.answers, f"request {len(self.requests)} has no answer in the script"
        script = self.answers.pop(0)
        said = script(body) if callable(script) else script
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, ModelAnswer):
            return said
        if isinstance(said, str):
            said = [Message(role="assistant", content=said)]
        items = [said] if isinstance(said, ITEM_TYPES) else list(said)
        calls = any(isinstance(item, ToolCall) for item in items)
        return ModelAnswer(items=items, finish="tool_calls" if calls else "stop")

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Give the next answer in pieces."""
        answer = await self.generate(request, settings)
        for start in range(0, len(answer.text), self.pieces):
            yield TextDelta(answer.text[start : start + self.pieces])
        for number, call in enumerate(answer.tool_calls):
            yield CallDelta(number, call.name, "")
        yield answer


def used(prompt: int, answer: int, cached: int = 0) -> Usage:
    """Make a report of tokens."""
    return Usage(input_tokens=prompt, output_tokens=answer, cached_tokens=cached)
