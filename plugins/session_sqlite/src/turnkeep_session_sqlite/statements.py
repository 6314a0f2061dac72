"""The SQL of the calls, as constant text: `create`, `load`, `append`, `delete`, `fork`, `erase`.

SQLAlchemy would add 0.15 to 0.4 ms to an append of 1 ms and a second to the first one, so these
are written by hand; a test prepares each of them on a file made from `schema.py`.
Only SQL known to SQLite 3.24 is used: older enterprise systems bring 3.34.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

HEAD_COLUMNS: Final = (
    "k, id, user_id, incarnation, version, seq, base, meta,"
    " created_ms, updated_ms, expires_ms, ttl_ms, commit_id"
)
"""What a head is made of, in the order of `rows.Row`."""

HEAD: Final = f"SELECT {HEAD_COLUMNS} FROM session WHERE id = ?"  # noqa: S608  # a constant  # no values
"""(id). Expiry is judged by the caller, so that an expired row can be told from none."""

HEAD_AND_STATE: Final = (
    f"SELECT {HEAD_COLUMNS}, data FROM session LEFT JOIN state USING (k) WHERE id = ?"  # noqa: S608  # a constant
)
"""(id)."""

CREATE: Final = (
    "INSERT INTO session (id, user_id, incarnation, version, seq, base, meta,"
    " created_ms, updated_ms, expires_ms, ttl_ms, commit_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""(a row without its k)."""
CREATE_STATE: Final = "INSERT INTO state (k, data) VALUES (?, ?)"
"""(k, state)."""

_SET: Final = (
    "UPDATE session SET version = ?, seq = ?, base = ?, meta = ?, updated_ms = ?, commit_id = ?"
)
_SAME: Final = " WHERE k = ? AND version = ? AND incarnation = ? AND commit_id = ?"
UPDATE: Final = _SET + _SAME
"""(version, seq, base, meta, updated_ms, commit_id; then of the old row k, version,
incarnation, commit_id): sets no column of any index."""
UPDATE_EXPIRY: Final = _SET + ", expires_ms = ?, ttl_ms = ?" + _SAME
"""(version, seq, base, meta, updated_ms, commit_id, expires_ms, ttl_ms; then
as above). The commit id tells a row from one of a backup that was put in its place."""
UPDATE_STATE: Final = "UPDATE state SET data = ? WHERE k = ?"
"""(state, k)."""

RECORDS: Final = "SELECT data FROM event WHERE k = ? AND seq BETWEEN ? AND ? ORDER BY seq"
"""(k, first, last)."""

COPY_RECORDS: Final = (
    "INSERT INTO event (k, seq, data) SELECT ?, seq, data FROM event"
    " WHERE k = ? AND seq <= ? ORDER BY seq"
)
"""(new k, old k, last)."""
REPLACE_RECORD: Final = "UPDATE event SET data = ? WHERE k = ? AND seq = ?"
"""(data, k, seq)."""

DELETE: Final = (
    "DELETE FROM event WHERE k = ?",
    "DELETE FROM state WHERE k = ?",
    "DELETE FROM session WHERE k = ?",
)
"""(k) each: everything there is of a session."""

EXPIRED: Final = (
    "SELECT k, seq FROM session WHERE expires_ms IS NOT NULL AND expires_ms <= ?"
    " ORDER BY expires_ms LIMIT ?"
)
"""(now, limit)."""

INSERT_ROWS: Final = 50
"""Most rows in one INSERT; three parameters each, far below SQLite's limit of 999."""


@lru_cache(INSERT_ROWS)
def insert_events(rows: int) -> str:
    """Give the INSERT of so many events: (k, seq, data) for each.

    One statement for all rows: each one run gives up the interpreter's lock and must wait for it
    again, which costs more than the row where the loop's thread is busy.
    """
    return f"INSERT INTO event (k, seq, data) VALUES {', '.join(['(?, ?, ?)'] * rows)}"  # noqa: S608  # no values
