"""The calls of a store while it is open: a write settles, also where its caller is cancelled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from turnkeep.errors import StoreClosed, StoreError

T = TypeVar("T")


class Calls:
    """Counts what runs, so that closing waits for it."""

    def __init__(self, store: str, where: object) -> None:
        self._store = store
        self._where = where
        self._pid = os.getpid()
        self._running = 0
        self._idle: asyncio.Event | None = None  # made by close, set when nothing runs any more
        self._closing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Refuse a call of a closed store, or of a process that was forked with it."""
        if self._closing is not None:
            raise StoreClosed(self._store)
        if self._pid != os.getpid():
            raise StoreError(
                f"{self._where} was open when process {self._pid} forked this one, and two "
                "processes cannot share its connections: start the process with spawn or "
                "forkserver, or open the store only after forking"
            )

    async def read(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call that may be cut off anywhere."""
        self._begin(work)
        try:
            return await work
        finally:
            self._ended()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call to its end; a cancelled caller leaves when it has settled.

        However often it is cancelled.
        """
        self._begin(work)
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._settled)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _to_its_end(task)
            raise

    async def run_fenced(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a call that may be cut off and done again, late or twice, without doing harm.

        A cancelled caller leaves when the call has been done again to its end: the first try is
        settled then, too, since what it may still do is what the second one found or did. So a
        call that nobody cancels needs no task of its own, which is an eighth of an append's time.
        """
        self.check()
        self._running += 1
        try:
            return await work()
        except asyncio.CancelledError:
            await _to_its_end(asyncio.get_running_loop().create_task(work()))
            raise
        finally:
            self._ended()

    async def close(self, let_go: Callable[[], Awaitable[None]]) -> None:
        """Wait for what runs, then let go; once, and shielded from cancellation."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(let_go))
        await asyncio.shield(self._closing)

    async def _close(self, let_go: Callable[[], Awaitable[None]]) -> None:
        if self._running:
            self._idle = asyncio.Event()
            await self._idle.wait()
        if self._pid == os.getpid():  # in a forked process they are the parent's
            await let_go()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            self.check()
        except StoreError:
            work.close()
            raise
        self._running += 1

    def _settled(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # seen, also where the caller was cancelled and is told that
        self._ended()

    def _ended(self) -> None:
        self._running -= 1
        if self._idle is not None and not self._running:
            self._idle.set()


async def _to_its_end(task: asyncio.Task[Any]) -> None:
    """Wait for a task, however often the caller is cancelled; what it says is of no use to it."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:  # of another cancel
            continue
    if not task.cancelled():
        task.exception()  # seen
