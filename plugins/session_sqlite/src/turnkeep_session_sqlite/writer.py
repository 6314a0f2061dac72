"""The thread that writes: one for each database file in a process, with group commit.

It takes what waits in its queue, never waiting for more, and runs it in one transaction, so that
under load many appends share one commit and its fsync: with eight busy sessions an append costs
about as much as a bare commit in the calling thread, with one session twice as much (two hops).
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from turnkeep.errors import StoreError, StoreUnavailable
from turnkeep_session_sqlite.files import Location, explain, open_writer, primary_code
from turnkeep_session_sqlite.jobs import Job, Queue, announce
from turnkeep_session_sqlite.records import Rows
from turnkeep_session_sqlite.watch import Watch

MAX_BATCH: Final = 200
"""Most jobs in one transaction: bounds how long the first of them waits for the last."""

REFUSALS: Final = (StoreError, ValueError)
"""What a job raises before its first write: it fails alone, and the transaction goes on."""

_POINTLESS: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})
"""Errors after which repeating the jobs one by one would only take longer or do harm."""


class Writer:
    """Owns the connection that writes.

    A job is called with it inside a transaction. It may be called again after a rollback, and must
    raise its refusals before it writes anything.
    """

    def __init__(self, location: Location) -> None:
        """Open the file; raises as `files.open_writer` does."""
        self.queue: Queue = SimpleQueue()
        self.rows: Rows = {}
        self._location = location
        self._connection: sqlite3.Connection | None = open_writer(location)
        self.watch = Watch(location)
        self._thread = Thread(
            target=self._run, name=f"turnkeep-sqlite-writer {location.path.name}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Finish what was submitted, then end. Blocks."""
        self.queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        queue = self.queue
        open_ = True
        while open_:
            batch: list[Job[Any]] = []
            job = queue.get()
            while True:
                if job is None:
                    open_ = False
                    break
                if job.claim():
                    batch.append(job)
                if len(batch) >= MAX_BATCH or queue.empty():
                    break
                job = queue.get()
            if batch:
                self._settle(batch)
                announce(batch)
            del job, batch  # an idle thread keeps no results alive
        self._end()

    def _settle(self, batch: Sequence[Job[Any]]) -> None:
        """Give every job of the batch its outcome, whatever happens."""
        try:
            connection = self._ready()
            try:
                self._transact(connection, batch)
            except Exception as error:
                self._roll_back(connection)
                if len(batch) == 1 or primary_code(error) in _POINTLESS:
                    raise
                # One of them is at fault: alone, each fails for itself.
                for job in batch:
                    self._settle([job])
        except sqlite3.Error as error:
            fail(batch, explain(error, self._location))
        except BaseException as error:  # noqa: BLE001  # a waiter must never wait for ever
            fail(batch, error)

    def _transact(self, connection: sqlite3.Connection, batch: Sequence[Job[Any]]) -> None:
        self._begin(connection)
        for job in batch:
            job.error = None
            written = connection.total_changes
            try:
                job.value = job.work(connection)
            except REFUSALS as error:
                if connection.total_changes != written:
                    raise  # half done is no refusal: a value that SQLite could not take, say
                job.error = error
        connection.execute("COMMIT")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock, for which other processes compete.

        SQLite's own waiting (https://sqlite.org/c3ref/busy_timeout.html) sleeps up to 100 ms at a
        time: with four processes writing half of the time the slowest append took 80 to 350 ms,
        with these short random pauses 16 to 28 ms.
        """
        deadline = time.monotonic() + self._location.busy_timeout
        pause = 0.0002
        while True:
            try:
                # IMMEDIATE: a transaction that begins by reading could not wait for the lock when
                # it comes to write (https://sqlite.org/lang_transaction.html).
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter, no secret
                pause = min(1.5 * pause, 0.004)
            else:
                return

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            self.watch.check_file()  # opening would make another one
            self._connection = open_writer(self._location)
            self.watch.reopened()
        # Without this, writes to a deleted or replaced file would be acknowledged and lost.
        self.watch.check()
        return self._connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self.rows.clear()  # what was written to them is taken back
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None  # its state is unknown: the next batch opens another
            connection.close()

    def _end(self) -> None:
        if self._connection is None:
            return
        try:
            # Best effort, without waiting for readers. The last connection of all processes to
            # close does it whole and removes the log (https://sqlite.org/wal.html).
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            pass  # the log stays, and is read at the next opening
        finally:
            self._connection.close()


def fail(jobs: Sequence[Job[Any]], error: BaseException) -> None:
    """Give jobs that were rolled back their error; several do not share one object."""
    for job in jobs:
        job.value = None
        job.error = error if len(jobs) == 1 else _copy(error)


def _copy(error: BaseException) -> BaseException:
    # One exception raised in several tasks would collect all their tracebacks.
    if type(error) in {StoreError, StoreUnavailable}:
        copy = type(error)(*error.args)
        copy.__cause__ = error.__cause__
        return copy
    return error
