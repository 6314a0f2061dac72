"""One session's log as its writer holds it: events in, seqs out, fenced by the revision.

This is the only place that appends. It encodes events, retries after a lost answer, and tells a
conflict with a stranger from the echo of its own write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from turnkeep.codec import decode_event, encode_event
from turnkeep.errors import CorruptSession, SessionConflict, StoreUnavailable
from turnkeep.events import Event
from turnkeep.store import (
    KEEP,
    Head,
    Keep,
    Loaded,
    Record,
    SessionStore,
    Ttl,
    new_commit_id,
)

RETRY_DELAYS: Final = (0.05, 0.2, 0.8)
"""Seconds before each further try of a write whose outcome is unknown; jittered by half."""
PAGE: Final = 1000
"""Records read in one round trip when a whole log is read."""


class _Write(NamedTuple):
    """What tells a write of ours from a stranger's."""

    event_ids: list[str]
    meta: bytes | None


class Log:
    """A handle on one session: its head as last seen, and the right to append while it holds."""

    def __init__(self, store: SessionStore, head: Head) -> None:
        self.store = store
        self.head = head
        self._unsettled: _Write | None = None
        """A write that was cut off, its outcome unknown."""

    async def append(
        self,
        events: Sequence[Event],
        *,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
        ttl: Ttl | Keep = KEEP,
    ) -> Head:
        """Write events durably and note their seqs on them.

        Raises SessionConflict where another writer was first; ContentError, before anything is
        written, for a value that is not JSON; StoreUnavailable where the store stays away.
        """
        records = [Record(encode_event(event)) for event in events]
        own = _Write([event.id for event in events], meta)
        if self._unsettled is not None:
            again = own.event_ids and own.event_ids == self._unsettled.event_ids
            if await self.settle() and again:
                return self._stamp(events, self.head)
        commit_id = new_commit_id()
        delays = iter(RETRY_DELAYS)
        retried = False
        before = self.head
        while True:
            try:
                head = await self.store.append(
                    before.session_id,
                    records,
                    expected=before.revision,
                    commit_id=commit_id,
                    meta=meta,
                    state=state,
                    base=base,
                    ttl=ttl,
                )
                break
            except StoreUnavailable:
                delay = next(delays, None)
                if delay is None:
                    self._unsettled = own
                    raise
                retried = True
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
            except SessionConflict:
                if not retried or (found := await self._find_own(before, own)) is None:
                    raise
                head = found
                break
            except asyncio.CancelledError:
                self._unsettled = own
                raise
        return self._stamp(events, head)

    def _stamp(self, events: Sequence[Event], head: Head) -> Head:
        self.head = head
        for seq, event in enumerate(events, head.seq - len(events) + 1):
            event.stored_as(seq)
        return head

    async def settle(self) -> bool:
        """Learn the outcome of a write that was cut off; True if it had been kept."""
        own, self._unsettled = self._unsettled, None
        if own is None:
            return False
        try:
            found = await self._find_own(self.head, own)
        except BaseException:
            self._unsettled = own
            raise
        if found is not None:
            self.head = found
        return found is not None

    async def _find_own(self, before: Head, own: _Write) -> Head | None:
        """Give the head behind our own write if it is what follows `before` in the log."""
        loaded = await self.store.load(
            before.session_id, after=before.seq, limit=len(own.event_ids) + 1
        )
        written = before.revision._replace(version=before.revision.version + 1)
        if not isinstance(loaded, Loaded) or loaded.head.revision != written:
            return None
        if loaded.head.meta != (before.meta if own.meta is None else own.meta):
            return None
        found = [
            decode_event(record, seq, session_id=before.session_id).id
            for seq, record in enumerate(loaded.records, loaded.first)
        ]
        return loaded.head if found == own.event_ids else None


async def read_records(
    store: SessionStore, session_id: str, *, after: int | None = None
) -> tuple[Loaded, list[bytes]] | None:
    """Read all records behind `after` (None: from the base), page by page, as one history.

    Records are immutable, so pages read one after the other agree; the first page's head and state
    are returned, and what was appended meanwhile is left out.
    """
    first = await store.load(session_id, after=after, limit=PAGE)
    if not isinstance(first, Loaded):
        return None
    records = list(first.records)
    page = first
    while page.more and len(records) < first.head.seq - first.first + 1:
        following = await store.load(session_id, after=first.first + len(records) - 1, limit=PAGE)
        if not isinstance(following, Loaded) or (
            following.head.revision.incarnation != first.head.revision.incarnation
        ):
            raise SessionConflict(session_id, None)
        page = following
        records += page.records
    return first, records[: first.head.seq - first.first + 1]


async def read_event(store: SessionStore, session_id: str, seq: int) -> Event:
    """Read one event. Raises CorruptSession if the log does not have it."""
    loaded = await store.load(session_id, after=seq - 1, limit=1)
    if not isinstance(loaded, Loaded) or not loaded.records:
        raise CorruptSession(session_id, seq, "it is not there")
    return decode_event(loaded.records[0], seq, session_id=session_id)


async def stream_events(store: SessionStore, session_id: str) -> AsyncIterator[Event]:
    """Yield every event of a session from the first, page by page."""
    after = 0
    while isinstance(page := await store.load(session_id, after=after, limit=PAGE), Loaded):
        for seq, record in enumerate(page.records, page.first):
            yield decode_event(record, seq, session_id=session_id)
        after = page.first + len(page.records) - 1
        if not page.more:
            return
