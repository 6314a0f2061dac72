"""The base of store wrappers: a store that stands around another one and passes everything on.

A wrapper overrides what it changes and leaves the rest. Name, capabilities and durability are those
of the store inside; `docs/writing-a-wrapper.md` is the guide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

from turnkeep.errors import StoreClosed, StoreError
from turnkeep.store import (
    KEEP,
    Capability,
    Durability,
    ErasingStore,
    ForkingStore,
    Head,
    Hits,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    SearchingStore,
    SessionStore,
    Ttl,
)

BEHIND_ALL: Final = 2**31 - 2
"""A seq that no session reaches: a load after it brings head and state, and no records."""


class StoreWrapper:
    """A `SessionStore` that passes every call on to the one that it stands around."""

    def __init__(self, inner: SessionStore) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """The name of the store inside, which is what messages speak of."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The powers of the store inside; a wrapper may take some away, and can add none."""
        return self.inner.capabilities

    @property
    def durability(self) -> Durability:
        """What an append that has returned survives: what it survives inside."""
        return self.inner.durability

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
        return await self.inner.create(
            session_id, user_id=user_id, state=state, ttl=ttl, commit_id=commit_id
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
        return await self.inner.load(session_id, after=after, limit=limit, known=known)

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
        return await self.inner.append(
            session_id,
            records,
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
            ttl=ttl,
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
        """Copy a session, where the store inside can; see `ForkingStore.fork`."""
        self._needs(Capability.FORK)
        return await cast("ForkingStore", self.inner).fork(
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
        """Replace records, where the store inside can; see `ErasingStore.erase`."""
        self._needs(Capability.ERASE)
        return await cast("ErasingStore", self.inner).erase(
            session_id,
            replacements,
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
        )

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        return await self.inner.delete(session_id, expected=expected)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        return await self.inner.list(user_id=user_id, limit=limit, cursor=cursor)

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records, where the store inside can; see `SearchingStore.search`."""
        self._needs(Capability.SEARCH)
        return await cast("SearchingStore", self.inner).search(
            query, user_id=user_id, limit=limit, cursor=cursor
        )

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove expired sessions; see `SessionStore.purge`."""
        return await self.inner.purge(limit=limit)

    async def close(self) -> None:
        """Close the store inside; see `SessionStore.close`."""
        await self.inner.close()

    def _needs(self, power: Capability) -> None:
        """Refuse a call that needs a capability which is not declared."""
        if power not in self.capabilities:
            raise StoreError(f"the {self.name} store, as it is wrapped, has no {power.value!r}")


class Calls:
    """The calls that a wrapper has taken and not yet passed on: its `close` waits for them.

    The store inside waits for the calls that have reached it. A wrapper that awaits something of
    its own before it passes a call on would lose that call to a close meanwhile.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = asyncio.Event()
        """Set once close was called: who waits longer than it must may stop then."""

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Stand around one call. Raises StoreClosed after `ended` was called."""
        if self.closing.is_set():
            raise StoreClosed(self._store)
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def ended(self) -> None:
        """Take no further call, and wait for those that run."""
        self.closing.set()
        await self._idle.wait()
