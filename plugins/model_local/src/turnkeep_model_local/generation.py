"""A generation: one call that runs in a thread of its own, and can be ended from the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from turnkeep_model_local.disk_cache import DiskCache
from turnkeep_model_local.engine import Chunk, Engine, EngineFault
from turnkeep_model_local.plan import Plan
from turnkeep_model_local.slots import Slot, restore, save

_END: Final = None


class Generation:
    """One answer in the making. `run` is for a thread, everything else for the loop."""

    def __init__(self, engine: Engine, plan: Plan, slot: Slot, cache: DiskCache | None) -> None:
        self._engine = engine
        self._plan = plan
        self._slot = slot
        self._cache = cache
        self._loop = asyncio.get_running_loop()
        self._come: asyncio.Queue[Chunk | EngineFault | None] = asyncio.Queue()
        self._unwanted = False

    def end(self) -> None:
        """Let it end at its next piece, or at its next 256 tokens of the prompt."""
        self._unwanted = True

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Give the pieces as they come. Raises EngineFault."""
        while (chunk := await self._come.get()) is not _END:
            if isinstance(chunk, EngineFault):
                raise chunk
            yield chunk

    def run(self) -> None:
        """Make the answer, and keep the computed prompt where there is a cache for it."""
        if self._unwanted:
            self._tell(_END)
            return
        if self._cache is not None:
            restore(self._engine, self._cache, self._slot)
        try:
            self._ask()
        except EngineFault as fault:
            self._tell(fault)
            return
        except BaseException as error:
            self._tell(EngineFault(f"the call failed: {type(error).__name__}"))
            raise
        self._slot.answered = True
        self._tell(_END)
        if self._cache is not None:
            save(self._engine, self._cache, self._slot)

    def _ask(self) -> None:
        body = {**self._plan.body, "id_slot": self._slot.number}
        try:
            self._try(body)
        except EngineFault:
            if not self._plan.optional:
                raise
            # A schema that no grammar can be made of: whoever gave it checks the answer anyway.
            del body["response_format"]
            self._engine.chat(body, self._take)

    def _try(self, body: dict[str, Any]) -> None:
        """Generate; with an optional plan, an error that comes first is a refusal, too."""
        begun, refusal = not self._plan.optional, None

        def take(chunk: Chunk) -> bool:
            nonlocal begun, refusal
            if not begun and "error" in chunk:
                refusal = EngineFault(str(chunk["error"]))
                return True
            begun = True
            return self._take(chunk)

        self._engine.chat(body, take)
        if refusal is not None:
            raise refusal

    def _take(self, chunk: Chunk) -> bool:
        return self._unwanted or not self._tell(chunk)

    def _tell(self, what: Chunk | EngineFault | None) -> bool:
        """Hand something to the loop; False where there is no loop any more."""
        try:
            self._loop.call_soon_threadsafe(self._come.put_nowait, what)
        except RuntimeError:
            self._unwanted = True
        return not self._unwanted
