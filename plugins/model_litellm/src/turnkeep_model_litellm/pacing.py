"""When a failed call is repeated: exponential backoff with jitter, never before Retry-After."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from turnkeep.errors import ModelError, ModelUnavailable

FIRST: Final = 0.5
LONGEST: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Pacing:
    """The waits between repetitions; `sleep` and `chance` are for tests.

    The n-th wait is a random half to whole of 0.5 s x 2^n, at most 30 s. What the provider asked
    for is waited out in full, and up to a tenth longer, so that many callers do not come back at
    once.
    """

    retries: int
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    def wait(self, error: ModelError, repeated: int, left: float) -> float | None:
        """Give the seconds to wait before repeating; None if the call is not to be repeated.

        `repeated` counts the repetitions so far, `left` are the seconds that the call still has.
        """
        if not isinstance(error, ModelUnavailable) or repeated >= self.retries:
            return None
        wait = min(FIRST * 2**repeated, LONGEST) * (0.5 + self.chance() / 2)
        if error.retry_after is not None:
            wait = max(wait, error.retry_after * (1 + self.chance() / 10))
        return wait if wait < left else None
