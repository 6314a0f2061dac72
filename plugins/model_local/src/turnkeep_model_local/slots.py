"""Slots: each computes one call at a time and remembers the conversation that it had last."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from turnkeep_model_local.disk_cache import DiskCache
from turnkeep_model_local.engine import Engine, EngineFault

_ATTEMPTS = 3
_logger = logging.getLogger("turnkeep.model_local")


@dataclass
class Slot:
    """One of the model's slots; `file` is what was saved of it or restored to it last."""

    number: int
    conversation: str = ""
    file: str | None = None
    taken: bool = False
    answered: bool = False
    """Its call has its answer, and only the prompt is still being saved."""


class Slots:
    """Gives calls a slot: the one that knows the conversation, else the one unused for longest."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._changed = asyncio.Condition()

    async def take(self, conversation: str) -> Slot:
        """Wait for a slot. It is the caller's until given back."""
        async with self._changed:
            while (slot := self._best(conversation)) is None:
                await self._changed.wait()
            slot.taken = True
            self._slots.remove(slot)
            self._slots.append(slot)
            if slot.conversation != conversation:
                slot.conversation, slot.file = conversation, None
            return slot

    async def give_back(self, slot: Slot) -> None:
        """Let others have a slot."""
        async with self._changed:
            slot.taken = slot.answered = False
            self._changed.notify_all()

    def _best(self, conversation: str) -> Slot | None:
        own = [slot for slot in self._slots if slot.conversation == conversation]
        free = [slot for slot in own if not slot.taken]
        if free:
            return free[-1]
        if any(slot.answered for slot in own):
            return None  # a moment, and the conversation has its slot back
        return next((slot for slot in self._slots if not slot.taken), None)


def restore(engine: Engine, cache: DiskCache, slot: Slot) -> None:
    """Fetch what another process (or an earlier one) has computed of the conversation, if any."""
    for _ in range(_ATTEMPTS):
        name = cache.find(slot.conversation)
        if name is None or name == slot.file:
            return
        if (held := cache.hold(name)) is None:
            continue  # another process has just put a newer one in its place, or it was damaged
        try:
            engine.restore(slot.number, held)
            slot.file = name
        except EngineFault as error:  # only a shortcut: without it the prompt is computed
            _logger.debug("a saved prompt was not restored: %s", error)
        finally:
            cache.drop(held)
        return


def save(engine: Engine, cache: DiskCache, slot: Slot) -> None:
    """Keep what was computed of the conversation."""
    unfinished = cache.begin()
    try:
        engine.save(slot.number, unfinished)
        slot.file = cache.finish(unfinished, slot.conversation)
    except (EngineFault, OSError) as error:
        _logger.warning("a computed prompt could not be kept in the cache folder: %s", error)
        cache.drop(unfinished)
