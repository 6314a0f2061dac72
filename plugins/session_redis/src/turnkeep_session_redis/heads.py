"""Between what a session's list holds and the contract's types."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from turnkeep.errors import CorruptSession
from turnkeep.store import KEEP, Head, Keep, Revision, Ttl, check_ttl
from turnkeep_session_redis.keys import Member
from turnkeep_session_redis.scripts import HEAD_FORM, HEAD_SIZE, RENOTE_LASTING, RENOTE_LEAST

FORM: Final = b"="
"""The first byte of each stored record: its bytes as they are. Others are for later forms."""

MOST: Final = 2**50
"""A larger number is as good as none, and Lua's numbers would not hold it."""

Records: TypeAlias = list[bytes]

_HEAD: Final = struct.Struct(">x8s7Q8x")
_SAID: Final = struct.Struct(">2x8s8QQH")
_NUMBER: Final = struct.Struct(">Q")
_CHANGES: Final = struct.Struct(">????QQI")
"""What a write changes beside records: whether meta, state, base and ttl, the latter two, and how
many records it overwrites."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Line(NamedTuple):
    """The head as stored; times and ttl in ms, 0 for none."""

    incarnation: bytes
    version: int
    seq: int
    base: int
    created: int
    updated: int
    expires: int
    ttl: int

    def head(self, session_id: str, user: bytes, meta: bytes) -> Head:
        """Give what the contract calls the head. Raises CorruptSession."""
        try:
            return Head(
                session_id,
                user.decode() or None,
                Revision(self.incarnation, self.version),
                self.seq,
                self.base,
                meta,
                moment(self.created),
                moment(self.updated),
                moment(self.expires) if self.expires else None,
                self.ttl / 1000 if self.ttl else None,
            )
        except (UnicodeDecodeError, OverflowError):  # of bytes that nobody has written so
            raise damaged(session_id) from None

    def member(self, session_id: str, user_id: str | None) -> Member:
        """Give how this life of the session stands in the indexes."""
        return Member(self.created, session_id, user_id, self.incarnation)

    @property
    def index_until(self) -> int:
        """How long an index that holds this session must live at least; 0: for ever."""
        return self.expires + 2 * max(self.ttl // 4, RENOTE_LEAST) if self.ttl else 0

    @property
    def due(self) -> int:
        """When to look whether it is still there: at its expiry, or now and then."""
        return self.expires or self.updated + RENOTE_LASTING


class Said(NamedTuple):
    """What a script says of a session beside its status."""

    line: Line
    user: bytes
    meta: bytes
    now: int

    def head(self, session_id: str) -> Head:
        """Give what the contract calls the head."""
        return self.line.head(session_id, self.user, self.meta)


def parse_said(text: bytes) -> Said:
    """Read what a script says of a head that it has found to be one."""
    *line, _noted, now, size = _SAID.unpack_from(text)
    meta = _SAID.size + size
    return Said(Line(*line), text[_SAID.size : meta], text[meta:], now)


def parse_line(head: bytes, session_id: str) -> Line:
    """Read a stored head. Raises CorruptSession."""
    if len(head) < HEAD_SIZE or head[:1] != HEAD_FORM:
        raise CorruptSession(session_id, 0, "its head is none of this version of turnkeep")
    return Line(*_HEAD.unpack_from(head))


def point(revision: Revision | None) -> bytes:
    """Write a revision as it stands in a head; nothing of none is equal to any."""
    if revision is None:
        return b""
    incarnation, version = revision
    return incarnation + _NUMBER.pack(version if 0 <= version < MOST else MOST)


def changes(
    expected: Revision,
    commit_id: bytes,
    meta: bytes | None,
    state: bytes | None,
    base: int | None,
    *,
    ttl: Ttl | Keep = KEEP,
    replaced: int = 0,
) -> list[Any]:
    """Give the arguments of a write that stand before its records."""
    milliseconds = None if isinstance(ttl, Keep) else ttl_ms(ttl)
    given = _CHANGES.pack(
        *(meta is not None, state is not None, base is not None, milliseconds is not None),
        *(_within(base or 0), milliseconds or 0, replaced),
    )
    arguments: list[Any] = [point(expected), commit_id, given]
    if meta is not None:
        arguments.append(meta)
    if state is not None:
        arguments.append(state)
    return arguments


def damaged(session_id: str) -> CorruptSession:
    """Give the error for a key that holds something else."""
    return CorruptSession(
        session_id,
        0,
        "what its key holds is no session of this version of turnkeep; delete it, or restore it",
    )


def incomplete(session_id: str, seq: int, records: int) -> CorruptSession:
    """Give the error for a list that has not as many records as its head says."""
    return CorruptSession(
        session_id,
        min(records, seq) + 1 if records >= 0 else 0,
        f"the session has {seq} records, and its list {records}",
    )


def _within(base: int) -> int:
    """Give a base, or for one that is none a number that is none either."""
    return base if 0 <= base <= MOST else MOST


def unpacked(session_id: str, first: int, found: Records) -> Records:
    """Take the form from records, in place: a copy beside them takes longer than all of this."""
    for at, each in enumerate(found):
        if not each.startswith(FORM):
            raise CorruptSession(
                session_id, first + at, "its bytes are none that this version has written"
            )
        found[at] = each[1:]
    return found


def moment(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time, exactly."""
    return _EPOCH + milliseconds * _MILLISECOND


def ttl_ms(ttl: Ttl) -> int:
    """Turn a ttl in seconds into milliseconds, at least one; 0 for none. Raises ContentError."""
    check_ttl(ttl)
    return 0 if ttl is None else math.ceil(ttl * 1000)
