"""What calls do with rows: find and remove a session, change it, read its records unskipped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from turnkeep.errors import CorruptSession, SessionConflict, SessionExists, SessionNotFound
from turnkeep.store import Head, Keep, Revision, check_base
from turnkeep_session_sqlite import statements
from turnkeep_session_sqlite.rows import Row, expiry

Clock: TypeAlias = Callable[[], int]
"""Gives the time in milliseconds since 1970 UTC."""


Rows: TypeAlias = dict[str, Row]
"""Rows by session id, as the writer's thread last wrote them; emptied by a rollback."""

KNOWN_ROWS: Final = 1000


@dataclass(slots=True, kw_only=True)
class Change:
    """One append, ready for the writer's thread; `ttl` is in milliseconds."""

    session_id: str
    data: list[bytes]
    expected: Revision
    commit_id: bytes
    meta: bytes | None
    state: bytes | None
    base: int | None
    ttl: int | Keep | None

    def apply(self, clock: Clock, known: Rows, connection: sqlite3.Connection) -> Head:
        """Make the change in the caller's transaction, which must hold the write lock.

        `known` are the rows as this process last wrote them. One that is what the caller expects is
        not read again: the UPDATE itself tells, by version and incarnation, whether it still holds.
        A statement fewer is a tenth of an append's CPU.
        """
        now = clock()
        old = known.get(self.session_id)
        new = (
            None if old is None or not self._fits(old, now) else self._update(connection, old, now)
        )
        if old is None or new is None:
            known.pop(self.session_id, None)
            old = find(connection, self.session_id)
            if old is None or old.expired(now):
                raise SessionNotFound(self.session_id)
            if old.commit_id == self.commit_id:
                return old.head()  # done already: the answer to the first try was lost
            if old.revision() != self.expected:
                raise SessionConflict(self.session_id, old.head())
            new = self._update(connection, old, now)
            assert new is not None, "the row was read under the lock that this change holds"
        if self.state is not None:
            connection.execute(statements.UPDATE_STATE, (self.state, old.k))
        insert(connection, old.k, old.seq, self.data)
        if len(known) >= KNOWN_ROWS:
            known.clear()
        known[self.session_id] = new
        return new.head()

    def _fits(self, old: Row, now: int) -> bool:
        return (
            old.revision() == self.expected
            and old.commit_id != self.commit_id
            and not old.expired(now)
        )

    def _changed(self, old: Row, now: int) -> Row:
        ttl = old.ttl if isinstance(self.ttl, Keep) else self.ttl
        # By position: `_replace` with names takes 10 µs longer, a twentieth of an append's CPU.
        return Row(
            old.k,
            old.id,
            old.user_id,
            old.incarnation,
            old.version + 1,
            old.seq + len(self.data),
            old.base if self.base is None else self.base,
            old.meta if self.meta is None else self.meta,
            old.created,
            now,
            expiry(now, ttl),
            ttl,
            self.commit_id,
        )

    def _update(self, connection: sqlite3.Connection, old: Row, now: int) -> Row | None:
        """Write the head and give its row; None if the row is not the old one any more."""
        new = self._changed(old, now)
        check_base(new.base, new.seq)
        values = (new.version, new.seq, new.base, new.meta, now, self.commit_id)
        where = (old.k, old.version, old.incarnation, old.commit_id)
        if new.ttl is None and old.ttl is None:
            done = connection.execute(statements.UPDATE, (*values, *where))
        else:
            done = connection.execute(
                statements.UPDATE_EXPIRY, (*values, new.expires, new.ttl, *where)
            )
        return new if done.rowcount == 1 else None


def find(connection: sqlite3.Connection, session_id: str) -> Row | None:
    """Read a session's row, be it expired or not."""
    found = connection.execute(statements.HEAD, (session_id,)).fetchone()
    return None if found is None else Row._make(found)


def begun(
    connection: sqlite3.Connection, session_id: str, now: int, commit_id: bytes
) -> Row | None:
    """Give the session that this very call began before; None if it is to be begun.

    Raises SessionExists for another one of this id.
    """
    found = find(connection, session_id)
    if found is None or found.expired(now):
        return None
    if found.version == 0 and found.commit_id == commit_id:
        return found
    raise SessionExists(session_id)


def begin(connection: sqlite3.Connection, row: Row, state: bytes) -> Row:
    """Store the row of a new session (its `k` does not count), or find it begun by this call."""
    if (done := begun(connection, row.id, row.created, row.commit_id)) is not None:
        return done
    if (expired := find(connection, row.id)) is not None:
        remove(connection, expired.k)
    k = connection.execute(statements.CREATE, row[1:]).lastrowid
    assert k is not None
    connection.execute(statements.CREATE_STATE, (k, state))
    return row._replace(k=k)


def copy(connection: sqlite3.Connection, source: Row, target: Row) -> None:
    """Give a new session the records of another, as many as its row says it has."""
    values = (target.k, source.k, target.seq)
    if connection.execute(statements.COPY_RECORDS, values).rowcount != target.seq:
        seq = _first_fault(connection, source.k, 1, target.seq)
        raise CorruptSession(source.id, seq, "it is missing in the file")


def replace(connection: sqlite3.Connection, row: Row, data: Mapping[int, bytes]) -> None:
    """Overwrite records."""
    for seq, each in data.items():
        done = connection.execute(statements.REPLACE_RECORD, (each, row.k, seq))
        if done.rowcount != 1:
            raise CorruptSession(row.id, seq, "it is missing in the file")


def remove(connection: sqlite3.Connection, k: int) -> None:
    """Delete everything there is of a session."""
    for statement in statements.DELETE:
        connection.execute(statement, (k,))


def insert(connection: sqlite3.Connection, k: int, seq: int, data: Sequence[bytes]) -> None:
    """Store records behind number `seq` of session `k`."""
    for start in range(0, len(data), statements.INSERT_ROWS):
        values: list[object] = []
        for record in data[start : start + statements.INSERT_ROWS]:
            seq += 1
            values += k, seq, record
        connection.execute(statements.insert_events(len(values) // 3), values)


def read(
    connection: sqlite3.Connection, session_id: str, k: int, first: int, last: int
) -> list[bytes]:
    """Read the records from number `first` to `last`, which the session must have.

    Raises CorruptSession for the first that is missing or unreadable.
    """
    if last < first:
        return []
    try:
        found = connection.execute(statements.RECORDS, (k, first, last)).fetchall()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # the file cannot be reached: nothing is known of the records
        seq = _first_fault(connection, k, first, last)
        raise CorruptSession(session_id, seq, f"the file is damaged ({error})") from error
    records = [data for (data,) in found]
    # Numbers are unique and lie between first and last: as many as that are all of them.
    if len(records) != last - first + 1 or set(map(type, records)) != {bytes}:
        seq = _first_fault(connection, k, first, last)
        raise CorruptSession(session_id, seq, "it is missing in the file, or no bytes")
    return records


def _first_fault(connection: sqlite3.Connection, k: int, first: int, last: int) -> int:
    # One by one: Python's cursor is a row ahead of what it gives, so the row at which a walk fails
    # is not the damaged one; and only reading all of a record tells whether it can be read.
    for seq in range(first, last + 1):
        try:
            found = connection.execute(statements.RECORDS, (k, seq, seq)).fetchone()
        except sqlite3.DatabaseError:
            return seq
        if found is None or type(found[0]) is not bytes:
            return seq
    return first
