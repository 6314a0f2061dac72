"""Sessions as whole objects: the tutorial's `Session` and its managers, over any store.

A manager reads all of a session and saves what is new: convenient, and as costly as the session is
long. `turnkeep.turn` works on the live context instead and appends as things happen.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from turnkeep.codec import decode_event, decode_events, decode_object, encode_event
from turnkeep.errors import ContentError, CorruptSession
from turnkeep.events import AnyEvent, Checkpoint, Event, Retract, utc_now
from turnkeep.history import standing_base
from turnkeep.log import Log
from turnkeep.meta import Meta, times
from turnkeep.store import Head


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.astimezone()


_Moment = Annotated[datetime, AfterValidator(_aware)]


class Snapshot:
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


class Session(BaseModel):
    """A conversation with its state, as one object. Naive times are read as local time."""

    model_config = ConfigDict(validate_assignment=False)

    session_id: str
    user_id: str | None = None
    events: list[AnyEvent] = Field(default_factory=list)
    state: dict[str, Any] = Field(default_factory=dict)
    created_at: _Moment = Field(default_factory=utc_now)
    updated_at: _Moment = Field(default_factory=utc_now)

    _loaded: Snapshot | None = PrivateAttr(default=None)


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
    forked: dict[str, Any] | None = None
    """`session` and `seq` that it was forked from."""
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
        forked=meta.forked,
        problem=problem,
    )


def foreign(head: Head, user_id: str | None) -> bool:
    """Say whether a session belongs to somebody else than the user who asks (None: no matter)."""
    return user_id is not None and head.user_id != user_id


def passed_by(known: Head, now: Head) -> bool:
    """Say whether a session was written to since it was known, or is another one by now."""
    return known.revision.incarnation == now.revision.incarnation and known.revision != now.revision


def session_of(log: Log, state: bytes, records: list[bytes]) -> Session:
    """Make the object of a session as it was read, with all its records."""
    head = log.head
    session_id = head.session_id
    meta = Meta.of(head)
    created, updated = times(head, meta)
    session = Session.model_construct(
        session_id=session_id,
        user_id=head.user_id,
        events=decode_events(records, 1, session_id=session_id),
        state=decode_object(state, session_id=session_id, what="its state"),
        created_at=created,
        updated_at=updated,
    )
    session._loaded = Snapshot(log, meta, records, state)
    return session


def new_events(session: Session, ground: Snapshot) -> list[Event]:
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
            f"run up to {last}, with new ones behind them. To take something back, `retract` or "
            "`rewind`"
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
                "Append a new event, and `retract` what this one says"
            )
    if any(isinstance(event, Retract) and event.after is not None for event in new):
        raise ContentError(
            f"{name}: a Retract that goes back to an event changes the state, too; use `rewind`"
        )
    ids = {event.id for event in events}
    if len(ids) != len(events):
        raise ContentError(f"{name}: two of its events have the same id")
    return new


def show_stored(session: Session, written: Sequence[Event]) -> None:
    """Note on a session's own events what the log has of them; others go behind the stored ones."""
    own = {event.id: event for event in session.events}
    for event in written:
        if (mine := own.get(event.id)) is not None:
            mine.stored_as(event.seq)
            if event.state is not None:
                mine.carrying(event.state)
        else:
            stored = sum(each.seq is not None for each in session.events)
            session.events.insert(stored, event)


def new_base(session_id: str, ground: Snapshot, new: Sequence[Event]) -> int | None:
    """Give the base that holds once `new` is appended; None where they leave it as it is."""
    if not any(isinstance(event, Retract | Checkpoint) for event in new):
        return None
    last = len(ground.records)
    stored = decode_events(ground.records, 1, session_id=session_id)
    numbered = [event.model_copy().stored_as(seq) for seq, event in enumerate(new, last + 1)]
    return standing_base([*stored, *numbered])
