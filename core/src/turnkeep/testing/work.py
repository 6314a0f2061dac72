"""Work: a measure of it that no clock and no neighbour can disturb."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls_made(action: Callable[[], object]) -> int:
    """Count the calls of functions, Python's and C's, that an action makes in this thread."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return calls
