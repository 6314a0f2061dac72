"""The connections of a process: made when they are needed, shared, and dropped when they end.

Written for this store, because it needs less and more than the pools there are: no task of its own
beside the calls, the reason why a connection cannot be made, idle connections that are known to
have ended, and a wait that ends with the option's name.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from turnkeep_session_postgres.faults import PoolBusy
from turnkeep_session_postgres.link import Link

SWEEPS: Final = 2
"""How often in the time that a connection may be idle the idle ones are looked at."""


class Pool:
    """At most `size` connections. The one used last is taken first, so that others become idle."""

    def __init__(
        self,
        make: Callable[[], Awaitable[Link]],
        *,
        size: int,
        wait: float,
        idle: float,
    ) -> None:
        self.size = size
        self.wait = wait
        """Seconds that a call may wait for a connection, where it says nothing else."""
        self._make = make
        self._idle_for = idle
        self._answers = 0  # connections that came back whole
        self._count = 0  # those in use and those being made, too
        self._idle: list[Link] = []
        self._queue: deque[asyncio.Future[Link | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None

    async def take(self, wait: float | None = None) -> Link:
        """Give a connection to this caller alone, until `give`.

        Raises CannotConnect, and PoolBusy where all are in use for too long.
        """
        while self._idle:
            link = self._idle.pop()
            if link.alive:
                return link
            self._count -= 1
        if self._count < self.size:
            self._count += 1
        elif (waited := await self._wait_for_one(wait)) is not None:
            return waited
        try:
            return await self._make()
        except BaseException:
            self._free(None)
            raise

    def give(self, link: Link) -> None:
        """Take a connection back; one that has ended makes room for another."""
        self._answers += link.alive
        self._free(link if link.alive else None)

    def drop_idle(self) -> None:
        """End the connections that nobody uses, as after a failover."""
        while self._idle:
            self._idle.pop().close()
            self._count -= 1

    def close(self) -> None:
        """End all connections; none may be in use."""
        self.drop_idle()
        if self._sweep is not None:
            self._sweep.cancel()

    async def _wait_for_one(self, wait: float | None) -> Link | None:
        """Wait for a connection, or (None) for the right to make one."""
        before = self._answers
        place: asyncio.Future[Link | None] = self._loop.create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self.wait if wait is None else wait):
                return await place
        except TimeoutError:
            self._leave(place)
            raise PoolBusy(answered=self._answers > before) from None
        except BaseException:
            self._leave(place)
            raise

    def _leave(self, place: asyncio.Future[Link | None]) -> None:
        if place.done() and not place.cancelled():
            self._free(place.result())  # it was given at the same moment
        elif place in self._queue:
            self._queue.remove(place)

    def _free(self, link: Link | None) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(link)
                return
        if link is None:
            self._count -= 1
            return
        link.idle_since = self._loop.time()
        self._idle.append(link)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_for / SWEEPS, self._end_idle)

    def _end_idle(self) -> None:
        self._sweep = None
        oldest = self._loop.time() - self._idle_for
        keep = [link for link in self._idle if link.alive and link.idle_since > oldest]
        for link in self._idle:
            if link not in keep:
                link.close()
                self._count -= 1
        self._idle = keep
        if keep:
            self._sweep = self._loop.call_later(self._idle_for / SWEEPS, self._end_idle)
