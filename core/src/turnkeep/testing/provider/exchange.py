"""Exchanges: the course of one request, from its headers to the last byte of its answer."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from turnkeep.content import Usage
from turnkeep.formats import get_profile
from turnkeep.formats.profile import Wire
from turnkeep.prices import PriceRow
from turnkeep.testing.provider.billing import Bill, Cache, Marked
from turnkeep.testing.provider.clock import Clock
from turnkeep.testing.provider.dialect import Dialect, Made, texts_of_answer
from turnkeep.testing.provider.limits import RateLimit
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.script import SPOILED, Answer, Fault, Say, Step
from turnkeep.testing.provider.seen import SeenRequest
from turnkeep.testing.provider.sending import Sender, json_object
from turnkeep.testing.provider.weight import Scale

HIDDEN: Final = "(hidden)"
SECRETS: Final = frozenset({"authorization", "x-api-key", "x-goog-api-key", "cookie", "api-key"})
LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a request; Anthropic's limit, taken for all."""
UNREADABLE: Final = Refusal("wire", "We could not parse the JSON body of your request.")
TOO_LARGE: Final = Refusal("wire", "Request exceeds the maximum size", 413)


class Exchanges:
    """Takes requests and answers them. All of it runs in the server's one thread."""

    def __init__(
        self,
        *,
        default: Step | None,
        api_key: str | None,
        context_window: int | None,
        scale: Scale,
        prices: Mapping[str, PriceRow],
        allow: Collection[str],
        clock: Clock,
    ) -> None:
        self.default = default
        self.queue: deque[Step] = deque()
        self.seen: list[SeenRequest] = []
        self.failures: list[Exception] = []
        """What functions of the script raised."""
        self.limit: RateLimit | None = None
        self.context_window = context_window
        self._api_key = api_key
        self._scale = scale
        self._cache = Cache(scale, clock, prices)
        self._allow = frozenset(allow)
        self._clock = clock

    async def handle(
        self, request: web.Request, dialect: Dialect, model: str, *, streamed: bool | None
    ) -> web.StreamResponse:
        """Answer a request; `model` and `streamed` are what the URL tells, if it does."""
        data = await request.read()
        body = json_object(data)
        headers = {name.lower(): value for name, value in request.headers.items()}
        known = body or {}
        seen = SeenRequest(
            number=len(self.seen) + 1,
            profile=dialect.name,
            path=request.path,
            body=known,
            headers={name: HIDDEN if name in SECRETS else value for name, value in headers.items()},
            model=model or dialect.model(known),
            streamed=dialect.streamed(known) if streamed is None else streamed,
            at=self._clock.now(),
        )
        self.seen.append(seen)
        sender = Sender(request, seen, dialect)
        closed = self._at_the_door(dialect, headers, request.query, seen.at)
        if closed is not None:
            return await sender.refuse(*closed)
        if body is None or len(data) > LARGEST:
            return await sender.refuse(UNREADABLE if body is None else TOO_LARGE)
        normal = dialect.normal(body, seen.model)
        found = self._refusal(dialect, normal, headers)
        if found is not None:
            return await sender.refuse(found)
        marked = self._cache.weigh(dialect.name, seen.model, dialect.prompt(normal))
        if self.context_window is not None:
            found = dialect.too_long(normal, marked.sent.total, self.context_window)
            if found is not None:
                return await sender.refuse(found)
        try:
            seen.answer = await self._next(seen)
        except Exception as error:  # noqa: BLE001  # a test's function, whose asserts are the test's
            return await self._failed(sender, error)
        return await self._respond(sender, normal, marked)

    async def _failed(self, sender: Sender, error: Exception) -> web.StreamResponse:
        """Answer that the script failed; the error itself is for whoever runs the test."""
        self.failures.append(error)
        said = f"the script failed at request {sender.seen.number}: {type(error).__name__}"
        return await sender.refuse(Refusal("", said, 500))

    def _at_the_door(
        self, dialect: Dialect, headers: Mapping[str, str], query: Mapping[str, str], now: float
    ) -> tuple[Refusal, dict[str, str]] | None:
        """Refuse by the key and by the rate, before the body is looked at."""
        if self._api_key is not None:
            key = dialect.key(headers, query)
            if key != self._api_key:
                return dialect.unauthorized(shown=key is not None), {}
        if self.limit is not None:
            wait = self.limit.take(now)
            if wait is not None:
                return dialect.limited(), _retry(wait)
        return None

    def _refusal(self, dialect: Dialect, body: Wire, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse by the form of the body."""
        if "parameter" not in self._allow:
            found = dialect.unusual(body, headers)
            if found is not None:
                return found
        for violation in get_profile(dialect.name).check(body):
            if violation.rule not in self._allow:
                return dialect.refusal(violation, body)
        return None if "seal" in self._allow else dialect.unsealed(body)

    async def _next(self, seen: SeenRequest) -> Answer | None:
        """Give the script's next answer; None if there is none."""
        step = self.queue.popleft() if self.queue else self.default
        if step is None:
            return None
        answer: Any = step
        if not isinstance(step, Say | Fault | str):
            answer = step(seen)
            if inspect.isawaitable(answer):
                answer = await answer
        return Say(answer) if isinstance(answer, str) else answer

    async def _respond(self, sender: Sender, body: Wire, marked: Marked) -> web.StreamResponse:
        seen, dialect, answer = sender.seen, sender.dialect, sender.seen.answer
        if answer is None:
            said = f"no answer is scripted for request {seen.number} ({seen.profile}): give one "
            said += "with server.answer(...), or a default="
            return await sender.refuse(Refusal("", said, 500))
        say = replace(SPOILED, fault=answer) if isinstance(answer, Fault) else answer
        fault = say.fault
        failure = None if fault is None else _failure(fault, dialect, streamed=seen.streamed)
        if fault is not None and failure is not None:
            return await sender.refuse(failure, _retry(fault.retry_after))
        if fault is not None and fault.kind == "empty":
            say = Say(finish=say.finish, fault=fault)
        bill = self._cache.bill(dialect.name, seen.model, marked)
        seen.usage = self._usage(say, seen.model, bill)
        return await sender.answer(Made(say, seen.model, body, seen.usage, bill.hour))

    def _usage(self, say: Say, model: str, bill: Bill) -> Usage:
        thought = self._scale.texts([say.thinking or ""], model)
        said = self._scale.texts(texts_of_answer(say), model)
        return Usage(
            input_tokens=bill.tokens,
            output_tokens=thought + said if say.output_tokens is None else say.output_tokens,
            cached_tokens=bill.use.cached,
            cache_write_tokens=bill.written,
            reasoning_tokens=thought,
        )


def _retry(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"retry-after": f"{seconds:g}"}


def _failure(fault: Fault, dialect: Dialect, *, streamed: bool) -> Refusal | None:
    """Give the error of a fault that is one from the first byte."""
    makers: dict[str, Callable[[], Refusal]] = {
        "rate limit": dialect.limited,
        "overloaded": dialect.overloaded,
    }
    if fault.kind in makers:
        return makers[fault.kind]()._replace(rule="")
    if fault.kind == "server error" or (fault.kind == "broken" and not streamed):
        said = "The server had an error while processing your request. Sorry about that!"
        return Refusal("", said, fault.status or 500)
    return None
