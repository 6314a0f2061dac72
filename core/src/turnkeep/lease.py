"""Lease: one turn's hold on a session, and the live context it works on.

There is no lock service. The first write of a turn names it in the session's head; while it is
heard of (appends without records bridge long tool calls) other turns are told SessionBusy before
they spend anything. A turn that is silent for too long is taken over, and the revision fences its
old holder: whatever it still writes is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from turnkeep.blobs import references, restore
from turnkeep.codec import decode_events, decode_object
from turnkeep.context import Arrival, Context
from turnkeep.errors import (
    ConfigError,
    SessionBusy,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
    TurnkeepError,
)
from turnkeep.events import Checkpoint, Event, new_id
from turnkeep.log import Log, begin, jittered, read_event, read_records, settled
from turnkeep.meta import Meta, check_free
from turnkeep.store import (
    MAX_TTL,
    Head,
    Loaded,
    NotModified,
    SessionStore,
    Ttl,
    new_commit_id,
)

_logger = logging.getLogger("turnkeep")

MIN_TIMEOUT: Final = 0.05
OPENING_TRIES: Final = 20
"""How often a turn that has spent nothing starts over when others write between load and append."""


class TurnRules(NamedTuple):
    """How turns of one session meet. `timeout`: seconds of silence after which one is dead."""

    timeout: float
    on_conflict: Literal["error", "wait"]
    on_pending: Literal["raise", "reject"]

    def checked(self) -> TurnRules:
        """Return the rules if they make sense. Raises ConfigError."""
        if not MIN_TIMEOUT <= self.timeout <= MAX_TTL:
            raise ConfigError(
                f"turn_timeout is a number of seconds from {MIN_TIMEOUT}, not {self.timeout!r}"
            )
        for name, allowed in (
            ("on_conflict", ("error", "wait")),
            ("on_pending", ("raise", "reject")),
        ):
            if getattr(self, name) not in allowed:
                wanted = " or ".join(map(repr, allowed))
                raise ConfigError(f"{name} is {wanted}, not {getattr(self, name)!r}")
        return self


class Intent(NamedTuple):
    """What a caller wants to write.

    `what` tells the same wish again from another one, after a lost answer. `build` makes the events
    from the context as it is when they are written; it refuses by raising. `restarts`: the wish
    holds on a context that has moved on, as a new input does and an answer to the old one does not.
    """

    what: tuple[object, ...]
    build: Callable[[], Sequence[Event]]
    restarts: bool = False
    closing: bool = False
    state: bytes | None = None
    rebases: bool = False
    """It is a checkpoint, the new base."""


class _Lost(NamedTuple):
    """An intent whose answer was lost, with what it wrote if that was kept."""

    what: tuple[object, ...]
    meta: Meta | None
    kept: Sequence[Event] | None


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
        notes: Callable[[], dict[str, Any]] = dict,
        arrival: Arrival | None = None,
    ) -> None:
        self._arrival = arrival
        self.context = Context(arrival=arrival)
        self.events: list[Event] = []
        """The live events: from the newest checkpoint on."""
        self.state: dict[str, Any] = {}
        self.loaded_seq = 0
        """The last seq that was there before this turn."""
        self.exposed = False
        """Whether a request was handed out: then the context may not change under its reader."""
        self._store = store
        self._session_id = session_id
        self._rules = rules
        self._ttl = ttl
        self._user_id = user_id
        self._make_notes = notes
        self._turn_id = new_id()
        self._create_id = new_commit_id()
        self._phase: Literal["new", "idle", "open", "lost"] = "new"
        self._log: Log | None = None
        self._meta = Meta()
        self._busy: SessionBusy | None = None
        self._lost: _Lost | None = None
        self._lock = asyncio.Lock()
        self._used: datetime | None = None
        """When the session was used last."""
        self._read: datetime | None = None
        """The store's clock as the session was read, until it is used."""
        self._pulse: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def head(self) -> Head | None:
        """The session's head as last seen; None: it does not exist yet."""
        return None if self._log is None else self._log.head

    @property
    def next_seq(self) -> int:
        """The seq that the next event will have."""
        return 1 if self._log is None else self._log.head.seq + 1

    @property
    def notes(self) -> dict[str, Any]:
        """What the last turn that was closed noted of the context's tokens."""
        return self._meta.tokens

    def idle(self) -> float:
        """Give the seconds since the last use, by the store's clock, and begin to count anew."""
        head = self.head
        if head is None or self._used is None:
            return 0.0
        now = head.updated if self._read is None else max(head.updated, self._read)
        passed = (now - self._used).total_seconds()
        self._used, self._read = head.updated, None
        return max(passed, 0.0)

    async def load(self) -> None:
        """Read the live context. Never writes; waits for a running turn if the rules say so."""
        await self._load()
        delay = 0.05
        while self._busy is not None and self._rules.on_conflict == "wait":
            await asyncio.sleep(jittered(delay))
            delay = min(delay * 1.5, 1.0)
            await self._look_again()

    async def write(self, intent: Intent) -> Sequence[Event]:
        """Append durably, opening the turn first if it is not open; give what stands in the log."""
        async with self._lock:
            if self._phase == "new":
                raise TurnkeepError("enter the turn first: async with keep.turn(...) as turn")
            if self._log is not None and self._log.unsettled:
                await self._settle()
            lost, self._lost = self._lost, None
            if lost is not None and lost.kept is not None and repr(lost.what) == repr(intent.what):
                return lost.kept  # the same again after a lost answer: it had been kept
            if self._phase == "lost":
                raise self._fenced(None)
            if self._phase == "idle":
                return await self._open(intent)
            events = intent.build()
            meta = self._closed() if intent.closing else None
            try:
                await self._append(intent, events, meta)
            except (SessionConflict, SessionNotFound) as conflict:
                self._phase = "lost"
                raise self._fenced(conflict) from None
            return events

    async def settle(self) -> None:
        """Learn the outcome of a write whose answer was lost, before the context is relied on."""
        if self._lost is not None:
            async with self._lock:
                await self._settle()

    async def close(self, *, failing: bool) -> None:
        """Close the turn if it is open. `failing`: an error is on its way, do not hide it.

        It is closed also where the caller is cancelled meanwhile, however often.
        """
        self._closing = True
        self._stop_pulse()  # at once: nothing keeps a turn fresh that nobody works on
        try:
            await settled(self._close(failing=failing))
        finally:
            self._closing = False

    async def _close(self, *, failing: bool) -> None:
        async with self._lock:
            try:
                await self._settle()
                if self._phase == "open":
                    closing = Intent(("close",), tuple, closing=True)
                    await self._append(closing, (), self._closed())
            except TurnkeepError as error:
                # Taken over or deleted: there is nothing to close any more, and nothing was lost.
                if not failing and not isinstance(error, SessionConflict | SessionNotFound):
                    raise
                _logger.warning("session %r: its turn was not closed: %s", self._session_id, error)
            finally:
                self._stop_pulse()
                self._phase = "new"

    async def _load(self) -> None:
        read = await read_records(self._store, self._session_id)
        if read is None:
            self._log, self._meta, self._busy = None, Meta(), None
            self.context, self.state, self.loaded_seq = Context(arrival=self._arrival), {}, 0
            self.events, self._used = [], None
        else:
            loaded, records = read
            head = loaded.head
            if self._user_id is not None and head.user_id != self._user_id:
                raise SessionNotFound(self._session_id)
            meta = Meta.of(head)
            state = decode_object(loaded.state, session_id=self._session_id, what="its state")
            events = decode_events(records, loaded.first, session_id=self._session_id)
            context = Context(events, base=head.base, arrival=self._arrival)
            await self._restore_blobs(context)
            # All at once: a load that is cut off leaves what was there.
            self._log, self._meta = Log(self._store, head), meta
            self.context, self.state, self.loaded_seq = context, state, head.seq
            self.events = events
            self._used, self._read = head.updated, loaded.now
            self._busy = check_free(head, meta, loaded.now, self._rules.timeout)
        self._phase = "idle"
        self._lost = None
        self.exposed = False

    async def _look_again(self) -> None:
        """See whether the running turn still runs; read everything only if something changed."""
        assert self._log is not None
        head = self._log.head
        seen = await self._store.load(self._session_id, limit=1, known=head.revision)
        if isinstance(seen, NotModified):
            self._busy = check_free(head, self._meta, seen.now, self._rules.timeout)
        elif isinstance(seen, Loaded) and (
            busy := check_free(seen.head, Meta.of(seen.head), seen.now, self._rules.timeout)
        ):
            self._busy = busy
        else:
            await self._load()

    async def _restore_blobs(self, context: Context) -> None:
        """Put large media back that the checkpoint only refers to."""
        fetched: dict[int, Event] = {}

        async def fetch(seq: int) -> Event:
            if seq not in fetched:
                fetched[seq] = await read_event(self._store, self._session_id, seq)
            return fetched[seq]

        for place, item in enumerate(context.items):
            if references(item):
                context.put(place, await restore(item, fetch, session_id=self._session_id))

    async def _open(self, intent: Intent) -> Sequence[Event]:
        """Make the write that names this turn, starting over while others are quicker."""
        restarts = intent.restarts and not self.exposed
        conflict: SessionConflict | None = None
        # A conflict is somebody's progress: who waits for others goes on until it is their turn.
        waits = restarts and self._rules.on_conflict == "wait"
        tries = OPENING_TRIES if restarts else 1
        while tries > 0:
            if (conflict or self._busy) and restarts:
                await self.load()  # the busy answer may be old, too
            if self._busy is not None:
                raise self._busy
            try:
                if self._log is None:
                    self._log = await begin(
                        self._store,
                        self._session_id,
                        user_id=self._user_id,
                        ttl=self._ttl,
                        commit_id=self._create_id,
                    )
                events = intent.build()
                opened = self._meta._replace(turn=self._turn_id)
                await self._append(intent, events, self._closed() if intent.closing else opened)
            except (SessionConflict, SessionExists, SessionNotFound) as error:
                head = error.head if isinstance(error, SessionConflict) else None
                conflict = SessionConflict(self._session_id, head)
                # One that is gone at once may be gone again, without anybody's progress.
                tries -= not waits or isinstance(error, SessionNotFound)
                await asyncio.sleep(jittered(0.01) if restarts else 0)
            else:
                return events
        assert conflict is not None
        raise conflict

    def _closed(self) -> Meta:
        return self._meta._replace(turn=None, tokens=self._make_notes())

    async def _append(self, intent: Intent, events: Sequence[Event], meta: Meta | None) -> None:
        assert self._log is not None
        encoded = None if meta is None else meta.encode(self._session_id)
        try:
            base = self.next_seq if intent.rebases else None
            await self._log.append(events, meta=encoded, state=intent.state, base=base)
        finally:
            if self._log.unsettled:
                self._lost = _Lost(intent.what, meta, None)
        self._landed(events, meta, intent.state)

    def _landed(self, events: Sequence[Event], meta: Meta | None, state: bytes | None) -> None:
        """Take in what has been stored."""
        for event in events:
            if isinstance(event, Checkpoint):
                self.context.base = event.seq or 0
                self.events = []
            self.events.append(event)
            self.context.add(event)
        if state is not None:
            self.state = decode_object(state, session_id=self._session_id, what="its state")
        if meta is not None:
            self._meta = meta
            self._phase = "idle" if meta.turn is None else "open"
            self.exposed = self.exposed and self._phase == "open"
        if self._phase != "open":
            self._stop_pulse()
        elif not self._closing and (self._pulse is None or self._pulse.done()):
            self._pulse = asyncio.create_task(self._keep_fresh())

    async def _settle(self) -> None:
        if self._log is None or not self._log.unsettled:
            return
        kept = await self._log.settle()
        if kept is not None and self._lost is not None:
            self._landed(kept.events, self._lost.meta, kept.state)
            if any(isinstance(event, Checkpoint) for event in kept.events):
                await self._restore_blobs(self.context)
            self._lost = self._lost._replace(kept=kept.events)

    async def _keep_fresh(self) -> None:
        """Let the store hear of this turn in good time, also while a tool works for hours."""
        head = self.head
        lifetime = self._rules.timeout if head is None or head.ttl is None else head.ttl
        interval = min(self._rules.timeout, lifetime) / 3
        while True:
            await asyncio.sleep(interval)
            async with self._lock:
                if self._phase != "open":
                    return
                try:
                    await self._settle()
                    assert self._log is not None
                    if self._phase == "open":
                        await self._log.append([])
                except StoreUnavailable as error:
                    _logger.warning("session %r: not kept fresh: %s", self._session_id, error)
                except TurnkeepError:
                    self._phase = "lost"
                    return

    def _stop_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None

    def _fenced(self, error: TurnkeepError | None) -> SessionConflict:
        return SessionConflict(
            self._session_id,
            error.head if isinstance(error, SessionConflict) else None,
            f"session {self._session_id!r}: this turn was taken over, or the session is gone; what "
            "the turn kept so far was not changed, this was not written. Open a new turn",
        )
