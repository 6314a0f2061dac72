"""The base of wrappers that keep other bytes than they are given: compressed, sealed, signed.

What a store keeps are records, a state and a meta for each session. A coded store encodes all three
on the way in and decodes them on the way out, in loads, lists and the heads of errors alike.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from turnkeep.errors import CorruptSession, SessionConflict
from turnkeep.store import (
    KEEP,
    Capability,
    Head,
    Hits,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    SessionStore,
    Ttl,
    check_id,
)
from turnkeep.stores.wrapped import BEHIND_ALL, Calls, StoreWrapper

T = TypeVar("T")
_logger = logging.getLogger("turnkeep.stores")

IN_THREAD: Final = 256 * 1024
"""Bytes from which a call's coding runs in a thread, so that it does not hold the loop."""
REMEMBERED: Final = 10_000
"""Sessions of which the last seq is known without asking."""


_LOST: Final = (
    "the server has lost appends that had returned, as a failover may do, and this one was sealed "
    "for a place that is another now; erase it, and go on from what is there"
)


class Place(NamedTuple):
    """Where bytes stand. A codec that binds them to it notices when they are moved."""

    session_id: str
    kind: Literal["record", "state", "meta"]
    seq: int = 0
    """Of a record; 0 for state and meta."""
    incarnation: bytes = b""
    """The life of the session that a record belongs to; empty for state and meta."""


class CodedStore(StoreWrapper, ABC):
    """A store wrapper that encodes records, state and meta.

    A subclass gives `encode` and `decode`. They may run in a thread, several at once. An empty meta
    is that of a session without notes, made by the store itself; it is not decoded.
    """

    bound: bool = False
    """Whether records are bound to their place. Then their seqs are known before they are appended,
    which costs a look at the head of a session that was not seen before; and no store can copy
    records into another session by itself, so that the capability `fork` is not passed on."""

    def __init__(self, inner: SessionStore) -> None:
        super().__init__(inner)
        self._calls = Calls(inner.name)
        self._last: OrderedDict[str, tuple[Revision, int]] = OrderedDict()
        """Session → a revision and the last seq at it, which never changes for a revision."""

    @abstractmethod
    def encode(self, place: Place, data: bytes) -> bytes:
        """Give what is kept for `data`."""

    @abstractmethod
    def decode(self, place: Place, data: bytes) -> bytes:
        """Give back what `encode` got. Raises ValueError, with the reason, for what it never gave.

        It becomes a CorruptSession that names session and record. No reason holds content.
        """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the store inside, without `fork` where records are bound to their session."""
        inner = self.inner.capabilities
        return inner - {Capability.FORK} if self.bound else inner

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
        async with self._calls.call():
            kept = await self._coded(
                len(state), lambda: self.encode(Place(session_id, "state"), bytes(state))
            )
            return self._shown(
                await self.inner.create(
                    session_id, user_id=user_id, state=kept, ttl=ttl, commit_id=commit_id
                )
            )

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`."""
        check_id(session_id)
        async with self._calls.call():
            found = await self.inner.load(session_id, after=after, limit=limit, known=known)
            if found is None:
                return None
            head = self._head(found.head)
            if isinstance(found, NotModified):
                return found._replace(head=head)
            loaded = found

            def work() -> Loaded:
                state = self._decoded(Place(session_id, "state"), loaded.state)
                life = head.revision.incarnation
                records = [
                    self._decoded(Place(session_id, "record", seq, life), record)
                    for seq, record in enumerate(loaded.records, loaded.first)
                ]
                return loaded._replace(head=head, state=state, records=records)

            return await self._coded(len(loaded.state) + sum(map(len, loaded.records)), work)

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
        given = [record._replace(data=bytes(record.data)) for record in records]
        async with self._calls.call():
            last, certain = 0, False
            if given and self.bound:
                last, certain = await self._last_seq(session_id, expected)
            sizes = sum(len(record.data) for record in given) + len(meta or b"") + len(state or b"")

            def work() -> tuple[list[Record], bytes | None, bytes | None]:
                life = expected.incarnation
                return (
                    [
                        self.kept(Place(session_id, "record", seq, life), record)
                        for seq, record in enumerate(given, last + 1)
                    ],
                    self._encoded(Place(session_id, "meta"), meta),
                    self._encoded(Place(session_id, "state"), state),
                )

            data, meta, state = await self._coded(sizes, work)
            try:
                head = await self.inner.append(
                    session_id,
                    data,
                    expected=expected,
                    commit_id=commit_id,
                    meta=meta,
                    state=state,
                    base=base,
                    ttl=ttl,
                )
            except SessionConflict as error:
                raise self._conflict(error) from None
            if certain and head.seq != last + len(given):
                raise CorruptSession(session_id, head.seq, _LOST)
            return self._shown(head)

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
        """Copy a session inside, its records as they are kept; see `ForkingStore.fork`."""
        check_id(new_id)
        async with self._calls.call():
            try:
                head = await super().fork(
                    session_id,
                    new_id,
                    upto=upto,
                    incarnation=incarnation,
                    user_id=user_id,
                    state=self.encode(Place(new_id, "state"), bytes(state)),
                    meta=self.encode(Place(new_id, "meta"), bytes(meta)) if meta else b"",
                    base=base,
                    ttl=ttl,
                    commit_id=commit_id,
                )
            except SessionConflict as error:
                raise self._conflict(error) from None
            return self._shown(head)

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
        """Replace records; see `ErasingStore.erase`."""
        check_id(session_id)
        life = expected.incarnation
        async with self._calls.call():
            try:
                head = await super().erase(
                    session_id,
                    {
                        seq: self.encode(Place(session_id, "record", seq, life), bytes(data))
                        # A seq that there is not is for the store inside to refuse.
                        if 0 < seq <= BEHIND_ALL
                        else b""
                        for seq, data in replacements.items()
                    },
                    expected=expected,
                    commit_id=commit_id,
                    meta=self._encoded(Place(session_id, "meta"), meta),
                    state=self._encoded(Place(session_id, "state"), state),
                    base=base,
                )
            except SessionConflict as error:
                raise self._conflict(error) from None
            return self._shown(head)

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        async with self._calls.call():
            try:
                return await self.inner.delete(session_id, expected=expected)
            except SessionConflict as error:
                raise self._conflict(error) from None

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`.

        A meta that cannot be decoded stays as it is kept, so that one session hides no other.
        """
        async with self._calls.call():
            page = await self.inner.list(user_id=user_id, limit=limit, cursor=cursor)
            return page._replace(heads=[self._shown(head) for head in page.heads])

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records by what the store inside was told of them; see `SearchingStore.search`."""
        async with self._calls.call():
            return await super().search(query, user_id=user_id, limit=limit, cursor=cursor)

    async def close(self) -> None:
        """Wait for the calls that run, then close the store inside."""
        await self._calls.ended()
        await self.inner.close()

    def kept(self, place: Place, record: Record) -> Record:
        """Give the record that is kept for one; its `text` and `usage` as they are."""
        return record._replace(data=self.encode(place, record.data))

    def _encoded(self, place: Place, data: bytes | None) -> bytes | None:
        return None if data is None else self.encode(place, bytes(data))

    def _decoded(self, place: Place, data: bytes) -> bytes:
        try:
            return self.decode(place, data)
        except ValueError as error:
            what = "" if place.kind == "record" else f"its {place.kind}: "
            raise CorruptSession(place.session_id, place.seq, f"{what}{error}") from error

    def _head(self, head: Head) -> Head:
        """Decode a head that came from inside. Raises CorruptSession."""
        self._last[head.session_id] = (head.revision, head.seq)
        self._last.move_to_end(head.session_id)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        if not head.meta:
            return head
        return head._replace(meta=self._decoded(Place(head.session_id, "meta"), head.meta))

    def _shown(self, head: Head) -> Head:
        """Decode a head; leave a meta as it is where it cannot be decoded: core refuses that one.

        The call was done, or is about another session as well: it is no time to fail.
        """
        try:
            return self._head(head)
        except CorruptSession as error:
            _logger.warning("%s", error)
            return head

    def _conflict(self, error: SessionConflict) -> SessionConflict:
        head = None if error.head is None else self._shown(error.head)
        return type(error)(error.session_id, head, str(error))

    async def _last_seq(self, session_id: str, expected: Revision) -> tuple[int, bool]:
        """Give the last seq at the revision that an append expects, and whether that is certain.

        Where the session is at another one, the append is refused inside or was done before, and
        any number will do. Raises SessionConflict for a revision that may still come.
        """
        seen = self._last.get(session_id)
        if seen is not None and seen[0] == expected:
            return seen[1], True
        found = await self.inner.load(session_id, after=BEHIND_ALL, limit=1, known=expected)
        if found is None:
            return 0, False
        now = found.head.revision
        if now.incarnation == expected.incarnation and now.version < expected.version:
            raise SessionConflict(session_id, self._shown(found.head))
        return found.head.seq, isinstance(found, NotModified)

    async def _coded(self, size: int, work: Callable[[], T]) -> T:
        """Run a piece of coding: here, or in a thread where it would hold the loop."""
        return work() if size < IN_THREAD else await asyncio.to_thread(work)
