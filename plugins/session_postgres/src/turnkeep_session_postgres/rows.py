"""Between a row of `session` and the contract's types: heads, times, ttl."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from psycopg.pq.abc import PGresult

from turnkeep.store import Head, Revision, Ttl, check_ttl
from turnkeep_session_postgres.values import to_int

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Row(NamedTuple):
    """A row of `session` in the order of `statements.COLUMNS`; times and ttl in ms."""

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

    @property
    def revision(self) -> Revision:
        """The point in the session's life."""
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


def row_of(result: PGresult, number: int, column: int = 0) -> Row:
    """Read the columns of a head, which begin at `column` of a result's row."""
    get = result.get_value
    raw = [get(number, each) or b"" for each in range(column, column + len(Row._fields))]
    user = get(number, column + 1)
    expires = get(number, column + 9)
    ttl = get(number, column + 10)
    return Row(
        raw[0].decode(),
        None if user is None else user.decode(),
        raw[2],
        to_int(raw[3]),
        to_int(raw[4]),
        to_int(raw[5]),
        raw[6],
        to_int(raw[7]),
        to_int(raw[8]),
        None if expires is None else to_int(expires),
        None if ttl is None else to_int(ttl),
        raw[11],
    )


def first_row(result: PGresult) -> Row | None:
    """Read the head in the only row of a result, if there is one."""
    return row_of(result, 0) if result.ntuples else None


def moment(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time, exactly."""
    return _EPOCH + milliseconds * _MILLISECOND


def ttl_ms(ttl: Ttl) -> int | None:
    """Turn a ttl in seconds into milliseconds, at least one. Raises ContentError."""
    check_ttl(ttl)
    return None if ttl is None else math.ceil(ttl * 1000)
