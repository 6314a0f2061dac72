"""The server's clock: it goes by itself, and tests put it forward."""

from __future__ import annotations

import time


class Clock:
    """Monotonic seconds. Caches and rate limits go by it; delays of faults are real ones."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Give the time: `time.monotonic()`, and by how much the clock was put forward."""
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let this time pass at once."""
        self._ahead += seconds
