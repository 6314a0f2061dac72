"""The threads that read, each with a connection of its own that cannot write.

Why not on the loop's thread: a load of ten records takes 0.015 ms there and 0.11 ms through a
thread, but one of 10,000 takes 7 ms, a cold disk or the recovery after a crash more, and all that
time nothing else of the program would run. Two threads, so that a large load does not hold up the
small ones. In WAL mode readers and the writer do not wait for each other.
"""

from __future__ import annotations

import sqlite3
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from turnkeep_session_sqlite.files import Location, explain, open_reader
from turnkeep_session_sqlite.jobs import Job, Queue, announce
from turnkeep_session_sqlite.watch import Watch

THREADS: Final = 2


class Readers:
    """Runs each job inside a read transaction: one snapshot of the database."""

    def __init__(self, location: Location, watch: Watch) -> None:
        self.queue: Queue = SimpleQueue()
        self._location = location
        self._watch = watch
        self._threads = [
            Thread(
                target=self._run,
                name=f"turnkeep-sqlite-reader-{number} {location.path.name}",
                daemon=True,
            )
            for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what was submitted, then end. Blocks."""
        for _ in self._threads:
            self.queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while (job := self.queue.get()) is not None:
                if not job.claim():
                    continue
                try:
                    # A lost file would be read as it was; opening a missing one would make it.
                    self._watch.check(now=connection is None)
                    if connection is None:
                        connection = open_reader(self._location)
                    self._settle(connection, job)
                except sqlite3.Error as error:
                    job.error = explain(error, self._location)
                except BaseException as error:  # noqa: BLE001  # a waiter never waits for ever
                    job.error = error
                announce([job])
                del job  # an idle thread keeps no results alive
        finally:
            if connection is not None:
                connection.close()

    def _settle(self, connection: sqlite3.Connection, job: Job[Any]) -> None:
        connection.execute("BEGIN")
        try:
            job.value = job.work(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
