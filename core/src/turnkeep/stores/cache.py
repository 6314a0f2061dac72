"""The wrapper `cache`: sessions that were loaded lately are kept in memory, and never trusted.

Each load still asks the store whether the session is at the revision that is known here. If so, the
records need not come again; if not, they come. So other processes may write as they like. What is
saved is the way of the records, not the question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.store import (
    KEEP,
    Head,
    Keep,
    Loaded,
    NotModified,
    Record,
    Revision,
    SessionStore,
    Ttl,
)
from turnkeep.stores.wrapped import StoreWrapper

_EACH: Final = 100
"""Bytes that a record takes beside its own, about."""


class CacheOptions(BaseModel):
    """The table `[session.cache]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sessions: int = Field(default=100, ge=1, description="sessions that are kept in memory at most")
    bytes: int = Field(
        default=64 * 1024 * 1024, ge=0, description="bytes that they may take together, about"
    )


@dataclass(slots=True)
class _Entry:
    """The end of a session, from the record `first` on, at one revision."""

    head: Head
    state: bytes
    first: int
    records: list[bytes]
    """Only ever added to: who has looked at how many there are may read those later."""
    size: int = 0

    def weigh(self) -> int:
        """Reckon its size, and give it."""
        self.size = _weight(self.records) + len(self.state) + len(self.head.meta) + _EACH
        return self.size

    def start(self, after: int | None) -> int:
        """Give the seq that a load begins with, as the contract says."""
        return max(self.head.base, 1) if after is None else max(after, 0) + 1

    def grow(self, head: Head, data: list[bytes], state: bytes | None) -> None:
        """Follow an append."""
        self.size += _weight(data) + len(head.meta) - len(self.head.meta)
        self.head = head
        self.records += data
        if state is not None:
            self.size += len(state) - len(self.state)
            self.state = state
        if head.base > self.first:  # what lies before the live context is hardly asked for
            self.records = self.records[head.base - self.first :]
            self.first = head.base
            self.weigh()


def _weight(records: Sequence[bytes]) -> int:
    return sum(map(len, records)) + _EACH * len(records)


class CachedStore(StoreWrapper):
    """A store whose lately loaded sessions are at hand; for parameters see `CacheOptions`."""

    def __init__(self, inner: SessionStore, options: CacheOptions | None = None) -> None:
        super().__init__(inner)
        self._options = options or CacheOptions()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._removals = 0
        self.hits = 0
        """Loads that were answered from memory."""
        self.misses = 0
        """Loads whose records came from the store."""

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`. One that names a revision is passed on."""
        removals = self._removals
        entry = None if known is not None else self._entries.get(session_id)
        if entry is not None and (start := entry.start(after)) >= entry.first:
            # As it is now: an append may move it on while the store is asked.
            asked, state, records = entry.head.revision, entry.state, entry.records
            place, count = start - entry.first, len(records)
            self._entries.move_to_end(session_id)
            found = await self.inner.load(session_id, after=after, limit=limit, known=asked)
            if isinstance(found, NotModified):
                self.hits += 1
                stop = count if limit is None else min(place + limit, count)
                more = stop < count
                return Loaded(found.head, state, start, records[place:stop], more, found.now)
        else:
            found = await self.inner.load(session_id, after=after, limit=limit, known=known)
        if isinstance(found, Loaded):
            self.misses += 1
            if removals == self._removals:  # else it may hold what was erased meanwhile
                self._keep(found)
        elif found is None:
            self._drop(session_id)
        return found

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
        """Add records, here too; see `SessionStore.append`."""
        given = [record._replace(data=bytes(record.data)) for record in records]
        head = await self.inner.append(
            session_id,
            given,
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
            ttl=ttl,
        )
        entry = self._entries.get(session_id)
        if entry is not None and entry.head.revision == expected:
            if head.seq - entry.head.seq == len(given) and _follows(expected, head.revision):
                self._size -= entry.size
                data = [record.data for record in given]
                entry.grow(head, data, None if state is None else bytes(state))
                self._size += entry.size
                self._trim()
            else:
                self._drop(session_id)
        return head

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
        """Replace records; see `ErasingStore.erase`. Nothing of the old ones stays here."""
        self._remove(session_id)
        try:
            return await super().erase(
                session_id,
                replacements,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
            )
        finally:
            self._remove(session_id)  # a load meanwhile may have brought them back

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        try:
            return await self.inner.delete(session_id, expected=expected)
        finally:
            self._remove(session_id)

    async def close(self) -> None:
        """Forget everything and close the store inside."""
        self._entries.clear()
        self._size = 0
        await self.inner.close()

    def _keep(self, found: Loaded) -> None:
        """Keep the end of a session; a page from amid it is none."""
        head = found.head
        if found.more or found.first > head.seq + 1:
            return
        old = self._entries.get(head.session_id)
        if old is not None and old.head.revision == head.revision and old.first <= found.first:
            return
        self._drop(head.session_id)
        entry = _Entry(head, found.state, found.first, list(found.records))
        if entry.weigh() <= self._options.bytes:
            self._entries[head.session_id] = entry
            self._size += entry.size
            self._trim()

    def _remove(self, session_id: str) -> None:
        """Drop what was erased or deleted; what loads under way bring is not kept either."""
        self._removals += 1
        self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        entry = self._entries.pop(session_id, None)
        self._size -= 0 if entry is None else entry.size

    def _trim(self) -> None:
        options = self._options
        while self._entries and (
            len(self._entries) > options.sessions or self._size > options.bytes
        ):
            _, entry = self._entries.popitem(last=False)
            self._size -= entry.size


def _follows(before: Revision, after: Revision) -> bool:
    return before.incarnation == after.incarnation and after.version == before.version + 1
