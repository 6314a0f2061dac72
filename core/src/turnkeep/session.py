"""Sessions as whole objects: the tutorial's `Session` and its managers, over any store.

A manager reads all of a session and saves what is new: convenient, and as costly as the session is
long. `turnkeep.turn` works on the live context instead and appends as things happen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from turnkeep.codec import decode_event, decode_object, encode_event, encode_object
from turnkeep.errors import ContentError, CorruptSession, SessionConflict, SessionNotFound
from turnkeep.events import AnyEvent, Event, utc_now
from turnkeep.log import Log, begin, read_records, stream_events
from turnkeep.meta import TURN_TIMEOUT, Meta, check_free, times
from turnkeep.store import Head, Loaded, NotModified, SessionStore, Ttl, new_commit_id
from turnkeep.stores.memory import MemoryStore


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.astimezone()


_Moment = Annotated[datetime, AfterValidator(_aware)]


class Session(BaseModel):
    """A conversation with its state, as one object. Naive times are read as local time."""

    model_config = ConfigDict(validate_assignment=False)

    session_id: str
    user_id: str | None = None
    events: list[AnyEvent] = Field(default_factory=list)
    state: dict[str, Any] = Field(default_factory=dict)
    created_at: _Moment = Field(default_factory=utc_now)
    updated_at: _Moment = Field(default_factory=utc_now)

    _loaded: _Snapshot | None = PrivateAttr(default=None)


class _Snapshot:
    """What a session held when it was read or last saved: the ground that `save` compares with."""

    def __init__(self, log: Log, meta: Meta, records: list[bytes], state: bytes) -> None:
        self.log = log
        self.meta = meta
        self.records = records
        self.state = state

    def take(self, events: Sequence[Event], state: bytes | None) -> None:
        """Note what has been written."""
        self.records += [encode_event(event) for event in events]
        self.state = self.state if state is None else state


class SessionInfo(BaseModel):
    """A line of a listing."""

    session_id: str
    user_id: str | None
    events: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    busy: bool
    header: dict[str, Any]
    problem: str | None = None


class BaseSessionManager(ABC):
    """What an agent needs of a session manager; anybody's own will do."""

    @abstractmethod
    async def create(self, session_id: str, user_id: str | None = None) -> Session:
        """Begin a new session. Raises ValueError if it exists."""

    @abstractmethod
    async def get(self, session_id: str) -> Session | None:
        """Read a session; None if there is none."""

    @abstractmethod
    async def save(self, session: Session) -> None:
        """Keep what changed in a session."""

    async def get_or_create(self, session_id: str, user_id: str | None = None) -> Session:
        """Read a session, or begin it."""
        return await self.get(session_id) or await self.create(session_id, user_id)


class SessionManager(BaseSessionManager):
    """Whole sessions over any store.

    `ttl` (seconds) is given to sessions made here; `turn_timeout` (seconds) tells a turn that is
    running from one whose process died.
    """

    def __init__(
        self, store: SessionStore, *, ttl: Ttl = None, turn_timeout: float = TURN_TIMEOUT
    ) -> None:
        self.store = store
        self.ttl = ttl
        self._turn_timeout = turn_timeout

    async def create(self, session_id: str, user_id: str | None = None) -> Session:
        """Begin a new session. Raises SessionExists, which is a ValueError."""
        log = await begin(
            self.store, session_id, user_id=user_id, ttl=self.ttl, commit_id=new_commit_id()
        )
        return _session(log, b"{}", [])

    async def get(self, session_id: str, *, user_id: str | None = None) -> Session | None:
        """Read a session with all its events; None if there is none or it is another user's.

        Raises CorruptSession for a record that cannot be read.
        """
        read = await read_records(self.store, session_id, after=0)
        if read is None or _foreign(read[0].head, user_id):
            return None
        loaded, records = read
        return _session(Log(self.store, loaded.head), loaded.state, records)

    async def get_or_create(self, session_id: str, user_id: str | None = None) -> Session:
        """Read a session, or begin it; of two callers at once both get the same one.

        Raises SessionExists where the session belongs to another user.
        """
        if (session := await self.get(session_id, user_id=user_id)) is not None:
            return session
        try:
            return await self.create(session_id, user_id)
        except ValueError:
            if (session := await self.get(session_id, user_id=user_id)) is None:
                raise
            return session

    async def save(self, session: Session) -> None:
        """Append the events that are new and write the state if it changed.

        Raises SessionConflict if somebody else wrote since it was read, SessionBusy while a turn is
        running, ContentError if its history was edited in place.
        """
        ground = await self._ground(session)
        if (kept := await ground.log.settle()) is not None:
            ground.take(kept.events, kept.state)
            session.updated_at = ground.log.head.updated
        new = _new_events(session, ground)
        state = encode_object(session.state, f"state of session {session.session_id!r}")
        before = decode_object(ground.state, session_id=session.session_id, what="its state")
        changed = state != encode_object(before, "state")
        carrier = Event(author="system") if changed and not new else None
        if carrier is not None:
            new.append(carrier)
        if not new:
            return
        if changed:
            copy = decode_object(state, session_id=session.session_id, what="its state")
            new[-1].carrying(copy)
        meta = await self._meta_of_free(ground)
        await ground.log.append(
            new,
            state=state if changed else None,
            meta=None if meta is None else meta.encode(session.session_id),
        )
        ground.take(new, state if changed else None)
        ground.meta = meta or ground.meta
        if carrier is not None:
            session.events.append(carrier)
        session.updated_at = ground.log.head.updated

    async def delete(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Remove a session whole; False if there was none, or it is another user's."""
        if user_id is not None:
            head = await self.head(session_id)
            if head is None or _foreign(head, user_id):
                return False
            return await self.store.delete(session_id, expected=head.revision)
        return await self.store.delete(session_id)

    def head_of(self, session: Session) -> Head | None:
        """Give the head that a session was read with; None if it was not read here."""
        ground = session._loaded
        return None if ground is None else ground.log.head

    async def head(self, session_id: str) -> Head | None:
        """Read what is known of a session without its events."""
        found = await self.store.load(session_id, limit=1)
        return None if found is None else found.head

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> tuple[Sequence[SessionInfo], str | None]:
        """Give a page of sessions, newest first, and the cursor that goes on behind it."""
        page = await self.store.list(user_id=user_id, limit=limit, cursor=cursor)
        return [describe(head) for head in page.heads], page.cursor

    async def all(self, *, user_id: str | None = None) -> AsyncIterator[SessionInfo]:
        """Go through all sessions, page by page."""
        cursor = None
        while True:
            infos, cursor = await self.list(user_id=user_id, cursor=cursor)
            for info in infos:
                yield info
            if cursor is None:
                return

    def events(self, session_id: str) -> AsyncIterator[Event]:
        """Go through all events of a session without holding them all."""
        return stream_events(self.store, session_id)

    async def _ground(self, session: Session) -> _Snapshot:
        """Give what the session is compared with: what it was read as, else what the store has."""
        ground = session._loaded
        if ground is not None and ground.log.store is self.store:
            return ground
        read = await read_records(self.store, session.session_id, after=0)
        if read is not None and _foreign(read[0].head, session.user_id):
            raise SessionNotFound(session.session_id)
        if read is None:
            for event in session.events:
                event.stored_as(None)
            made = await self.create(session.session_id, session.user_id)
            session._loaded = made._loaded
        else:
            loaded, records = read
            if ground is not None and _passed_by(ground.log.head, loaded.head):
                raise SessionConflict(session.session_id, loaded.head)
            stored = _session(Log(self.store, loaded.head), loaded.state, records)
            seqs = {event.id: event.seq for event in stored.events}
            for event in session.events:
                event.stored_as(seqs.get(event.id))
            if records and (not session.events or session.events[0].seq is None):
                raise SessionConflict(
                    session.session_id,
                    loaded.head,
                    f"session {session.session_id!r} exists already, with events that this one "
                    "does not hold; get it first",
                )
            session._loaded = stored._loaded
        assert session._loaded is not None
        return session._loaded

    async def _meta_of_free(self, ground: _Snapshot) -> Meta | None:
        """Make sure that no turn runs; give the meta that closes one whose process died."""
        if ground.meta.turn is None:
            return None
        head = ground.log.head
        seen = await self.store.load(head.session_id, after=head.seq, known=head.revision)
        if not isinstance(seen, NotModified):
            raise SessionConflict(head.session_id, seen.head if isinstance(seen, Loaded) else None)
        if busy := check_free(head, ground.meta, seen.now, self._turn_timeout):
            raise busy
        return ground.meta._replace(turn=None)


class InMemorySessionManager(SessionManager):
    """Sessions in this process's memory, for development and tests."""

    def __init__(self) -> None:
        self._memory = MemoryStore()
        super().__init__(self._memory)

    @property
    def _sessions(self) -> dict[str, Session]:
        """All sessions by id, as the tutorial's scripts read them. Changing it changes nothing."""
        return {
            loaded.head.session_id: _session(
                Log(self.store, loaded.head), loaded.state, list(loaded.records)
            )
            for loaded in self._memory.snapshot()
        }


def describe(head: Head) -> SessionInfo:
    """Put a head into words for a listing; core's notes that cannot be read are a `problem`."""
    problem = None
    try:
        meta = Meta.of(head)
    except CorruptSession as error:
        meta, problem = Meta(), str(error)
    created, updated = times(head, meta)
    return SessionInfo(
        session_id=head.session_id,
        user_id=head.user_id,
        events=head.seq,
        created_at=created,
        updated_at=updated,
        expires_at=head.expires,
        busy=meta.turn is not None,
        header=meta.header,
        problem=problem,
    )


def _foreign(head: Head, user_id: str | None) -> bool:
    return user_id is not None and head.user_id != user_id


def _passed_by(known: Head, now: Head) -> bool:
    """Say whether a session was written to since it was known, or is another one by now."""
    return known.revision.incarnation == now.revision.incarnation and known.revision != now.revision


def _session(log: Log, state: bytes, records: list[bytes]) -> Session:
    head = log.head
    session_id = head.session_id
    meta = Meta.of(head)
    created, updated = times(head, meta)
    session = Session.model_construct(
        session_id=session_id,
        user_id=head.user_id,
        events=[
            decode_event(record, seq, session_id=session_id)
            for seq, record in enumerate(records, 1)
        ],
        state=decode_object(state, session_id=session_id, what="its state"),
        created_at=created,
        updated_at=updated,
    )
    session._loaded = _Snapshot(log, meta, records, state)
    return session


def _new_events(session: Session, ground: _Snapshot) -> list[Event]:
    """Give the events to append, having made sure that the stored ones stand unchanged."""
    name = f"session {session.session_id!r}"
    events: list[Event] = session.events
    stored = [event for event in events if event.seq is not None]
    new = events[len(stored) :]
    last = len(ground.records)
    if any(event.seq is not None for event in new) or [event.seq for event in stored] != list(
        range(last - len(stored) + 1, last + 1)
    ):
        raise ContentError(
            f"{name}: its history was reordered or cut; the stored events must stay an unbroken "
            f"run up to {last}, with new ones behind them. To take something back, append a Retract"
        )
    for event in stored:
        seq = event.seq or 0
        record, now = ground.records[seq - 1], encode_event(event)
        # A record of an older version or another writer may be spelt differently.
        if now != record and now != encode_event(
            decode_event(record, seq, session_id=session.session_id)
        ):
            raise ContentError(
                f"{name}: event {event.seq} was changed after it was stored; the log only grows. "
                "Append a new event, or a Retract that takes this one back"
            )
    ids = {event.id for event in events}
    if len(ids) != len(events):
        raise ContentError(f"{name}: two of its events have the same id")
    return new
