"""The client: one model, asked in its provider's own form where LiteLLM knows the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from pydantic import ValidationError

from turnkeep.errors import ConfigError, ModelError, ModelUnavailable
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
)
from turnkeep_model_litellm.options import LitellmOptions
from turnkeep_model_litellm.pacing import Pacing

if TYPE_CHECKING:
    from turnkeep_model_litellm.dressing import Body
    from turnkeep_model_litellm.exchange import Carrier
    from turnkeep_model_litellm.faults import Faults
    from turnkeep_model_litellm.pieces import Delta, Reader
    from turnkeep_model_litellm.target import Target

_END: Final = object()
SLACK: Final = 5.0
"""Seconds that LiteLLM gets beyond the limit, which is kept here: it would tell of it as of a lost
connection."""
THOUGHTFUL: Final = 4096 + 32768
"""Tokens for an answer and the largest budget of thought that LiteLLM gives."""


class LitellmClient:
    """Asks one model through LiteLLM (a `ModelClient`).

    `model` is its name as LiteLLM has it, such as "anthropic/claude-sonnet-4-5"; the keywords are
    those of `[model.litellm]`. LiteLLM is loaded with the first call or property that needs it, or
    by `load`. Used with `async with`, its own connections are closed at the end; those of the chat
    form are LiteLLM's, which keeps them for all its users. Raises ConfigError for options that it
    does not have.
    """

    def __init__(self, model: str, *, pacing: Pacing | None = None, **options: Any) -> None:
        self._model = model
        try:
            self._options = LitellmOptions.model_validate(options)
        except ValidationError as error:
            raise ConfigError(
                *(
                    f"LitellmClient: {'.'.join(map(str, each['loc'])) or 'options'}: {each['msg']}"
                    for each in error.errors(include_input=False)
                )
            ) from None
        self._pacing = pacing or Pacing(retries=self._options.retries)
        self._known: _Known | None = None
        self._lock = Lock()

    @classmethod
    def of(cls, model: str, options: LitellmOptions, *, pacing: Pacing | None = None) -> Self:
        """Make a client from options that are validated already."""
        client = cls(model, pacing=pacing or Pacing(retries=options.retries))
        client._options = options
        return client

    @property
    def model_id(self) -> str:
        """The model's name as LiteLLM has it."""
        return self._model

    @property
    def profile(self) -> str:
        """The form of its requests. Raises ModelError for a model that LiteLLM cannot place."""
        return self._know().target.profile

    @property
    def limits(self) -> ModelLimits:
        """The model's limits by LiteLLM's price map (see `prices.limits_of`)."""
        return self._know().limits

    async def load(self) -> None:
        """Load LiteLLM in a thread, and find the model. Raises ModelError, as `profile` does."""
        if self._known is None:
            await asyncio.to_thread(self._know)

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask once (see `ModelClient`)."""
        await self.load()
        call = _Call(self, request, settings)
        while True:
            try:
                return await call.once()
            except ModelError as error:
                await call.pause(error)

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Ask, and give the answer in pieces (see `ModelClient`)."""
        await self.load()
        call = _Call(self, request, settings)
        while True:
            given = False
            try:
                async with aclosing(call.pieces()) as pieces:
                    async for piece in pieces:
                        given = True
                        yield piece
            except ModelError as error:
                if given:
                    raise
                await call.pause(error)
            else:
                return

    async def aclose(self) -> None:
        """Close the connections of this event loop; the client may be used again."""
        if self._known is not None:
            await self._known.carrier.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _know(self) -> _Known:
        """Load LiteLLM and find the model, once, whoever asks first."""
        with self._lock:
            if self._known is None:
                self._known = _known(self._model, self._options)
        return self._known


class _Known(NamedTuple):
    """What is known of a model once LiteLLM is loaded, and how it is reached."""

    target: Target
    limits: ModelLimits
    faults: Faults
    carrier: Carrier


def _known(model: str, options: LitellmOptions) -> _Known:
    from turnkeep_model_litellm.faults import Faults
    from turnkeep_model_litellm.prices import limits_of
    from turnkeep_model_litellm.target import find_target

    target = find_target(model, options)
    key = options.api_key
    secrets = [] if key is None else [key.get_secret_value()]
    faults = Faults(model, [*secrets, *options.headers.values()])
    carrier: Carrier
    if target.config is None:
        from turnkeep_model_litellm.chat import ChatCarrier

        carrier = ChatCarrier(options, faults)
    else:
        from turnkeep_model_litellm.post import PostCarrier

        carrier = PostCarrier(target, options, faults)
    return _Known(target, limits_of(target), faults, carrier)


def _room_to_think(options: LitellmOptions, limits: ModelLimits) -> int | None:
    """Give the most tokens for an answer that is thought over; None where nothing need be said.

    Anthropic counts thought among the answer's tokens, and LiteLLM cuts its budget to one less than
    they are: of the form's few, one would be left to answer with.
    """
    if options.reasoning_effort in (None, "none"):
        return None
    return THOUGHTFUL if limits.max_output is None else min(limits.max_output, THOUGHTFUL)


class _Call:
    """One call with its repetitions, and the time it has."""

    def __init__(
        self, client: LitellmClient, request: ModelRequest, settings: ModelSettings
    ) -> None:
        options, known = client._options, client._know()
        self._target, self._carrier, self._faults = known.target, known.carrier, known.faults
        most = options.max_output if settings.max_output is None else settings.max_output
        if most is None and self._target.profile == "anthropic":
            most = _room_to_think(options, known.limits)
        self._made = request.to(self._target.profile, max_output=most)
        self._options, self._settings = options, settings
        self._pacing = client._pacing
        self._timeout = options.timeout if settings.timeout is None else settings.timeout
        self._end = asyncio.get_running_loop().time() + self._timeout
        self._repeated = 0

    @property
    def _left(self) -> float:
        return self._end - asyncio.get_running_loop().time()

    def _body(self) -> Body:
        from turnkeep_model_litellm.dressing import dressed

        try:
            return dressed(self._made, self._target, self._options, self._settings)
        except Exception as error:  # noqa: BLE001  # LiteLLM's, of any kind
            from turnkeep_model_litellm.foreign import fault_of

            raise fault_of(error, self._faults, sent=False) from None

    async def once(self) -> ModelAnswer:
        """Ask, and read the answer."""
        from turnkeep_model_litellm.answers import answer_of

        try:
            async with (
                asyncio.timeout_at(self._end),
                self._carrier.exchange(
                    self._body(), stream=False, timeout=self._left + SLACK
                ) as reply,
            ):
                body, headers = await reply.body(), reply.headers
        except TimeoutError:
            raise self._late() from None
        return answer_of(self._target, self._faults, body, headers)

    async def pieces(self) -> AsyncGenerator[ModelPiece, None]:
        """Ask, and give the answer in pieces; the whole comes last.

        The time limit is held around each wait and never across a piece, where it would strike
        whatever the reader of the stream does with it.
        """
        from turnkeep_model_litellm.answers import joined_answer, partial_answer
        from turnkeep_model_litellm.exchange import Cut
        from turnkeep_model_litellm.faults import Unreachable
        from turnkeep_model_litellm.pieces import reader_of

        exchange = self._carrier.exchange(self._body(), stream=True, timeout=self._left + SLACK)
        reply = await self._in_time(exchange.__aenter__())
        events: list[dict[str, Any]] = []
        whole = True
        try:
            reader = reader_of(self._target.profile)
            async with aclosing(reply.events()) as incoming:
                while (event := await self._in_time(anext(incoming, _END))) is not _END:
                    events.append(event)
                    for piece in self._read(reader, event):
                        yield piece
        except Cut:
            whole = False
        except ModelError as error:
            partial = partial_answer(self._target, events, reply.headers)
            # A connection that is lost on the way is not one that cannot be made.
            lost = partial and isinstance(error, Unreachable)
            raised = self._faults.cut() if lost else error
            raised.partial = partial
            raise raised from None
        finally:
            await exchange.__aexit__(None, None, None)
        yield joined_answer(self._target, self._faults, events, reply.headers, whole=whole)

    def _read(self, reader: Reader, event: Mapping[str, Any]) -> list[Delta]:
        try:
            return list(reader.read(dict(event)))
        except (AttributeError, KeyError, TypeError):  # of a shape that no provider's events have
            raise self._faults.garbage("an event of an unknown shape") from None

    async def pause(self, error: ModelError) -> None:
        """Wait until the call may be repeated; raises the error if it may not."""
        wait = self._pacing.wait(error, self._repeated, self._left)
        if wait is None:
            raise error
        await self._pacing.sleep(wait)
        self._repeated += 1

    async def _in_time(self, awaitable: Any) -> Any:
        try:
            async with asyncio.timeout_at(self._end):
                return await awaitable
        except TimeoutError:
            raise self._late() from None

    def _late(self) -> ModelUnavailable:
        return self._faults.late(self._timeout)
