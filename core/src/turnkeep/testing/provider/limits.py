"""Limits: so many requests in so much time."""

from __future__ import annotations

import math
from collections import deque


class RateLimit:
    """Lets `requests` through in any window of `per_seconds`."""

    def __init__(self, requests: int, per_seconds: float) -> None:
        self._requests = requests
        self._seconds = per_seconds
        self._taken: deque[float] = deque()

    def take(self, now: float) -> float | None:
        """Let a request through (None), or give the whole seconds after which to come again."""
        while self._taken and now - self._taken[0] >= self._seconds:
            self._taken.popleft()
        if len(self._taken) < self._requests:
            self._taken.append(now)
            return None
        first = self._taken[0] if self._taken else now
        return max(1.0, float(math.ceil(first + self._seconds - now)))
