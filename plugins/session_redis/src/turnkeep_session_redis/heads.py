"""Between what a session's list holds and the contract's types."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from turnkeep.errors import CorruptSession
from turnkeep.store import Head, Revision, Ttl, check_ttl
from turnkeep_session_redis.scripts import RENOTE_LASTING, RENOTE_LEAST

FORM: Final = b"="
"""The first byte of each stored record: its bytes as they are. Others are for later forms."""

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
        """Give what the contract calls the head."""
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

    @property
    def index_until(self) -> int:
        """How long an index that holds this session must live at least; 0: for ever."""
        return self.expires + 2 * max(self.ttl // 4, RENOTE_LEAST) if self.ttl else 0

    @property
    def due(self) -> int:
        """When to look whether it is still there: at its expiry, or now and then."""
        return self.expires or self.updated + RENOTE_LASTING


def parse_line(text: bytes, session_id: str) -> Line:
    """Read a stored head. Raises CorruptSession."""
    parts = text.split(b" ")
    try:
        form, incarnation, version, seq, base, created, updated, expires, ttl, _, _ = parts
        if form == b"1":
            return Line(
                bytes.fromhex(incarnation.decode()),
                int(version),
                int(seq),
                int(base),
                int(created),
                int(updated),
                int(expires),
                int(ttl),
            )
    except ValueError:
        pass
    raise CorruptSession(session_id, 0, "its head is none of this version of turnkeep")


def moment(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time, exactly."""
    return _EPOCH + milliseconds * _MILLISECOND


def ttl_ms(ttl: Ttl) -> int:
    """Turn a ttl in seconds into milliseconds, at least one; 0 for none. Raises ContentError."""
    check_ttl(ttl)
    return 0 if ttl is None else math.ceil(ttl * 1000)
