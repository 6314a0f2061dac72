"""The server: a provider's API on this machine, in a thread of the process that starts it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Final, Self

from aiohttp import web

from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.prices import PriceRow
from turnkeep.testing.provider.anthropic import DIALECT as ANTHROPIC
from turnkeep.testing.provider.clock import Clock
from turnkeep.testing.provider.dialect import Dialect
from turnkeep.testing.provider.exchange import Exchanges
from turnkeep.testing.provider.gemini import DIALECT as GEMINI
from turnkeep.testing.provider.limits import RateLimit
from turnkeep.testing.provider.openai_chat import DIALECT as CHAT
from turnkeep.testing.provider.openai_responses import DIALECT as RESPONSES
from turnkeep.testing.provider.script import Step
from turnkeep.testing.provider.seen import SeenRequest
from turnkeep.testing.provider.weight import Scale
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter

LARGEST_READ: Final = 256 * 1024 * 1024
MODELS: Final = ("gpt-4o", "gpt-5", "claude-sonnet-4-5", "gemini-3-pro-preview")
_NOT_ITS_FAULT: Final = frozenset({"limit", None})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProviderServer:
    """A strict provider on 127.0.0.1; use it as `with ProviderServer(...) as server:`.

    It speaks OpenAI Chat, OpenAI Responses, Anthropic Messages and Gemini, refuses what they
    refuse, bills as they do, and answers what its script says.

    Args:
        *steps: the first items of the script (see `answer`).
        default: what is answered where the script is at its end; None: error 500.
        api_key: the only key that is let in; None: any, or none.
        context_window: tokens that a request may have; None: any number.
        counter: counts texts; None: the estimating counter.
        prices: rows of cache rules by the name of a profile; others go by the model.
        allow: rules that are not looked at: "R1" to "R9", "wire", "parameter" (of the body),
            "seal" (reasoning as it was given). For conversations with recorded reasoning "seal".
        clock: the clock of caches and rate limits.
        models: what `GET /v1/models` lists.

    What a function of the script raises is answered with status 500, and raised again at the end of
    the `with` block: asserts in it count.
    """

    def __init__(
        self,
        *steps: Step,
        default: Step | None = None,
        api_key: str | None = None,
        context_window: int | None = None,
        counter: TokenCounter | None = None,
        prices: Mapping[str, PriceRow] | None = None,
        allow: Collection[str] = (),
        clock: Clock | None = None,
        models: Collection[str] = MODELS,
    ) -> None:
        self.clock = clock or Clock()
        self._models = tuple(models)
        self._exchanges = Exchanges(
            default=default,
            api_key=api_key,
            context_window=context_window,
            scale=Scale(counter or EstimateCounter()),
            prices=prices or {},
            allow=allow,
            clock=self.clock,
        )
        self._exchanges.queue.extend(steps)
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.stop()
        if kind is None and self._exchanges.failures:
            raise self._exchanges.failures[0]

    def start(self) -> None:
        """Listen on a free port, after `stop` on the same one; returns when requests are taken.

        Raises OSError.
        """
        ready: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="provider-server", daemon=True
        )
        self._thread.start()
        self._port = ready.result()

    def stop(self) -> None:
        """Cut all connections, and end the thread. Again is nothing."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = self._stop = None

    def answer(self, *steps: Step) -> None:
        """Put items at the end of the script; each accepted request takes one.

        An item is a text, a `Say`, a `Fault`, or a function that gets the `SeenRequest` and gives
        one of these (it may be async). It runs in the server's thread.
        """
        self._exchanges.queue.extend(steps)

    def limit_rate(self, requests: int, per_seconds: float) -> None:
        """Let so many requests through in any so many seconds of `clock`; more get 429."""
        self._exchanges.limit = RateLimit(requests, per_seconds)

    def unlimited(self) -> None:
        """End the limit of `limit_rate`."""
        self._exchanges.limit = None

    @property
    def default(self) -> Step | None:
        """What is answered where the script is at its end; may be set."""
        return self._exchanges.default

    @default.setter
    def default(self, step: Step | None) -> None:
        self._exchanges.default = step

    @property
    def context_window(self) -> int | None:
        """Tokens that a request may have; may be set."""
        return self._exchanges.context_window

    @context_window.setter
    def context_window(self, tokens: int | None) -> None:
        self._exchanges.context_window = tokens

    @property
    def pending(self) -> int:
        """How many items of the script are left."""
        return len(self._exchanges.queue)

    @property
    def requests(self) -> list[SeenRequest]:
        """All requests so far, in the order in which they came."""
        return list(self._exchanges.seen)

    @property
    def rejected(self) -> list[SeenRequest]:
        """The requests that were refused for what they are: not by faults, nor by the rate."""
        return [seen for seen in self.requests if seen.rule not in _NOT_ITS_FAULT]

    @property
    def url(self) -> str:
        """The base address, without a slash at its end. Raises RuntimeError when not started."""
        if self._thread is None:
            raise RuntimeError("the server is not running: use it in a `with` block")
        return f"http://127.0.0.1:{self._port}"

    def base_url(self, profile: str) -> str:
        """Give the base address that the official SDK of this profile's API, and LiteLLM, take.

        Raises ContentError for a profile that there is none of.
        """
        name = get_profile(profile).name
        return f"{self.url}/v1" if name.startswith("openai") else self.url

    async def _serve(self, ready: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.01,  # with 0, aiohttp waits for ever for what hangs
        )
        try:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=512)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            ready.set_exception(error)
            return
        ready.set_result(int(runner.addresses[0][1]))
        await self._stop.wait()
        await runner.cleanup()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_READ)
        for prefix in ("", "/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self._handler(CHAT))
            app.router.add_post(f"{prefix}/responses", self._handler(RESPONSES))
            app.router.add_post(f"{prefix}/messages", self._handler(ANTHROPIC))
            app.router.add_get(f"{prefix}/models", self._list_models)
        for prefix in ("", "/v1", "/v1beta"):
            app.router.add_post(f"{prefix}/models/{{target:.+}}", self._gemini)
        return app

    def _handler(self, dialect: Dialect) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._exchanges.handle(request, dialect, "", streamed=None)

        return handle

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        model, _, method = request.match_info["target"].rpartition(":")
        if method not in {"generateContent", "streamGenerateContent"}:
            raise web.HTTPNotFound
        streamed = method == "streamGenerateContent"
        return await self._exchanges.handle(request, GEMINI, model, streamed=streamed)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002  # the same for all
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "turnkeep"}
            for name in self._models
        ]
        return web.json_response({"object": "list", "data": models})


assert {each.name for each in (CHAT, RESPONSES, ANTHROPIC, GEMINI)} == set(PROFILE_NAMES)
