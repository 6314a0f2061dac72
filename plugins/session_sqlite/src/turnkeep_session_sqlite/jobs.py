"""A piece of work for a thread, and the coroutine that waits for it.

Own threads with a queue instead of an executor: 0.09 ms for a hop and back against 0.11 ms, and a
batch of finished jobs wakes its loop once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Work: TypeAlias = Callable[[sqlite3.Connection], T]


class Job(Generic[T]):
    """Work, and its outcome once a thread has settled it.

    `gate` decides whether the thread or a cancelled waiter was first: who acquires it may go on.
    """

    __slots__ = ("error", "future", "gate", "loop", "settled", "value", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.gate = Lock()
        self.value: T | None = None
        self.error: BaseException | None = None
        self.settled = False

    def claim(self) -> bool:
        """Take the job for execution; False if its waiter has withdrawn it."""
        return self.gate.acquire(blocking=False)

    def outcome(self) -> T:
        """Give the result of a settled job, or raise its error."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # else the traceback and the job would hold each other
        return self.value  # type: ignore[return-value]  # settled without an error


Queue: TypeAlias = "SimpleQueue[Job[Any] | None]"


async def submit(queue: Queue, work: Work[T]) -> T:
    """Run `work` in the thread behind `queue` and wait for its outcome.

    If the waiter is cancelled, work not yet begun is withdrawn; work that has begun is waited for.
    So the outcome has settled when CancelledError leaves this.
    """
    job = Job(work)
    queue.put(job)
    try:
        await job.future
    except asyncio.CancelledError:
        if not job.gate.acquire(blocking=False):
            while not job.settled:
                job.future = job.loop.create_future()
                with contextlib.suppress(asyncio.CancelledError):
                    await job.future
        raise
    return job.outcome()


def announce(jobs: Iterable[Job[Any]]) -> None:
    """Wake the waiters of settled jobs: one call into each loop. Called by the thread."""
    loops: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, settled in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, settled)


def _wake(jobs: list[Job[Any]]) -> None:
    for job in jobs:
        job.settled = True
        if not job.future.done():
            job.future.set_result(None)
