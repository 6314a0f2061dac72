"""Sessions in this process's memory: for development and tests. Nothing outlives the process."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from turnkeep.errors import SessionConflict, SessionExists, SessionNotFound, StoreClosed
from turnkeep.events import utc_now
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
    check_base,
    check_id,
    check_limit,
    check_seqs,
    check_ttl,
    new_incarnation,
)


@dataclass(slots=True)
class _Session:
    head: Head
    state: bytes
    created_by: bytes
    commit_id: bytes
    records: list[bytes] = field(default_factory=list)


class MemoryStore:
    """A `SessionStore` in a dictionary. `clock` gives the store's time, aware UTC."""

    name: Final = "memory"
    capabilities: Final = frozenset({Capability.LIST_ALL, Capability.FORK, Capability.ERASE})
    durability: Final[Durability] = "none"

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._closed = False

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
        self._check_open()
        check_id(session_id)
        if user_id is not None:
            check_id(user_id, "user id")
        check_ttl(ttl)
        now = self._now()
        if (found := self._find(session_id, now)) is not None:
            if found.created_by == commit_id and found.head.revision.version == 0:
                return found.head
            raise SessionExists(session_id)
        revision = Revision(new_incarnation(), 0)
        head = Head(session_id, user_id, revision, 0, 0, b"", now, now, _expiry(now, ttl), ttl)
        self._sessions[session_id] = _Session(head, state, commit_id, commit_id)
        return head

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`."""
        self._check_open()
        check_limit(limit)
        now = self._now()
        if (found := self._find(check_id(session_id), now)) is None:
            return None
        if known == found.head.revision:
            return NotModified(found.head, now)
        start = max(found.head.base - 1, 0) if after is None else max(after, 0)
        stop = len(found.records) if limit is None else min(start + limit, len(found.records))
        records = found.records[start:stop]
        more = stop < len(found.records)
        return Loaded(found.head, found.state, start + 1, records, more, now)

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
        self._check_open()
        now = self._now()
        if (found := self._find(check_id(session_id), now)) is None:
            raise SessionNotFound(session_id)
        head = found.head
        if found.commit_id == commit_id:
            return head
        if head.revision != expected:
            raise SessionConflict(session_id, head)
        check_base(head.base if base is None else base, head.seq + len(records))
        lasting = head.ttl if isinstance(ttl, Keep) else check_ttl(ttl)
        data = [bytes(record.data) for record in records]  # may fail: before anything is changed
        found.head = head._replace(
            revision=Revision(head.revision.incarnation, head.revision.version + 1),
            seq=head.seq + len(data),
            base=head.base if base is None else base,
            meta=head.meta if meta is None else meta,
            updated=now,
            expires=_expiry(now, lasting),
            ttl=lasting,
        )
        found.records += data
        found.state = found.state if state is None else state
        found.commit_id = commit_id
        return found.head

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
        """Copy a session into a new one; see `ForkingStore.fork`."""
        self._check_open()
        now = self._now()
        made = self._find(check_id(new_id), now)
        if made is not None and made.created_by == commit_id and made.head.revision.version == 0:
            return made.head
        if (source := self._find(check_id(session_id), now)) is None:
            raise SessionNotFound(session_id)
        if source.head.revision.incarnation != incarnation or source.head.seq < upto:
            raise SessionConflict(session_id, source.head)
        check_base(base, upto)
        head = await self.create(new_id, user_id=user_id, state=state, ttl=ttl, commit_id=commit_id)
        made = self._sessions[new_id]
        made.records = source.records[:upto]
        made.head = head._replace(seq=upto, meta=meta, base=base)
        return made.head

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
        """Put other bytes in the place of records; see `ErasingStore.erase`."""
        self._check_open()
        found = self._find(check_id(session_id), self._now())
        if found is not None and found.commit_id != commit_id and found.head.revision == expected:
            check_seqs(replacements, found.head.seq)
        head = await self.append(
            session_id,
            [],
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
        )
        records = self._sessions[session_id].records
        for seq, data in replacements.items():
            records[seq - 1] = bytes(data)
        return head

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        self._check_open()
        if (found := self._find(check_id(session_id), self._now())) is None:
            return False
        if expected is not None and expected != found.head.revision:
            raise SessionConflict(session_id, found.head)
        del self._sessions[session_id]
        return True

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        self._check_open()
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)
        now = self._now()
        heads = sorted(
            (
                session.head
                for session in self._sessions.values()
                if not _expired(session.head, now)
                and (user_id is None or session.head.user_id == user_id)
            ),
            key=_list_key,
        )
        start = 0
        if cursor is not None:
            start = bisect.bisect_right(heads, _parse_cursor(cursor), key=_list_key)
        page = heads[start : start + limit]
        more = start + limit < len(heads)
        return Page(page, json.dumps(_list_key(page[-1])) if more else None)

    async def purge(self, *, limit: int = 1000) -> int:
        """Drop expired sessions; see `SessionStore.purge`."""
        self._check_open()
        check_limit(limit)
        now = self._now()
        gone = [key for key, found in self._sessions.items() if _expired(found.head, now)][:limit]
        for key in gone:
            del self._sessions[key]
        return len(gone)

    async def close(self) -> None:
        """Refuse further calls. What was kept is gone with the last handle."""
        self._closed = True

    def handle(self, *, clock: Callable[[], datetime] | None = None) -> MemoryStore:
        """Give a second store on the same sessions, which is closed by itself."""
        other = MemoryStore(clock=clock or self._clock)
        other._sessions = self._sessions
        return other

    def snapshot(self) -> Sequence[Loaded]:
        """Read every live session whole, without a loop: for the tutorial's `_sessions`."""
        now = self._now()
        return [
            Loaded(found.head, found.state, 1, list(found.records), False, now)
            for found in self._sessions.values()
            if not _expired(found.head, now)
        ]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(self.name)

    def _now(self) -> datetime:
        now = self._clock().astimezone(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _find(self, session_id: str, now: datetime) -> _Session | None:
        found = self._sessions.get(session_id)
        return None if found is None or _expired(found.head, now) else found


def _expiry(now: datetime, ttl: Ttl) -> datetime | None:
    return None if ttl is None else now + timedelta(seconds=ttl)


def _expired(head: Head, now: datetime) -> bool:
    return head.expires is not None and head.expires <= now


def _list_key(head: Head) -> tuple[float, str]:
    return -head.created.timestamp(), head.session_id


def _parse_cursor(cursor: str) -> tuple[float, str]:
    try:
        created, session_id = json.loads(cursor)
        return float(created), str(session_id)
    except (ValueError, TypeError):
        raise ValueError(f"{cursor!r} is no cursor of this store") from None
