"""The wrapper `retry`: calls are repeated while the store is away, as far as that is safe.

Safe are reads, and writes by their commit id: a repeated one writes nothing twice. Where the answer
to a write was lost and somebody else has written since, nobody can tell from outside whether it was
kept: that stays StoreUnavailable, upon which core looks for its own events. A `delete` is aimed at
one life of a session, so that a repeated one never takes away what was begun anew meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionExists,
    StoreClosed,
    StoreUnavailable,
)
from turnkeep.store import (
    KEEP,
    Head,
    Hits,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    SessionStore,
    Ttl,
)
from turnkeep.stores.wrapped import BEHIND_ALL, Calls, StoreWrapper

T = TypeVar("T")
_logger = logging.getLogger("turnkeep.stores")
_MOST_DOUBLINGS: Final = 30


class RetryOptions(BaseModel):
    """The table `[session.retry]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tries: int = Field(default=6, ge=1, description="how often a call is tried at most")
    patience: float = Field(
        default=15.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds after which a call is not tried again",
    )
    first: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="seconds before the second try at most; each further wait may be twice as long",
    )
    longest: float = Field(
        default=5.0, ge=0, allow_inf_nan=False, description="seconds that a wait takes at most"
    )


class _Tries:
    """The tries of one call: whether there may be another, and the wait before it."""

    def __init__(self, options: RetryOptions, calls: Calls, what: str) -> None:
        self._options = options
        self._calls = calls
        self._what = what
        self._done = 0
        self._end = asyncio.get_running_loop().time() + options.patience
        self.unknown: StoreUnavailable | None = None
        """The error of a try whose outcome is unknown."""

    async def again(self, error: StoreUnavailable, *, lost: bool = True) -> None:
        """Wait for the next try. Raises the error where there is none.

        `lost`: the call that failed may have been done.
        """
        if lost:
            self.unknown = error
        self._done += 1
        options, loop = self._options, asyncio.get_running_loop()
        # Full jitter: those whom one outage has stopped do not come back together.
        most = min(options.longest, options.first * 2 ** min(self._done - 1, _MOST_DOUBLINGS))
        wait = random.uniform(0, most)  # noqa: S311  # jitter, no secret
        if (
            self._done >= options.tries
            or loop.time() + wait > self._end
            or self._calls.closing.is_set()
        ):
            raise error
        _logger.info("%s is tried again in %.2f s: %s", self._what, wait, error)
        try:
            async with asyncio.timeout(wait):
                await self._calls.closing.wait()  # then the last try comes at once
        except TimeoutError:
            pass


class RetryingStore(StoreWrapper):
    """A store that is asked again where it was away; for parameters see `RetryOptions`."""

    def __init__(self, inner: SessionStore, options: RetryOptions | None = None) -> None:
        super().__init__(inner)
        self._options = options or RetryOptions()
        self._calls = Calls(inner.name)

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session; see `SessionStore.create`."""
        return await self._repeated(
            "create",
            lambda: self.inner.create(
                session_id, user_id=user_id, state=state, ttl=ttl, commit_id=commit_id
            ),
        )

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`."""
        return await self._repeated(
            "load", lambda: self.inner.load(session_id, after=after, limit=limit, known=known)
        )

    async def append(
        self,
        session_id: str,
        records: Sequence[Record],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
        ttl: Ttl | Keep = KEEP,
    ) -> Head:
        """Add records; see `SessionStore.append`."""
        # What was given may change while we wait, and a repeated write must be the same.
        given = [record._replace(data=bytes(record.data)) for record in records]
        return await self._repeated(
            "append",
            lambda: self.inner.append(
                session_id,
                given,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
                ttl=ttl,
            ),
        )

    async def fork(
        self,
        session_id: str,
        new_id: str,
        *,
        upto: int,
        incarnation: bytes,
        user_id: str | None = None,
        state: bytes = b"{}",
        meta: bytes = b"",
        base: int = 0,
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Copy a session; see `ForkingStore.fork`."""
        passed = super().fork
        return await self._repeated(
            "fork",
            lambda: passed(
                session_id,
                new_id,
                upto=upto,
                incarnation=incarnation,
                user_id=user_id,
                state=state,
                meta=meta,
                base=base,
                ttl=ttl,
                commit_id=commit_id,
            ),
        )

    async def erase(
        self,
        session_id: str,
        replacements: Mapping[int, bytes],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
    ) -> Head:
        """Replace records; see `ErasingStore.erase`."""
        passed, given = super().erase, dict(replacements)
        return await self._repeated(
            "erase",
            lambda: passed(
                session_id,
                given,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
            ),
        )

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`.

        After a lost answer a session that is gone counts as deleted by this call: True.
        """
        async with self._calls.call():
            tries = _Tries(self._options, self._calls, "delete")
            aim, life = expected, b""
            while True:
                sent = False
                try:
                    if aim is None:
                        try:
                            found = await self.inner.load(session_id, after=BEHIND_ALL, limit=1)
                        except CorruptSession:
                            break
                        if found is None:
                            return bool(tries.unknown)
                        aim = found.head.revision
                    life, sent = aim.incarnation, True
                    return await self.inner.delete(session_id, expected=aim) or bool(tries.unknown)
                except StoreUnavailable as error:
                    await tries.again(error, lost=sent)
                except StoreClosed:
                    raise tries.unknown or StoreClosed(self.name) from None
                except SessionConflict as error:
                    now = None if error.head is None else error.head.revision
                    if tries.unknown and (now is None or now.incarnation != life):
                        return True  # that life has ended
                    if expected is not None:
                        raise
                    aim = now  # written to, or begun anew, since we looked
            # What cannot be read is not aimed at, so it is tried once: a repeat could take what
            # has begun anew under this id.
            return await self.inner.delete(session_id) or bool(tries.unknown)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        return await self._repeated(
            "list", lambda: self.inner.list(user_id=user_id, limit=limit, cursor=cursor)
        )

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records; see `SearchingStore.search`."""
        passed = super().search
        return await self._repeated(
            "search", lambda: passed(query, user_id=user_id, limit=limit, cursor=cursor)
        )

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove expired sessions; see `SessionStore.purge`.

        After a lost answer, those that it had removed are not counted.
        """
        return await self._repeated("purge", lambda: self.inner.purge(limit=limit))

    async def close(self) -> None:
        """End all waiting with a last try each, then close the store inside."""
        await self._calls.ended()
        await self.inner.close()

    async def _repeated(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        async with self._calls.call():
            tries = _Tries(self._options, self._calls, what)
            while True:
                try:
                    return await call()
                except StoreUnavailable as error:
                    await tries.again(error)
                except (SessionConflict, SessionExists, StoreClosed) as error:
                    if tries.unknown is None:
                        raise
                    raise StoreUnavailable(
                        f"the answer to {what} was lost, and then: {error}. Whether it was kept is "
                        "unknown: load the session to see"
                    ) from error
