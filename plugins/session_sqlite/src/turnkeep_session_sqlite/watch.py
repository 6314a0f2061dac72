"""Whether the files on disk are still those that were opened.

A connection goes on with a file that was deleted or replaced, and with a log that has no name any
more: what it commits is acknowledged, and gone when the process ends. Others meanwhile see another
file, or begin a second log for the same one (https://sqlite.org/howtocorrupt.html, section 2.4).
"""

from __future__ import annotations

import os
import time
from typing import Final, TypeAlias

from turnkeep.errors import StoreUnavailable
from turnkeep_session_sqlite.files import Location

LOOK_SECONDS: Final = 0.02
"""How long the files are believed to be those that were opened before they are looked at again.

Not for each call of a stream: what was written just before a file went is lost anyway."""

_PARTS: Final = ("", "-wal", "-shm")
"""The file, its log, and the log's index, which carries the locks: SQLite deletes the latter two
only when the last connection closes."""

_Identity: TypeAlias = tuple[int, int] | None


class Watch:
    """Remembers the files of an open database. Used by its threads at once."""

    def __init__(self, location: Location) -> None:
        """Take note of the files; a connection must have opened them."""
        self._path = location.path
        self._names = [f"{location.path}{part}" for part in _PARTS]
        self._opened = [_identity(name) for name in self._names]
        self._looked = time.monotonic()

    def check(self, *, now: bool = False) -> None:
        """Raise StoreUnavailable if a file was lost; looks only now and then unless told `now`."""
        time_now = time.monotonic()
        if not now and time_now < self._looked + LOOK_SECONDS:
            return
        for name, opened in zip(self._names, self._opened, strict=True):
            if opened is not None and _identity(name) != opened:
                raise self._lost(name)
        self._looked = time_now  # only now: a loss stays one for the next call

    def reopened(self) -> None:
        """Take note of a log made anew, after a fault for which its connections were closed."""
        self._opened[1:] = [_identity(name) for name in self._names[1:]]

    def check_file(self) -> None:
        """Raise StoreUnavailable if the file itself was lost, whatever its log."""
        if _identity(self._names[0]) != self._opened[0]:
            raise self._lost(self._names[0])

    def _lost(self, name: str) -> StoreUnavailable:
        if name == self._names[0]:
            return StoreUnavailable(
                f"{name} was deleted or replaced while it was open; nothing was written: put it "
                "back, or close the store and open it again"
            )
        return StoreUnavailable(
            f"{name}, which belongs to {self._path}, was deleted or replaced while it was open; "
            "nothing was written: close the store in all processes, which saves what was kept, and "
            "open it again"
        )


def _identity(name: str) -> _Identity:
    try:
        found = os.stat(name)  # noqa: PTH116  # twice as fast as Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino
