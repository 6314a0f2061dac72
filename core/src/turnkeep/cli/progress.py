"""How far long work has come: a line on standard error that is written over, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 0.5
"""Seconds before the first word, and between two."""


def shown(things: Iterable[T], verb: str, total: int) -> Iterator[T]:
    """Pass things on, saying now and then how many have been done."""
    if not sys.stderr.isatty():
        yield from things
        return
    said = False
    last = time.monotonic()
    for done, thing in enumerate(things):
        now = time.monotonic()
        if now - last >= PATIENCE:
            print(f"\r{verb} {done:,} of {total:,} …", end="", file=sys.stderr, flush=True)
            said, last = True, now
        yield thing
    if said:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
