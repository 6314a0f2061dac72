"""Calls a store on the loop that opened it, from whichever loop or thread the caller is on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from turnkeep.store import Capability, SessionStore


class OnLoop:
    """A `SessionStore` that passes every call to another one's own loop.

    Wrapped around a store by Keeper, so that no author of a store has to be thread-safe. On the
    loop itself a call costs one comparison.
    """

    def __init__(self, store: SessionStore) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = store.name
        self.capabilities = store.capabilities
        self.durability = store.durability
        self.create = self._passing(store.create)
        self.load = self._passing(store.load)
        self.append = self._passing(store.append)
        self.delete = self._passing(store.delete)
        self.list = self._passing(store.list)
        self.purge = self._passing(store.purge)
        self.close = self._passing(store.close)
        for power in (Capability.FORK, Capability.ERASE, Capability.SEARCH):
            if power in store.capabilities:  # the method has the capability's name
                setattr(self, power, self._passing(getattr(store, power)))

    def _passing(
        self, method: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        loop = self._loop

        def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
            if asyncio.get_running_loop() is loop:
                return method(*args, **kwargs)
            return _elsewhere(loop, method, args, kwargs)

        return call


async def _elsewhere(
    loop: asyncio.AbstractEventLoop,
    method: Callable[..., Coroutine[Any, Any, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run a call on another loop. If it is cancelled here, it has ended there when this returns."""
    tasks: list[asyncio.Task[Any]] = []
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start() -> None:
        task = loop.create_task(method(*args, **kwargs))
        task.add_done_callback(lambda _: ended.set_result(None))
        tasks.append(task)

    loop.call_soon_threadsafe(start)
    try:
        await asyncio.shield(asyncio.wrap_future(ended))
    except asyncio.CancelledError:
        # A store settles before it lets CancelledError out, and whoever called relies on that.
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        while not ended.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.wrap_future(ended))
        raise
    return tasks[0].result()
