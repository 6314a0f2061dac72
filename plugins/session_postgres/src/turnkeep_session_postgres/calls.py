"""How a call runs: on a connection of the pool, again where that is safe, to its end.

A write runs in a task of its own, so that it settles however often its caller is cancelled. Every
write of the contract may be repeated, since its commit id tells whether it was kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from logging import Logger
from typing import Any, Final, TypeAlias, TypeVar

from turnkeep.errors import StoreClosed, StoreError, StoreUnavailable
from turnkeep_session_postgres.connecting import Connector
from turnkeep_session_postgres.faults import (
    READ_ONLY,
    SERIALIZATION,
    UNPREPARED,
    CannotConnect,
    LinkLost,
    PoolBusy,
    ServerError,
    away,
    busy,
    failed,
)
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.pool import Pool
from turnkeep_session_postgres.values import Statement

T = TypeVar("T")

Work: TypeAlias = Callable[[Link, bool], Awaitable[T]]
"""What a call does on a connection. The flag tells that an earlier try may have been kept."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two tries: twice as long each time, and spread by half."""

# Said outright: a server may have another default, and its single statements then fail with 40001.
_BEGIN: Final = Statement("BEGIN ISOLATION LEVEL READ COMMITTED")
_COMMIT: Final = Statement("COMMIT")
_ROLLBACK: Final = Statement("ROLLBACK")


class Calls:
    """Runs calls until it is closed, and closes when the last of them has ended."""

    def __init__(
        self, pool: Pool, connector: Connector, *, name: str, retry_for: float, log: Logger
    ) -> None:
        self.pool = pool
        self.place = connector.place
        self.retry_for = retry_for
        self._connector = connector
        self._name = name
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None

    async def write(self, what: str, work: Work[T]) -> T:
        """Run a write. When CancelledError leaves this, it has ended, kept or not.

        Where the outcome is not known even then, the log says so.
        """
        stage = _Stage()
        task = self._start(what, work, stage)
        try:
            await self._end_of(task)
        except asyncio.CancelledError:
            if not stage.linked and not stage.doubt:
                task.cancel()
            while not task.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await self._end_of(task)
            if isinstance(error := _look_at(task), StoreUnavailable):
                self._log.warning("a cancelled call did not end as it should: %s", error)
            raise
        return task.result()

    async def read(self, what: str, work: Work[T]) -> T:
        """Run a read. If the caller is cancelled, what the server was asked ends by itself."""
        stage = _Stage()
        task = self._start(what, work, stage)
        try:
            await self._end_of(task)
        except asyncio.CancelledError:
            if not stage.linked:
                task.cancel()  # others wait for a connection behind it
            task.add_done_callback(_look_at)
            raise
        return task.result()

    async def close(self) -> None:
        """Wait for the calls in flight and end the connections; twice is fine.

        In a process that was forked off since, it does nothing: both are the parent's, and the
        loop that would end the calls runs there.
        """
        if self._process != os.getpid():
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.pool.close()

    def _start(self, what: str, work: Work[T], stage: _Stage) -> asyncio.Task[T]:
        if self._closing is not None:
            raise StoreClosed(self._name)
        if self._process != os.getpid():
            raise StoreError(
                f"{self.place} was opened before process {self._process} forked this one, and its "
                "connections cannot be shared: start the process with spawn or forkserver, or open "
                "the store only after forking"
            )
        task = self._loop.create_task(self.retrying(what, work, stage))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end_of(self, task: asyncio.Task[Any]) -> asyncio.Future[None]:
        """Give a future of the task's end, which a cancelled waiter may take along."""
        end: asyncio.Future[None] = self._loop.create_future()

        def ended(_: object) -> None:
            if not end.done():
                end.set_result(None)

        task.add_done_callback(ended)
        return end

    async def retrying(self, what: str, work: Work[T], stage: _Stage | None = None) -> T:
        """Run a call here, with another connection while the server is away.

        Cancelled, it lets go of its connection at once.
        """
        stage = stage or _Stage()
        pause = FIRST_PAUSE
        end: float | None = None
        reason: Exception | None = None
        while True:
            try:
                link = await self.pool.take(None if end is None else end - self._loop.time())
            except PoolBusy as error:
                if end is None or reason is None:
                    raise busy(
                        self.place, what, self.pool.size, self.pool.wait, answered=error.answered
                    ) from None
                # It has run before: the time to try again is up, and what is known is the reason.
                raise away(self.place, what, self.retry_for, reason, doubt=stage.doubt) from None
            except CannotConnect as error:
                reason = error
                if error.final:
                    kept = "whether it was kept is unknown" if stage.doubt else "nothing was done"
                    raise StoreUnavailable(
                        f"{self.place} lets nobody in for {what}, and {kept}; check the url, the "
                        f"user and the password of [session.postgres]: {error}"
                    ) from None
            else:
                stage.linked = True
                try:
                    return await work(link, stage.doubt)
                except LinkLost as error:
                    stage.doubt = stage.doubt or error.sent
                    reason = error
                except ServerError as error:
                    self._look(error, link, what, doubt=stage.doubt)
                    reason = error
                finally:
                    stage.linked = False
                    self.pool.give(link)
            now = self._loop.time()
            if end is None:
                end = now + self.retry_for
            if now >= end:
                raise away(self.place, what, self.retry_for, reason, doubt=stage.doubt)
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, no secret
            await asyncio.sleep(min(wait, end - now))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _look(self, error: ServerError, link: Link, what: str, *, doubt: bool) -> None:
        """Raise what a failed statement means; return where it should be tried again."""
        if error.sqlstate in SERIALIZATION:
            return
        if error.sqlstate == READ_ONLY:
            # A standby now, or one from the start: others of these connections lead there too.
            link.close()
            self.pool.drop_idle()
            return
        if error.sqlstate in UNPREPARED and link.prepares:
            self._log.warning(
                "%s: a pooler exchanges connections between statements, so none is prepared any "
                "more; say pgbouncer = true in [session.postgres]",
                self.place,
            )
            self._connector.pooled = True
            link.close()
            self.pool.drop_idle()
            return
        raise failed(error, self.place, what, doubt=doubt) from None


@asynccontextmanager
async def transaction(link: Link) -> AsyncIterator[None]:
    """Run what is inside as one transaction, undone where it raises."""
    await link.run(_BEGIN, ())
    try:
        yield
    except BaseException:
        try:
            await link.run(_ROLLBACK, ())
        except (ServerError, LinkLost):
            link.close()
        raise
    await link.run(_COMMIT, ())


class _Stage:
    """Whether a call has a connection now, and whether an earlier try may have been kept."""

    __slots__ = ("doubt", "linked")

    def __init__(self) -> None:
        self.linked = self.doubt = False


def _look_at(task: asyncio.Task[Any]) -> BaseException | None:
    """Take note of a task's error, which nobody waits for any more."""
    return None if task.cancelled() else task.exception()
