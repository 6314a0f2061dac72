"""The session store on Redis: what each call asks the server, and what its answer means."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from turnkeep.errors import (
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
    StoreUnavailable,
)
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
    new_incarnation,
)
from turnkeep_session_redis.calls import Calls
from turnkeep_session_redis.heads import (
    FORM,
    MOST,
    Line,
    Records,
    changes,
    damaged,
    incomplete,
    moment,
    parse_said,
    point,
    ttl_ms,
    unpacked,
)
from turnkeep_session_redis.index import Index
from turnkeep_session_redis.keys import Keys, cursor, parse_cursor
from turnkeep_session_redis.link import Answer, Link
from turnkeep_session_redis.removal import remove, see_to_files
from turnkeep_session_redis.scripts import (
    BAD,
    CONFLICT,
    CREATE,
    DAMAGED,
    DONE,
    EXISTS,
    FIXED,
    LOAD,
    NONE,
    OK,
    OK_NOTE,
    SAME,
    WRITE,
)

_logger = logging.getLogger("turnkeep.session_redis")

SCRIPTED: Final = 200
"""Most records that the script of a load gives. Inside it each costs the server 1.1 µs, against 0.1
outside: more than that many are worth a second round trip."""


class RedisStore:
    """A `SessionStore` in Redis; see there for what each method promises."""

    name: str = "redis"

    def __init__(
        self,
        link: Link,
        keys: Keys,
        *,
        durability: Durability,
        list_all: bool = True,
        wait_replicas: int = 0,
        rewrite_after_erase: bool = False,
    ) -> None:
        """Take over a link that works; `close` closes it."""
        powers = {Capability.ERASE, Capability.LIST_ALL} if list_all else {Capability.ERASE}
        self.capabilities: frozenset[Capability] = frozenset(powers)
        self.durability: Durability = durability
        self._link = link
        self._keys = keys
        self._index = Index(link, keys, list_all=list_all)
        self._replicas = wait_replicas
        self._rewrite = rewrite_after_erase
        self._calls = Calls(self.name, link.topology.place)

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
        check_id(session_id)
        if user_id is not None:
            check_id(user_id, "user id")
        return await self._calls.run(
            self._create(session_id, user_id, bytes(state), ttl_ms(ttl), commit_id)
        )

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session in one snapshot and one round trip; see `SessionStore.load`."""
        check_id(session_id)
        check_limit(limit)
        return await self._calls.read(self._load(session_id, after, limit, known))

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
        check_id(session_id)
        arguments = changes(expected, commit_id, meta, state, base, ttl=ttl)
        arguments += [FORM + record.data for record in records]

        count = len(records)

        def write() -> Coroutine[Any, Any, Head]:
            return self._write(session_id, arguments, base, meta, count=count)

        return await self._calls.run_fenced(write)

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
        """Overwrite records in memory; see `ErasingStore.erase`.

        What the server's disk held of them stays until it rewrites its files; a warning says so.
        """
        check_id(session_id)
        arguments = changes(expected, commit_id, meta, state, base, replaced=len(replacements))
        for seq, data in replacements.items():
            arguments += [int(seq), FORM + data]
        return await self._calls.run(
            self._erase(session_id, arguments, base, meta, list(replacements))
        )

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`.

        True also where an answer was lost and the session is gone now: it may have been this call.
        """
        check_id(session_id)
        return await self._calls.run(self._delete(session_id, expected))

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)
        start = None if cursor is None else parse_cursor(cursor)
        return await self._calls.read(self._list(user_id, min(limit, MOST), start))

    async def purge(self, *, limit: int = 1000) -> int:
        """Take expired sessions out of the indexes; see `SessionStore.purge`.

        The server removes the sessions themselves, each at its time. Those that stand in no index
        (`list_all = false`, and no user) are not counted.
        """
        check_limit(limit)
        return await self._calls.run(self._index.purge(limit))

    async def close(self) -> None:
        """Wait for what is in flight and close the connections; see `SessionStore.close`."""
        await self._calls.close(self._link.close)

    # What the calls do

    async def _create(
        self, session_id: str, user_id: str | None, state: bytes, ttl: int, commit_id: bytes
    ) -> Head:
        incarnation = new_incarnation()
        user = (user_id or "").encode()
        answer = await self._link.run(
            CREATE,
            self._keys.session(session_id),
            *(incarnation, commit_id, user, ttl, state),
            replicas=self._replicas,
        )
        if (status := answer.value[:1]) == DAMAGED:
            raise damaged(session_id)
        said = parse_said(answer.value)
        line = said.line
        if status == EXISTS:
            if line.incarnation != incarnation:
                raise SessionExists(session_id)
            # The answer to our first try was lost, and somebody has written since.
            expires = line.created + ttl if ttl else 0
            line = Line(incarnation, 0, 0, 0, line.created, line.created, expires, ttl)
        elif status == DONE:
            user = said.user
        await self._index.note(line.member(session_id, user.decode() or None), line)
        return line.head(session_id, user, b"")

    async def _load(
        self,
        session_id: str,
        after: int | None,
        limit: int | None,
        known: Revision | None,
        most: int = SCRIPTED,
    ) -> Loaded | NotModified | None:
        key = self._keys.session(session_id)
        start: int | str = "" if after is None else min(max(after, 0), MOST)
        end = "" if limit is None else min(limit, MOST)
        value = (await self._link.run(LOAD, key, point(known), start, end, most)).value
        text, *rest = value if isinstance(value, list) else [value]
        if (status := text[:1]) == NONE:
            return None
        if status == DAMAGED:
            raise damaged(session_id)
        said = parse_said(text)
        line, head, now = said.line, said.head(session_id), moment(said.now)
        if status == SAME:
            return NotModified(head, now)
        state, length, found = rest
        if length != line.seq + FIXED:
            raise incomplete(session_id, line.seq, length - FIXED)
        first = max(line.base, 1) if after is None else max(after, 0) + 1
        if found is None:
            last = line.seq if limit is None else min(line.seq, first + limit - 1)
            found = await self._many_records(key, first, last, head.revision)
            if found is None:  # written meanwhile, or cut off: at a price, all at once
                return await self._load(session_id, after, limit, known, MOST)
        records = unpacked(session_id, first, found)
        more = bool(records) and first + len(records) - 1 < line.seq
        return Loaded(head, state, first, records, more, now)

    async def _many_records(
        self, key: bytes, first: int, last: int, revision: Revision
    ) -> Records | None:
        """Read records without a script, then the head; None unless that is at the revision."""
        answers = await self._link.once(
            key,
            [("LRANGE", key, first + FIXED - 1, last + FIXED - 1), ("LINDEX", key, 0)],
        )
        if answers is None:  # one that is repeated by itself would prove nothing
            return None
        found, again = answers
        same = again is not None and again[1:].startswith(point(revision))
        return found if same else None

    async def _write(
        self,
        session_id: str,
        arguments: Sequence[Any],
        base: int | None,
        meta: bytes | None,
        *,
        count: int = 0,
        erased: Sequence[int] = (),
    ) -> Head:
        key = self._keys.session(session_id)
        answer = await self._link.run(WRITE, key, *arguments, replicas=self._replicas)
        if (status := answer.value[:1]) == NONE:
            raise SessionNotFound(session_id)
        if status == DAMAGED:
            raise damaged(session_id)
        said = parse_said(answer.value)
        if meta is not None and status in {OK, OK_NOTE}:
            said = said._replace(meta=meta)  # it is not sent back
        head = said.head(session_id)
        if status == CONFLICT:
            raise self._conflict(session_id, head, answer)
        if status == BAD:
            check_seqs(erased, head.seq)
            check_base(base or 0, head.seq + count)
            raise ValueError(
                f"session {session_id!r}: the server refuses a seq or base as none that there is; "
                "nothing is written"
            )
        if status != OK:
            member = said.line.member(session_id, head.user_id)
            await self._index.note(member, said.line, again=True)
        return head

    async def _erase(
        self,
        session_id: str,
        arguments: Sequence[Any],
        base: int | None,
        meta: bytes | None,
        seqs: Sequence[int],
    ) -> Head:
        head = await self._write(session_id, arguments, base, meta, erased=seqs)
        if seqs:
            key = self._keys.session(session_id)
            await see_to_files(self._link, key, session_id, rewrite=self._rewrite)
        return head

    async def _delete(self, session_id: str, expected: Revision | None) -> bool:
        key = self._keys.session(session_id)
        removal = await remove(self._link, key, session_id, expected)
        if removal.said is not None:
            said = removal.said
            await self._index.forget(
                said.line.member(session_id, said.user.decode(errors="replace") or None)
            )
        return removal.gone

    async def _list(self, user_id: str | None, limit: int, start: bytes | None) -> Page:
        if user_id is None and Capability.LIST_ALL not in self.capabilities:
            raise StoreError(
                "this store keeps no index of all users' sessions (list_all = false in "
                "[session.redis]): list those of a user"
            )
        heads, last = await self._index.page(user_id, limit, start)
        return Page(heads, None if last is None else cursor(last))

    def _conflict(self, session_id: str, head: Head, answer: Answer) -> Exception:
        if not answer.lost:
            return SessionConflict(session_id, head)
        # Our own first try may be among what was written since: nobody knows from here.
        return StoreUnavailable(
            f"session {session_id!r}: the answer to a write was lost, and somebody has written "
            "since; whether it was kept is to be seen in the session: load it again"
        )
