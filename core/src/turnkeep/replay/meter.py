"""Meter: the summarizer as the steps of one session ask it, and what it took.

A replay sends nothing, so no provider can report what of a request it had cached. Where a step asks
the conversation's own model with the conversation's own prefix (`View.extended`), it is worked out
by the rules by which requests are priced: what the request has in common with the one that was sent
last. Where a provider reports cached tokens, its report is taken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from turnkeep.content import Usage, sum_usage
from turnkeep.errors import ConfigError, ModelRefused
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelClient,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
)
from turnkeep.prices import PriceRow
from turnkeep.replay.cache import CacheUse
from turnkeep.replay.recorded import NotRecorded


class Spent(NamedTuple):
    """What models took for summaries: `times` steps asked; `cost` is in plain input tokens."""

    times: int = 0
    input: int = 0
    output: int = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:  # type: ignore[override]  # no concatenation
        return Spent(
            self.times + other.times,
            self.input + other.input,
            self.output + other.output,
            self.cost + other.cost,
        )


def spent_of(usage: Usage, price: PriceRow, times: int = 1) -> Spent:
    """Price a report of tokens: what was cached at the price of reading, output at its own."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    plain = usage.input_tokens - cached - written
    cost = price.cost(cached=cached, written=written, plain=plain)
    cost += price.output * usage.output_tokens
    return Spent(times, usage.input_tokens, usage.output_tokens, cost)


def told(report: Mapping[str, Any]) -> list[Usage]:
    """Give what the steps of a checkpoint's report say that models took."""
    steps: Sequence[Mapping[str, Any]] = report.get("steps") or ()
    return [Usage.model_validate(step["usage"]) for step in steps if step.get("usage")]


class Meter:
    """A model client in front of the summarizer's; any step gets it, whatever model it names.

    `cache` says of a request that goes on from the conversation's own how it is billed, None for
    any other request.
    """

    def __init__(
        self,
        client: ModelClient | None,
        label: str,
        price: PriceRow,
        cache: Callable[[ModelRequest], CacheUse | None],
        count: Callable[[Sequence[str]], Sequence[int]],
    ) -> None:
        self._client = client
        self._label = label
        self._price = price
        self._cache = cache
        self._count = count
        self._metered: list[Usage] = []
        self._charged: list[Usage] = []
        self.fault: ConfigError | None = None
        """Why the replay cannot go on; steps may take any error for the model's."""

    def open(self, name: str | None) -> AbstractAsyncContextManager[ModelClient]:
        """Give the summarizer. Raises ConfigError where there is none."""
        del name
        if self._client is None:
            self.fault = ConfigError(
                f"policy {self._label!r} asks a model for summaries; say which one by "
                "--summarizer extractive, model:ID or recorded:FILE"
            )
            raise self.fault
        return nullcontext(self)

    @property
    def _asked(self) -> ModelClient:
        assert self._client is not None  # else it was never given out
        return self._client

    @property
    def model_id(self) -> str:
        """The summarizer's."""
        return self._asked.model_id

    @property
    def profile(self) -> str:
        """The summarizer's."""
        return self._asked.profile

    @property
    def limits(self) -> ModelLimits:
        """The summarizer's."""
        return self._asked.limits

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask it; the answer says what a provider would have billed."""
        try:
            answer = await self._asked.generate(request, settings)
        except NotRecorded as error:
            self.fault = error
            raise ModelRefused(str(error), model=self.model_id) from None
        usage = self._billed(request, answer)
        self._metered.append(usage)
        return replace(answer, usage=usage)

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Ask it, and give the answer in one piece."""
        yield await self.generate(request, settings)

    def spent(self, report: Mapping[str, Any] | None) -> Spent:
        """Price what a checkpoint's report tells."""
        usages = [] if report is None else told(report)
        self._charged += usages
        return sum((spent_of(usage, self._price) for usage in usages), Spent())

    def rest(self) -> Spent:
        """Price what was answered and stands in no report: a rewrite came to nothing."""
        asked, charged = sum_usage(self._metered), sum_usage(self._charged) or Usage()
        if asked is None:
            return Spent()
        rest = {
            name: max(getattr(asked, name) - getattr(charged, name), 0)
            for name in Usage.model_fields
        }
        self._charged.append(Usage(**rest))
        return spent_of(Usage(**rest), self._price, 0)

    def _billed(self, request: ModelRequest, answer: ModelAnswer) -> Usage:
        usage = answer.usage or self._counted(request, answer)
        if usage.cached_tokens or usage.cache_write_tokens:
            return usage
        use = self._cache(request)
        if use is None or not sum(use):
            return usage
        # The summarizer may count otherwise than the replay does, so its shares are taken.
        share = usage.input_tokens / sum(use)
        return usage.model_copy(
            update={
                "cached_tokens": int(use.cached * share),
                "cache_write_tokens": int(use.written * share),
            }
        )

    def _counted(self, request: ModelRequest, answer: ModelAnswer) -> Usage:
        """Count where the model does not tell."""
        body = request.to(self.profile, cache=False)
        return Usage(
            input_tokens=sum(self._count(list(_strings(body)))),
            output_tokens=sum(self._count([answer.text])),
        )


def _strings(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in below for text in _strings(each)]
