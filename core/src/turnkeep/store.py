"""The store contract: an append-only log of bytes with a revision, behind a few sharp primitives.

`SessionStore` is what an author of a backend implements; codec and policy live above it, once.
What every store shows, numbered, is in `docs/design/store-contract.md`. In short: an append is all
or nothing and fenced by `expected`; a retry with the same `commit_id` writes nothing twice; order
is the seq, never a clock; an expired session is found by nothing.

All methods are coroutines, and a store is used only on the event loop that opened it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from turnkeep.errors import ContentError

Durability: TypeAlias = Literal["power", "process", "none"]
"""What an append that has returned survives.

"power": a loss of power; it has been synced to the disk, new files with their folder, or a server
has promised that. "process": the kill of this process, as what the operating system or a server
holds. "none": neither; it lives in this process.
"""

MAX_ID_BYTES: Final = 512
MAX_TTL: Final = 100 * 366 * 86400.0


class Keep:
    """The type of `KEEP`."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep()
"""Leaves a session's ttl as it is."""

Ttl: TypeAlias = float | None
"""Seconds without an append after which a session expires; None: never."""


class Capability(StrEnum):
    """Powers beyond the contract that a store may declare."""

    FORK = "fork"
    ERASE = "erase"
    SEARCH = "search"
    STATS = "stats"
    LIST_ALL = "list_all"


class Revision(NamedTuple):
    """A point in a session's life: its random incarnation, and a counter of appends from 0."""

    incarnation: bytes
    version: int


class Record(NamedTuple):
    """One event to append. `text` and `usage` are only for stores with `search` and `stats`."""

    data: bytes
    text: str | None = None
    usage: Mapping[str, int] | None = None


class Head(NamedTuple):
    """What a store knows of a session without its events. Times are aware UTC, the store's clock.

    `seq` is that of the last event (0: none); `base` that of the newest valid checkpoint (0: none);
    `meta` is core's own JSON (open turn, title …); `ttl` is in seconds. A store may round `expires`
    to its clock's ticks, upward.
    """

    session_id: str
    user_id: str | None
    revision: Revision
    seq: int
    base: int
    meta: bytes
    created: datetime
    updated: datetime
    expires: datetime | None
    ttl: Ttl


class Loaded(NamedTuple):
    """A snapshot of a session.

    `records` are contiguous and begin with seq `first`; `more` tells that some after them were cut
    off by the limit; `now` is the store's clock.
    """

    head: Head
    state: bytes
    first: int
    records: Sequence[bytes]
    more: bool
    now: datetime


class NotModified(NamedTuple):
    """The session is still at the revision the caller knows."""

    head: Head
    now: datetime


class Page(NamedTuple):
    """Some heads, and the cursor that continues after them (None: the end)."""

    heads: Sequence[Head]
    cursor: str | None


class SessionStore(Protocol):
    """A place where sessions are kept."""

    @property
    def name(self) -> str:
        """The store's name in TOML."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Powers beyond the contract."""
        ...

    @property
    def durability(self) -> Durability:
        """What an append that has returned survives."""
        ...

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session at version 0 with an incarnation of its own.

        A repeated call with the same `commit_id` answers with the head it made, as long as nothing
        has been appended. Raises SessionExists.
        """
        ...

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read head, state and records in one snapshot; None if there is no such session.

        `after=None` starts at the base (the live context; at 1 where there is none), 0 or less at
        the beginning, n behind seq n; behind the end there are no records, and `first` is n + 1.
        Raises CorruptSession for a record that is missing or damaged, with seq 0 where it is the
        head or the state.
        """
        ...

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
        """Add records and change what is given (None: unchanged), all or nothing.

        A repeated call with the `commit_id` of the session's newest write answers with the head
        that it left, and writes nothing; an older one need not be remembered. Raises
        SessionNotFound, SessionConflict; StoreUnavailable where the outcome is unknown. A
        cancelled append has settled when CancelledError leaves it: all or nothing, also where it
        is cancelled twice.
        """
        ...

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session whole; False if there was none. Raises SessionConflict."""
        ...

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions, newest created first, then by id.

        `user_id=None` lists those of all users; a store without the capability `list_all` raises
        StoreError then. A cursor is for the same question; raises ValueError for what is none.
        """
        ...

    async def purge(self, *, limit: int = 1000) -> int:
        """Physically remove up to `limit` expired sessions; returns how many."""
        ...

    async def close(self) -> None:
        """Wait for appends in flight and let go of everything; closing twice is fine."""
        ...


class ForkingStore(SessionStore, Protocol):
    """A store with the capability `fork`: it copies records itself, without sending them around.

    For others core does the same by loading and appending.
    """

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
        """Begin `new_id` at version 0 with the records 1 to `upto` of `session_id`, all or nothing.

        Everything else of the new session is given by the caller; the source is not changed. A
        repeated call with the same `commit_id` answers with the head it made. Raises
        SessionNotFound for the source, SessionConflict if it has another incarnation or fewer
        records, SessionExists for the target.
        """
        ...


class ErasingStore(SessionStore, Protocol):
    """A store with the capability `erase`: the only way in which a stored record ever changes."""

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
        """Put other bytes in the place of records, by seq, so that nothing is left of the old ones.

        It is a write like `append`: atomic, one version more, fenced by `expected`, done once for
        one `commit_id`; the ttl slides. Raises SessionNotFound, SessionConflict, and ValueError for
        a seq that the session does not have.
        """
        ...


class Hit(NamedTuple):
    """A record that a search found, and the part of its text in which the words are."""

    session_id: str
    user_id: str | None
    seq: int
    excerpt: str


class Hits(NamedTuple):
    """Some hits, and the cursor that continues after them (None: the end)."""

    hits: Sequence[Hit]
    cursor: str | None


class SearchingStore(SessionStore, Protocol):
    """A store with the capability `search`: core gives it the text of each record that has one."""

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records by their texts: of the newest created session first, the last one first.

        What a query may be beside words is the store's to say; one that cannot be understood finds
        nothing. `user_id=None` searches those of all users. An expired session is not found, nor
        what was erased. Raises ValueError for a bad limit or cursor.
        """
        ...


def check_id(value: str, what: str = "session id") -> str:
    """Return a session or user id if it is valid. Raises ContentError, a ValueError, otherwise.

    Valid is any Unicode string of 1 to 512 bytes without NUL or lone surrogates.
    """
    if not isinstance(value, str):
        raise ContentError(f"a {what} is a string, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ContentError(f"a {what} may not hold half of a surrogate pair") from None
    if not 1 <= size <= MAX_ID_BYTES:
        raise ContentError(f"a {what} has 1 to {MAX_ID_BYTES} bytes as UTF-8, this one {size}")
    if "\0" in value:
        raise ContentError(f"a {what} may not hold a NUL character")
    return value


def scoped_id(app: str, user: str, session_id: str) -> str:
    """Make one global session id of an application, a user and the user's own name for it.

    Different triples never give the same id: `/` and `%` in them are written as `%2F` and `%25`.
    Raises ContentError where the result would be longer than 512 bytes.
    """
    parts = (("application", app), ("user id", user), ("session id", session_id))
    made = "/".join(
        check_id(text, what).replace("%", "%25").replace("/", "%2F") for what, text in parts
    )
    return check_id(made, "scoped session id")


def check_ttl(ttl: Ttl) -> Ttl:
    """Return a ttl if it is None or a number of seconds above 0, at most a century."""
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MAX_TTL:
        raise ContentError(f"a ttl is a number of seconds above 0, at most {MAX_TTL:.0f}: {ttl!r}")
    return ttl


def check_limit(limit: int | None) -> None:
    """Refuse a limit that is no positive number."""
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ValueError(f"limit must be at least 1, not {limit!r}")


def check_base(base: int, last: int) -> None:
    """Refuse a base that is no record from 1 to `last`, nor 0 for none."""
    if not 0 <= base <= last:
        raise ValueError(f"base {base} is no record of 1 to {last}, nor 0 for none")


def check_seqs(seqs: Iterable[int], last: int) -> None:
    """Refuse seqs of which one is no record from 1 to `last`."""
    for seq in seqs:
        if not 1 <= seq <= last:
            raise ValueError(f"there is no record {seq!r} to erase: they go from 1 to {last}")


def new_incarnation() -> bytes:
    """Make the random part of a new session's revision."""
    return os.urandom(8)


def new_commit_id() -> bytes:
    """Make the idempotency key of one append or create."""
    return os.urandom(16)
