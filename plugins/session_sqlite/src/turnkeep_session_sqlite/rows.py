"""Between the columns of a row and the contract's types: heads, times, ttl."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from turnkeep.store import Head, Revision, Ttl, check_ttl

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Row(NamedTuple):
    """A row of `session` in the order of `statements.HEAD_COLUMNS`; times and ttl in ms."""

    k: int
    id: str
    user_id: str | None
    incarnation: bytes
    version: int
    seq: int
    base: int
    meta: bytes
    created: int
    updated: int
    expires: int | None
    ttl: int | None
    commit_id: bytes

    def expired(self, now: int) -> bool:
        """Tell whether the session is gone at this time."""
        return self.expires is not None and self.expires <= now

    def revision(self) -> Revision:
        """Give the point in the session's life."""
        return Revision(self.incarnation, self.version)

    def head(self) -> Head:
        """Give what the contract calls the head."""
        return Head(
            self.id,
            self.user_id,
            Revision(self.incarnation, self.version),
            self.seq,
            self.base,
            self.meta,
            moment(self.created),
            moment(self.updated),
            None if self.expires is None else moment(self.expires),
            None if self.ttl is None else self.ttl / 1000,
        )


def moment(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time, exactly."""
    return _EPOCH + milliseconds * _MILLISECOND


def ttl_ms(ttl: Ttl) -> int | None:
    """Turn a ttl in seconds into milliseconds, at least one. Raises ContentError."""
    check_ttl(ttl)
    return None if ttl is None else math.ceil(ttl * 1000)


def expiry(now: int, ttl: int | None) -> int | None:
    """Give the time at which a session written now expires."""
    return None if ttl is None else now + ttl
