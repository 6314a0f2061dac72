"""The session manager: whole sessions over any store, with the tutorial's API and more.

A manager reads all of a session and saves what is new: convenient, and as costly as the session is
long. `turnkeep.turn` works on the live context instead and appends as things happen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, cast

from turnkeep import amendments
from turnkeep.codec import decode_object, encode_object
from turnkeep.content import Ref
from turnkeep.errors import SessionConflict, SessionNotFound, StoreError
from turnkeep.events import Event
from turnkeep.history import state_at
from turnkeep.log import Log, begin, read_records, stream_events
from turnkeep.meta import TURN_TIMEOUT, Meta, check_free, times
from turnkeep.session import (
    BaseSessionManager,
    Session,
    SessionInfo,
    Snapshot,
    describe,
    foreign,
    new_base,
    new_events,
    passed_by,
    session_of,
    show_stored,
)
from turnkeep.store import (
    Capability,
    Head,
    Hits,
    Loaded,
    NotModified,
    SearchingStore,
    SessionStore,
    Ttl,
    new_commit_id,
)

PURGE_BATCH: Final = 1000
"""Sessions that one call to the store removes."""


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
        return session_of(log, b"{}", [])

    async def get(self, session_id: str, *, user_id: str | None = None) -> Session | None:
        """Read a session with all its events; None if there is none or it is another user's.

        Raises CorruptSession for a record that cannot be read.
        """
        read = await read_records(self.store, session_id, after=0)
        if read is None or foreign(read[0].head, user_id):
            return None
        loaded, records = read
        return session_of(Log(self.store, loaded.head), loaded.state, records)

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
            if kept.meta is not None:
                ground.meta = Meta.of(ground.log.head)
            show_stored(session, kept.events)
            session.updated_at = ground.log.head.updated
        new = new_events(session, ground)
        state = encode_object(session.state, f"state of session {session.session_id!r}")
        before = decode_object(ground.state, session_id=session.session_id, what="its state")
        changed = state != encode_object(before, "state")
        if changed:
            # On a copy: an event that was not kept after all must not carry a state that never was.
            last = new.pop().model_copy() if new else Event(author="system")
            copy = decode_object(state, session_id=session.session_id, what="its state")
            new.append(last.carrying(copy))
        if not new:
            return
        meta = await self._meta_of_free(ground)
        base = new_base(session.session_id, ground, new)
        if base is not None and ground.meta.tokens:
            meta = (meta or ground.meta)._replace(tokens={})  # counts of what is no more
        await ground.log.append(
            new,
            state=state if changed else None,
            meta=None if meta is None else meta.encode(session.session_id),
            base=base,
        )
        ground.take(new, state if changed else None)
        ground.meta = meta or ground.meta
        show_stored(session, new)
        session.updated_at = ground.log.head.updated

    async def delete(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Remove a session whole; False if there was none, or it is another user's."""
        if user_id is None:
            return await self.store.delete(session_id)
        # By its revision: between the look and the deletion the id may become somebody else's.
        head = await self.head(session_id, user_id=user_id)
        return head is not None and await self.store.delete(session_id, expected=head.revision)

    async def at(self, session_id: str, seq: int, *, user_id: str | None = None) -> Session:
        """Read a session as it was after event `seq`, for looking at: it cannot be saved.

        Raises SessionNotFound, ContentError for an event that is not there.
        """
        whole = await amendments.read_whole(self.store, session_id, user_id=user_id)
        amendments.check_seq(whole, seq)
        created, _ = times(whole.log.head, whole.meta)
        return Session.model_construct(
            session_id=session_id,
            user_id=whole.log.head.user_id,
            events=whole.events[:seq],
            state=dict(state_at(whole.events, seq, whole.state, whole.meta.first_state)),
            created_at=created,
            updated_at=whole.events[seq - 1].timestamp if seq else created,
        )

    async def retract(
        self, session_id: str, *items: Ref, author: str = "user", user_id: str | None = None
    ) -> Event:
        """Take single items back: no request holds them any more, the log does.

        Raises SessionNotFound, SessionBusy, SessionConflict, ContentError for an item that is not
        there.
        """
        return await self._retract(session_id, author, user_id, items=items)

    async def rewind(
        self, session_id: str, seq: int, *, author: str = "user", user_id: str | None = None
    ) -> Event:
        """Let a session stand as it stood after event `seq` (0: before the first), state included.

        Nothing is deleted: what came later stays in the log. Raises like `retract`.
        """
        return await self._retract(session_id, author, user_id, after=seq)

    async def fork(
        self, session_id: str, new_id: str, *, at: int | None = None, user_id: str | None = None
    ) -> Session:
        """Begin a session of the same owner with a copy of this one, as it was after event `at`.

        Both go their own ways from there. The same fork again finds the one that was made, as long
        as nothing has been added. Raises SessionNotFound, SessionExists, ContentError for an event
        that is not there.
        """
        await amendments.fork(self.store, session_id, new_id, at=at, user_id=user_id)
        if (session := await self.get(new_id)) is None:
            raise SessionNotFound(new_id)
        return session

    async def erase(
        self,
        session_id: str,
        seqs: Iterable[int],
        *,
        reason: str | None = None,
        user_id: str | None = None,
    ) -> Sequence[int]:
        """Remove the content of events for good, and what repeats it; give the seqs of all.

        Checkpoints made after the first of them go, too; decisions on their calls lose arguments
        and reason, retractions the state that they restored. Tombstones keep id, author and time. A
        state that an event carries goes with it; the session's state now is left: change it with
        `save`. Forks made before keep what they copied. Raises StoreError where the store lacks the
        capability `erase`, SessionNotFound, SessionBusy, SessionConflict, ContentError.
        """
        return await amendments.erase(
            self.store,
            session_id,
            seqs,
            reason=reason,
            user_id=user_id,
            turn_timeout=self._turn_timeout,
        )

    async def purge(self) -> int:
        """Physically remove all expired sessions, some at a time; returns how many."""
        removed = 0
        while gone := await self.store.purge(limit=PURGE_BATCH):
            removed += gone
        return removed

    def head_of(self, session: Session) -> Head | None:
        """Give the head that a session was read with; None if it was not read here."""
        ground = session._loaded
        return None if ground is None else ground.log.head

    async def head(self, session_id: str, *, user_id: str | None = None) -> Head | None:
        """Read what is known of a session without its events; None if it is another user's."""
        found = await self.store.load(session_id, limit=1)
        return None if found is None or foreign(found.head, user_id) else found.head

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> tuple[Sequence[SessionInfo], str | None]:
        """Give a page of sessions, newest first, and the cursor that goes on behind it."""
        page = await self.store.list(user_id=user_id, limit=limit, cursor=cursor)
        return [describe(head) for head in page.heads], page.cursor

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find events by the words of their messages, newest sessions first.

        What a query may be beside words is the store's to say. What was taken back is found, what
        was erased is not. Raises StoreError where the store lacks the capability `search`.
        """
        if Capability.SEARCH not in self.store.capabilities:
            raise StoreError(
                f"the {self.store.name} store does not search; use one with the capability "
                '`search`, such as "postgres" with its option search = true'
            )
        searching = cast("SearchingStore", self.store)
        return await searching.search(query, user_id=user_id, limit=limit, cursor=cursor)

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

    async def _retract(
        self, session_id: str, author: str, user_id: str | None, **what: Any
    ) -> Event:
        return await amendments.retract(
            self.store,
            session_id,
            author=author,
            user_id=user_id,
            turn_timeout=self._turn_timeout,
            **what,
        )

    async def _ground(self, session: Session) -> Snapshot:
        """Give what the session is compared with: what it was read as, else what the store has."""
        ground = session._loaded
        if ground is not None and ground.log.store is self.store:
            return ground
        read = await read_records(self.store, session.session_id, after=0)
        if read is not None and foreign(read[0].head, session.user_id):
            raise SessionNotFound(session.session_id)
        if read is None:
            for event in session.events:
                event.stored_as(None)
            made = await self.create(session.session_id, session.user_id)
            session._loaded = made._loaded
        else:
            loaded, records = read
            if ground is not None and passed_by(ground.log.head, loaded.head):
                raise SessionConflict(session.session_id, loaded.head)
            stored = session_of(Log(self.store, loaded.head), loaded.state, records)
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

    async def _meta_of_free(self, ground: Snapshot) -> Meta | None:
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
        from turnkeep.stores.memory import MemoryStore  # few programs need it: import when used

        self._memory = MemoryStore()
        super().__init__(self._memory)

    @property
    def _sessions(self) -> dict[str, Session]:
        """All sessions by id, as the tutorial's scripts read them. Changing it changes nothing."""
        return {
            loaded.head.session_id: session_of(
                Log(self.store, loaded.head), loaded.state, list(loaded.records)
            )
            for loaded in self._memory.snapshot()
        }
