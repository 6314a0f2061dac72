"""The tutorial's factory of callbacks that make a request smaller once it is too large."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from turnkeep.agent.context import ExecutionContext
from turnkeep.agent.llm import LlmRequest, LlmResponse
from turnkeep.tutorial.memory import count_tokens

__all__ = ["create_optimizer_callback"]

Optimization: TypeAlias = Callable[[ExecutionContext, LlmRequest], Any]
BeforeLlm: TypeAlias = Callable[[ExecutionContext, LlmRequest], Awaitable[LlmResponse | None]]


def create_optimizer_callback(
    apply_optimization: Optimization, threshold: int = 50000, model_id: str = "gpt-4"
) -> BeforeLlm:
    """Make a `before_llm` callback that applies an optimization from `threshold` tokens on.

    `apply_optimization(context, request)` changes the request in place; it may be async. What it
    leaves is repaired and made to fit before it is sent, and not stored: at each call it begins
    with the whole context again, and breaks the provider's cache of it. The pipeline of `[context]`
    does it once, and keeps the result.
    """

    async def callback(context: ExecutionContext, request: LlmRequest) -> LlmResponse | None:
        if count_tokens(request, model_id=model_id) < threshold:
            return None
        result = apply_optimization(context, request)
        if inspect.isawaitable(result):
            await result
        return None

    return callback
