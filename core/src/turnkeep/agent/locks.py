"""A lock for whichever event loop and thread its holders run on."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Final

_LONGEST: Final = 0.02
"""Seconds between two looks, at most: it is held for one call of a store, or one opening."""


class AnyLoopLock:
    """Held by one task of any loop of this process; asyncio's own belongs to one loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        delay = 0.0
        while not self._lock.acquire(blocking=False):
            await asyncio.sleep(delay)
            delay = min(2 * delay + 0.0005, _LONGEST)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
