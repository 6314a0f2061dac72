"""Anybody's own session manager as a store: three methods, and what they cannot promise is said."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from turnkeep.agent.locks import AnyLoopLock
from turnkeep.codec import decode_event, decode_object, encode_event, encode_object
from turnkeep.errors import SessionConflict, SessionExists, SessionNotFound, StoreError
from turnkeep.events import utc_now
from turnkeep.history import standing_base
from turnkeep.log import settled
from turnkeep.session import BaseSessionManager, Session
from turnkeep.store import (
    KEEP,
    Capability,
    Durability,
    Head,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    Ttl,
    new_incarnation,
)

_logger = logging.getLogger("turnkeep")


@dataclass
class _Known:
    """What is known of a session beside what the manager keeps: it lives in this process only."""

    incarnation: bytes
    version: int
    print: tuple[int, bytes]
    """Number of events and a hash of the state, by which somebody else's change is seen."""
    meta: bytes = b""
    base: int = 0
    commit_id: bytes = b""


class ForeignStore:
    """A store over a manager that has only `create`, `get` and `save`.

    It holds within one process: one write after the other, a change by somebody else is seen where
    it shows in the number of events or in the state. What only a store can give is missing, and
    said once: two processes on one session may overwrite each other, and each append costs a whole
    `get` and `save`.
    """

    name: Final = "manager"
    capabilities: Final[frozenset[Capability]] = frozenset()
    durability: Final[Durability] = "none"

    def __init__(self, manager: BaseSessionManager) -> None:
        self._manager = manager
        self._known: dict[str, _Known] = {}
        self._lock = AnyLoopLock()
        self._told = False

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session by the manager's `create`. Raises SessionExists."""
        del state, ttl, commit_id  # core begins sessions empty; the rest such a manager has not
        self._tell()
        async with self._lock:
            if await self._manager.get(session_id) is not None:
                raise SessionExists(session_id)
            try:
                session = await settled(self._manager.create(session_id, user_id))
            except SessionExists:
                raise
            except ValueError as error:
                raise SessionExists(session_id) from error
            self._known.pop(session_id, None)
            if await self._manager.get(session_id) is None:
                raise StoreError(
                    f"{type(self._manager).__name__}.get({session_id!r}) does not give the session "
                    "that its `create` has made; `create` must keep it, or call `save`"
                )
            return self._head(session)

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read by the manager's `get`."""
        async with self._lock:
            session = await self._manager.get(session_id)
            if session is None:
                self._known.pop(session_id, None)
                return None
            self._tell()
            head = self._head(session)
            now = utc_now()
            if known == head.revision:
                return NotModified(head, now)
            records = [encode_event(event) for event in session.events]
            start = max(head.base - 1, 0) if after is None else max(after, 0)
            stop = len(records) if limit is None else min(start + limit, len(records))
            state = encode_object(session.state, f"state of session {session_id!r}")
            return Loaded(head, state, start + 1, records[start:stop], stop < len(records), now)

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
        """Read, add and save. Raises SessionConflict where the session has changed meanwhile."""
        del ttl
        async with self._lock:
            work = self._append(
                session_id,
                records,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
            )
            return await settled(work)

    async def _append(
        self,
        session_id: str,
        records: Sequence[Record],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None,
        state: bytes | None,
        base: int | None,
    ) -> Head:
        session = await self._manager.get(session_id)
        if session is None:
            raise SessionNotFound(session_id)
        head = self._head(session)
        known = self._known[session_id]
        if known.commit_id == commit_id:
            return head
        if head.revision != expected:
            raise SessionConflict(session_id, head)
        if records or state is not None:
            new = [
                decode_event(record.data, seq, session_id=session_id).stored_as(None)
                for seq, record in enumerate(records, head.seq + 1)
            ]
            told = (
                session.state
                if state is None
                else decode_object(state, session_id=session_id, what="its state")
            )
            session = session.model_copy(
                update={
                    "events": [*session.events, *new],
                    "state": told,
                    "updated_at": utc_now(),
                }
            )
            await self._manager.save(session)
        known.version += 1
        known.print = _print(session)
        known.meta = known.meta if meta is None else meta
        known.base = known.base if base is None else base
        known.commit_id = commit_id
        return self._head(session)

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Delete by the manager's own `delete`, if it has one. Raises StoreError otherwise."""
        del expected
        delete = getattr(self._manager, "delete", None)
        if delete is None:
            raise StoreError(f"{type(self._manager).__name__} has no method `delete`")
        self._known.pop(session_id, None)
        return bool(await delete(session_id))

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Raise StoreError: such a manager does not say what it keeps."""
        del user_id, limit, cursor
        raise StoreError(f"{type(self._manager).__name__} cannot list its sessions")

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove nothing: how long sessions last is the manager's matter."""
        del limit
        return 0

    async def close(self) -> None:
        """Leave the manager as it is: it belongs to who made it."""

    def _head(self, session: Session) -> Head:
        print_ = _print(session)
        known = self._known.get(session.session_id)
        if known is None or print_[0] < known.print[0]:  # another one of this name
            base = standing_base(session.events)
            known = _Known(new_incarnation(), 0, print_, base=base)
            self._known[session.session_id] = known
        elif known.print != print_:
            known.version += 1
            known.print = print_
            known.base = standing_base(session.events)
        return Head(
            session.session_id,
            session.user_id,
            Revision(known.incarnation, known.version),
            len(session.events),
            known.base,
            known.meta,
            session.created_at,
            session.updated_at,
            None,
            None,
        )

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            _logger.warning(
                "%s keeps whole sessions: each append reads and saves all of one, and two "
                "processes on one session may overwrite each other; a store such as sqlite does "
                "neither",
                type(self._manager).__name__,
            )


def _print(session: Session) -> tuple[int, bytes]:
    state = encode_object(session.state, f"state of session {session.session_id!r}")
    return len(session.events), hashlib.sha256(state).digest()
