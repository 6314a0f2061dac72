"""Lease: one turn's hold on a session, and the live context it works on.

There is no lock service. The first write of a turn names it in the session's head; while it is
heard of (appends without records bridge long tool calls) other turns are told SessionBusy before
they spend anything. A turn that is silent for too long is taken over, and the revision fences its
old holder: whatever it still writes is refused.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from turnkeep.blobs import references, restore
from turnkeep.codec import decode_event, decode_object
from turnkeep.context import Context
from turnkeep.errors import (
    SessionBusy,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
    TurnkeepError,
)
from turnkeep.events import Event, new_id
from turnkeep.log import Log, read_event, read_records
from turnkeep.meta import Meta, check_free
from turnkeep.store import Head, SessionStore, Ttl, new_commit_id

_logger = logging.getLogger("turnkeep")

OPENING_TRIES: Final = 20
"""How often a turn that has spent nothing starts over when others write between load and append."""


class TurnRules(NamedTuple):
    """How turns of one session meet. `timeout`: seconds of silence after which one is dead."""

    timeout: float
    on_conflict: Literal["error", "wait"]
    on_pending: Literal["raise", "reject"]


class _Cut(NamedTuple):
    """A write whose answer was lost."""

    events: list[Event]
    meta: Meta | None


Leading = Callable[[], list[Event]]
"""Gives the events that an opening write must begin with, told from the context as it is then."""


class Lease:
    """Loads a session, and writes to it as one turn."""

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        *,
        rules: TurnRules,
        ttl: Ttl,
        user_id: str | None,
    ) -> None:
        self.context = Context()
        self.state: dict[str, Any] = {}
        self.exposed = False
        """Whether a request was handed out: then the context may not change under its reader."""
        self._store = store
        self._session_id = session_id
        self._rules = rules
        self._ttl = ttl
        self._user_id = user_id
        self._turn_id = new_id()
        self._phase: Literal["new", "idle", "open", "lost"] = "new"
        self._log: Log | None = None
        self._meta = Meta()
        self._busy: SessionBusy | None = None
        self._cut: _Cut | None = None
        self._lock = asyncio.Lock()
        self._pulse: asyncio.Task[None] | None = None

    @property
    def head(self) -> Head | None:
        """The session's head as last seen; None: it does not exist yet."""
        return None if self._log is None else self._log.head

    async def load(self) -> None:
        """Read the live context. Never writes; waits for a running turn if the rules say so."""
        delay = 0.05
        await self._load()
        while self._busy is not None and self._rules.on_conflict == "wait":
            await asyncio.sleep(_jittered(delay))
            delay = min(delay * 1.5, 1.0)
            await self._load()

    async def write(
        self,
        events: Sequence[Event],
        *,
        leading: Leading | None = None,
        closing: bool = False,
        state: bytes | None = None,
    ) -> None:
        """Append events durably, opening the turn first if it is not open.

        `leading` is given by writes that may start over on a context that has moved on; without
        it, an opening that meets another writer is a SessionConflict.
        """
        async with self._lock:
            if self._phase == "new":
                raise TurnkeepError("enter the turn first: async with keep.turn(...) as turn")
            cut = self._cut
            if await self._settle() and cut is not None and _same(cut.events, events):
                return  # the same again after a lost answer: it had been kept
            if self._phase == "lost":
                raise self._lost(None)
            if self._phase == "open":
                try:
                    await self._append(
                        list(events), None if not closing else self._named(None), state
                    )
                except SessionConflict as conflict:
                    self._phase = "lost"
                    raise self._lost(conflict) from None
            else:
                await self._open(
                    events, leading, self._named(None if closing else self._turn_id), state
                )
            if closing:
                self._stop_pulse()

    async def settle(self) -> None:
        """Learn the outcome of a write whose answer was lost, before the context is relied on."""
        if self._cut is not None:
            async with self._lock:
                await self._settle()

    async def close(self, *, failing: bool) -> None:
        """Close the turn if it is open. `failing`: an error is on its way, do not hide it."""
        async with self._lock:
            self._stop_pulse()
            try:
                await self._settle()
                if self._phase == "open":
                    await self._append([], self._named(None), None)
            except TurnkeepError as error:
                if not failing:
                    raise
                _logger.warning("session %r: its turn was not closed: %s", self._session_id, error)
            finally:
                self._phase = "new"

    async def _load(self) -> None:
        read = await read_records(self._store, self._session_id)
        self._phase = "idle"
        self._busy = None
        if read is None:
            self._log, self._meta, self.context, self.state = None, Meta(), Context(), {}
            return
        loaded, records = read
        head = loaded.head
        if self._user_id is not None and head.user_id != self._user_id:
            raise SessionNotFound(self._session_id)
        self._log = Log(self._store, head)
        self._meta = Meta.of(head)
        try:
            check_free(head, self._meta, loaded.now, self._rules.timeout)
        except SessionBusy as busy:
            self._busy = busy
        self.state = decode_object(loaded.state, session_id=self._session_id, what="its state")
        self.context = Context(
            (
                decode_event(record, seq, session_id=self._session_id)
                for seq, record in enumerate(records, loaded.first)
            ),
            base=head.base,
        )
        await self._restore_blobs()

    async def _restore_blobs(self) -> None:
        """Put large media back that the checkpoint only refers to."""
        fetched: dict[int, Event] = {}

        async def fetch(seq: int) -> Event:
            if seq not in fetched:
                fetched[seq] = await read_event(self._store, self._session_id, seq)
            return fetched[seq]

        entries = self.context.entries
        for place, entry in enumerate(entries):
            if references(entry.item):
                item = await restore(entry.item, fetch, session_id=self._session_id)
                entries[place] = entry._replace(item=item)

    async def _open(
        self, events: Sequence[Event], leading: Leading | None, meta: Meta, state: bytes | None
    ) -> None:
        """Make the write that names this turn, starting over while others are quicker."""
        if self._busy is not None and not self.exposed:
            await self.load()  # it was busy some time ago: look again
        for last in (*[False] * (OPENING_TRIES - 1), True):
            if self._busy is not None:
                raise self._busy
            first = leading() if leading is not None else []
            try:
                if self._log is None:
                    begun = await self._store.create(
                        self._session_id,
                        user_id=self._user_id,
                        ttl=self._ttl,
                        commit_id=new_commit_id(),
                    )
                    self._log = Log(self._store, begun)
                await self._append([*first, *events], meta, state)
            except (SessionConflict, SessionExists, SessionNotFound) as error:
                if last or self.exposed or leading is None:
                    head = error.head if isinstance(error, SessionConflict) else None
                    raise SessionConflict(self._session_id, head) from None
                await asyncio.sleep(_jittered(0.01))
                await self.load()
            else:
                return

    async def _append(self, events: list[Event], meta: Meta | None, state: bytes | None) -> None:
        assert self._log is not None
        encoded = None if meta is None else meta.encode(self._session_id)
        try:
            await self._log.append(events, meta=encoded, state=state)
        except (StoreUnavailable, asyncio.CancelledError):
            self._cut = _Cut(events, meta)
            raise
        self._landed(events, meta)

    def _landed(self, events: list[Event], meta: Meta | None) -> None:
        for event in events:
            self.context.add(event)
        if meta is not None:
            self._meta = meta
            self._phase = "idle" if meta.turn is None else "open"
        if self._phase == "open" and self._pulse is None:
            self._pulse = asyncio.create_task(self._keep_fresh())

    async def _settle(self) -> bool:
        if self._cut is None or self._log is None:
            return False
        kept = await self._log.settle()
        cut, self._cut = self._cut, None
        if kept:
            self._landed(cut.events, cut.meta)
        return kept

    async def _keep_fresh(self) -> None:
        """Let the store hear of this turn in good time, also while a tool works for hours."""
        interval = self._rules.timeout / 3
        while True:
            await asyncio.sleep(interval)
            async with self._lock:
                if self._phase != "open":
                    return
                try:
                    await self._settle()
                    await self._append([], None, None)
                except SessionConflict:
                    self._phase = "lost"
                    return
                except StoreUnavailable as error:
                    _logger.warning("session %r: not kept fresh: %s", self._session_id, error)

    def _stop_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None

    def _named(self, turn_id: str | None) -> Meta:
        return self._meta._replace(turn=turn_id)

    def _lost(self, conflict: SessionConflict | None) -> SessionConflict:
        return SessionConflict(
            self._session_id,
            None if conflict is None else conflict.head,
            f"session {self._session_id!r}: this turn was taken over by another one; what it kept "
            "so far stands, nothing more was written. Open a new turn",
        )


def _same(before: Sequence[Event], now: Sequence[Event]) -> bool:
    tail = before[len(before) - len(now) :]
    return bool(now) and [event.content for event in tail] == [event.content for event in now]


def _jittered(delay: float) -> float:
    return delay * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, no secret
