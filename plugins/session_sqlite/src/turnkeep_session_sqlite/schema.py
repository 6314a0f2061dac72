"""The tables, the single truth of the schema; `migrations.py` brings a file to it.

Layout and measurements: rowid tables, a short integer key for a session and UNIQUE(k, seq) write
the fewest bytes a turn (29 kB, against 39 kB with a text key and 43 kB WITHOUT ROWID).
Imports SQLAlchemy, which takes about a second of CPU: import this module only where it is needed.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BLOB,
    INTEGER,
    TEXT,
    Column,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
)

METADATA: Final = MetaData()

SESSION: Final = Table(
    "session",
    METADATA,
    Column("k", INTEGER, primary_key=True),
    # The default collation BINARY compares ids byte for byte.
    Column("id", TEXT, nullable=False, unique=True),
    Column("user_id", TEXT),
    Column("incarnation", BLOB, nullable=False),
    Column("version", INTEGER, nullable=False),
    Column("seq", INTEGER, nullable=False),
    Column("base", INTEGER, nullable=False),
    # The idempotency key of the last write; at version 0 that of the create.
    Column("commit_id", BLOB, nullable=False),
    # Times are milliseconds since 1970-01-01 UTC.
    Column("created_ms", INTEGER, nullable=False),
    Column("updated_ms", INTEGER, nullable=False),
    Column("expires_ms", INTEGER),
    Column("ttl_ms", INTEGER),
    Column("meta", BLOB, nullable=False),
)

# Apart, since an UPDATE writes its whole row again: with a state of 20 kB in `session` each append
# wrote 48 kB instead of 20.
STATE: Final = Table(
    "state",
    METADATA,
    Column("k", INTEGER, primary_key=True),
    Column("data", BLOB, nullable=False),
)

EVENT: Final = Table(
    "event",
    METADATA,
    Column("id", INTEGER, primary_key=True),
    Column("k", INTEGER, nullable=False),
    Column("seq", INTEGER, nullable=False),
    Column("data", BLOB, nullable=False),
    # The second fence: even a wrong head cannot store two records of one number.
    UniqueConstraint("k", "seq"),
)

# Listing. `created_ms` never changes, so an append touches neither index.
Index("session_by_user", SESSION.c.user_id, SESSION.c.created_ms.desc(), SESSION.c.id)
Index("session_by_age", SESSION.c.created_ms.desc(), SESSION.c.id)
# Purging. Only sessions with a ttl are in it.
Index(
    "session_by_expiry",
    SESSION.c.expires_ms,
    sqlite_where=SESSION.c.expires_ms.is_not(None),
)
