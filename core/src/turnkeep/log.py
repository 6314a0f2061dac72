"""One session's log as its writer holds it: events in, seqs out, fenced by the revision.

This is the only place that appends. It encodes events, retries after a lost answer, and tells a
conflict with a stranger from the echo of its own write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from turnkeep.codec import decode_event, encode_event
from turnkeep.content import Message
from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionNotFound,
    StoreClosed,
    StoreUnavailable,
)
from turnkeep.events import Checkpoint, Event
from turnkeep.store import (
    Capability,
    ErasingStore,
    Head,
    Loaded,
    Record,
    Revision,
    SessionStore,
    Ttl,
    new_commit_id,
)

RETRY_DELAYS: Final = (0.05, 0.2, 0.8)
"""Seconds before each further try of a write whose outcome is unknown; jittered by half."""
PAGE: Final = 1000
"""Records read in one round trip when a whole log is read."""


class Write(NamedTuple):
    """One append as it was asked for."""

    events: Sequence[Event]
    meta: bytes | None
    state: bytes | None
    base: int | None


_NOTHING_WRITTEN: Final = (SessionConflict, SessionNotFound, StoreClosed)
"""Errors of a first try after which the outcome is certain."""


class Log:
    """A handle on one session: its head as last seen, and the right to append while it holds.

    A write whose answer was lost (an error, a cancellation) is settled before the next one, by
    looking for its own events.
    """

    def __init__(self, store: SessionStore, head: Head) -> None:
        self.store = store
        self.head = head
        self._cut: Write | None = None
        """A write whose outcome is unknown."""

    @property
    def unsettled(self) -> bool:
        """Whether there is a write whose outcome is unknown."""
        return self._cut is not None

    async def append(
        self,
        events: Sequence[Event],
        *,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
    ) -> Head:
        """Write events durably and note their seqs on them.

        Raises SessionConflict where another writer was first; ContentError, before anything is
        written, for a value that is not JSON; StoreUnavailable where the store stays away. After
        any other error or a cancellation the outcome is unknown: `settle` tells.
        """
        assert self._cut is None, "settle first"
        records = records_of(self.store, events)
        commit_id = new_commit_id()
        tries = 0
        while True:
            try:
                self.head = await self.store.append(
                    self.head.session_id,
                    records,
                    expected=self.head.revision,
                    commit_id=commit_id,
                    meta=meta,
                    state=state,
                    base=base,
                )
            except StoreUnavailable:
                self._cut = Write(events, meta, state, base)
                if tries == len(RETRY_DELAYS):
                    raise
                await asyncio.sleep(jittered(RETRY_DELAYS[tries]))
                tries += 1
            except _NOTHING_WRITTEN:
                # After a lost answer the other writer may be this one.
                if self._cut is None or await self.settle() is None:
                    raise
                return self.head
            except BaseException:
                self._cut = Write(events, meta, state, base)
                raise
            else:
                self._cut = None
                stamp(events, self.head.seq)
                return self.head

    async def erase(
        self, replacements: Mapping[int, bytes], *, meta: bytes | None, base: int
    ) -> Head:
        """Put other bytes in the place of records; for stores with the capability `erase`.

        Raises SessionConflict where another writer was first; the same again does no harm.
        """
        assert self._cut is None, "settle first"
        store = cast("ErasingStore", self.store)
        commit_id = new_commit_id()
        self.head = await patiently(
            lambda: store.erase(
                self.head.session_id,
                replacements,
                expected=self.head.revision,
                commit_id=commit_id,
                meta=meta,
                base=base,
            )
        )
        return self.head

    async def settle(self) -> Write | None:
        """Learn the outcome of a write whose answer was lost; give it if it had been kept.

        Its events know their seqs then.
        """
        if (cut := self._cut) is None:
            return None
        head = await self._head_behind(cut)
        self._cut = None
        if head is None:
            return None
        self.head = head
        stamp(cut.events, head.seq)
        return cut

    async def _head_behind(self, cut: Write) -> Head | None:
        """Give the head that a lost write left behind, None if it was not kept.

        If others have written since, it is the head between theirs and ours, so that the next
        append conflicts as it must.
        """
        before = self.head
        size = len(cut.events)
        loaded = await self.store.load(before.session_id, after=before.seq, limit=max(size, 1))
        if not isinstance(loaded, Loaded):
            return None
        incarnation, version = before.revision
        if loaded.head.revision.incarnation != incarnation:
            return None
        found = [
            decode_event(record, seq, session_id=before.session_id).id
            for seq, record in enumerate(loaded.records[:size], loaded.first)
        ]
        ours = Revision(incarnation, version + 1)
        meta = before.meta if cut.meta is None else cut.meta
        if found != [event.id for event in cut.events] or (
            not size and (loaded.head.revision != ours or loaded.head.meta != meta)
        ):
            return None
        if loaded.head.revision == ours:
            return loaded.head
        base = before.base if cut.base is None else cut.base
        return before._replace(revision=ours, seq=before.seq + size, meta=meta, base=base)


T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that is safe to repeat while the store is away, a few times."""
    for delay in RETRY_DELAYS:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(jittered(delay))
    return await call()


def stamp(events: Sequence[Event], last: int) -> None:
    """Note on events, the last of which has this seq, where they are stored."""
    for seq, event in enumerate(events, last - len(events) + 1):
        event.stored_as(seq)


async def settled(work: Coroutine[Any, Any, T]) -> T:
    """Finish what was begun, also where the caller is cancelled: then it is all done or failed.

    However often it is cancelled: some libraries do so at every await.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001  # told below
            break
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what the caller is told
        raise cancelled
    return task.result()


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over, also where the caller is cancelled meanwhile."""
    task.cancel()
    await settled(_over(task))


async def _over(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # seen: nobody else asks for it


def records_of(store: SessionStore, events: Sequence[Event]) -> list[Record]:
    """Encode events; with the texts that they are found by, where a store searches."""
    if Capability.SEARCH not in store.capabilities:
        return [Record(encode_event(event)) for event in events]
    return [Record(encode_event(event), said_in(event)) for event in events]


def said_in(event: Event) -> str | None:
    """Give the text of an event's messages; None if there is none, or they only repeat others."""
    if isinstance(event, Checkpoint):
        return None
    texts: list[str] = []
    for item in event.content:
        if isinstance(item, Message) and item.role in ("user", "assistant"):
            parts = [item.content] if isinstance(item.content, str) else item.content
            texts += [
                part if isinstance(part, str) else getattr(part, "text", "") for part in parts
            ]
    return "\n".join(filter(None, texts)) or None


def jittered(delay: float) -> float:
    """Spread a delay (seconds) by half, so that those who wait do not come back together."""
    return delay * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, no secret


async def begin(
    store: SessionStore,
    session_id: str,
    *,
    user_id: str | None = None,
    ttl: Ttl = None,
    commit_id: bytes,
) -> Log:
    """Begin a session. A lost answer is retried; the same `commit_id` begins it once.

    Raises SessionExists.
    """
    head = await patiently(
        lambda: store.create(session_id, user_id=user_id, ttl=ttl, commit_id=commit_id)
    )
    return Log(store, head)


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
    """Yield every event of a session from the first, page by page.

    Raises SessionConflict if the session is deleted and begun anew meanwhile.
    """
    after = 0
    incarnation = None
    while isinstance(page := await store.load(session_id, after=after, limit=PAGE), Loaded):
        if incarnation not in (None, page.head.revision.incarnation):
            raise SessionConflict(session_id, page.head)
        incarnation = page.head.revision.incarnation
        for seq, record in enumerate(page.records, page.first):
            yield decode_event(record, seq, session_id=session_id)
        after = page.first + len(page.records) - 1
        if not page.more:
            return
