"""What the stores of one process share for one file: a writer thread and two reader threads."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

from turnkeep.errors import StoreError
from turnkeep_session_sqlite.files import Location
from turnkeep_session_sqlite.readers import Readers
from turnkeep_session_sqlite.writer import Writer


class Database:
    """An open file and its threads; `users` counts the stores that hold it."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.pid = os.getpid()
        self.users = 0
        self.writer = Writer(location)
        self.readers = Readers(location, self.writer.watch)

    def close(self) -> None:
        """End the threads. Blocks until what was submitted is done."""
        self.readers.close()  # first: the last connection to close is the one that checkpoints
        self.writer.close()


_databases: Final[dict[Location, Database]] = {}
_lock = Lock()


def _new_lock() -> None:
    global _lock  # noqa: PLW0603  # the parent's may have been held by a thread that is gone
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def acquire(location: Location) -> Database:
    """Open a file, or share it with the stores of this process that use it alike. Blocks."""
    with _lock:
        for other in _databases.values():
            if other.location.path == location.path:
                check_process(other)
        database = _databases.get(location)
        if database is None:
            database = _databases[location] = Database(location)
        database.users += 1
        return database


def release(database: Database) -> None:
    """Give back what `acquire` gave; the last one closes the file. Blocks."""
    with _lock:
        database.users -= 1
        if database.users or database.pid != os.getpid():
            return
        del _databases[database.location]
        database.close()


def check_process(database: Database) -> None:
    """Refuse a file that a process opened before it forked this one.

    SQLite's record of the locks it holds is copied with the process, the locks are not. Even a
    connection opened afresh in the child then lacks its locks: when the parent closes the file, it
    removes the write-ahead log, and what the child commits from then on is lost without an error
    (see https://sqlite.org/howtocorrupt.html, section 2.6).
    """
    if database.pid != os.getpid():
        raise StoreError(
            f"{database.location.path} was open when process {database.pid} forked this one, and "
            "SQLite cannot use a file across a fork: start the process with spawn or forkserver, "
            "or open the store only after forking"
        )
