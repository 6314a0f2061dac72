"""The tables, the single truth of the schema; `migrations.py` brings a database to it.

Every key begins with the session's id, so that a database can be spread by it; there are no
foreign keys, sequences or triggers. Why it is laid out so: docs/design/postgres.md.
Imports SQLAlchemy, which takes about a second of CPU: import this module only where it is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import TEXT, BigInteger, Column, Index, MetaData, Table
from sqlalchemy.dialects.postgresql import BYTEA, TSVECTOR

FILLFACTOR: Final = 70
"""Percent of a page of heads that are filled at first: the rest is for their next versions, so
that an append stays on its page and touches no index (a HOT update)."""

# Ids are compared byte for byte, whatever the collation of the database is.
_ID: Final = TEXT(collation="C")


class Tables(NamedTuple):
    """The tables in one schema."""

    session: Table
    state: Table
    record: Table
    record_text: Table
    schema_version: Table


@cache
def tables(schema: str) -> Tables:
    """Describe the tables in a schema."""
    metadata = MetaData(schema=schema)
    session = Table(
        "session",
        metadata,
        Column("id", _ID, primary_key=True),
        Column("user_id", _ID),
        Column("incarnation", BYTEA, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("base", BigInteger, nullable=False),
        # The idempotency key of the last write; at version 0 that of the create.
        Column("commit_id", BYTEA, nullable=False),
        # Times are milliseconds since 1970-01-01 UTC, by the server's clock.
        Column("created_ms", BigInteger, nullable=False),
        Column("updated_ms", BigInteger, nullable=False),
        Column("expires_ms", BigInteger),
        Column("ttl_ms", BigInteger),
        Column("meta", BYTEA, nullable=False),
    )
    # Listing. `created_ms` never changes, so an append changes neither index.
    Index("session_by_user", session.c.user_id, session.c.created_ms.desc(), session.c.id)
    Index("session_by_age", session.c.created_ms.desc(), session.c.id)
    # Purging. Only sessions with a ttl are in it.
    Index(
        "session_by_expiry",
        session.c.expires_ms,
        postgresql_where=session.c.expires_ms.is_not(None),
    )
    # Apart, since each new version of a head is a whole row: with states of 1.5 kB in it, appends
    # and listings touch eight times the pages.
    state = Table(
        "state",
        metadata,
        Column("session_id", _ID, primary_key=True),
        Column("data", BYTEA, nullable=False),
    )
    record = Table(
        "record",
        metadata,
        # The second fence: even a wrong head cannot store two records of one number.
        Column("session_id", _ID, primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("data", BYTEA, nullable=False),
    )
    record_text = Table(
        "record_text",
        metadata,
        Column("session_id", _ID, primary_key=True),
        # A text that was left behind is not that of a later session of the same id.
        Column("incarnation", BYTEA, primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("body", TEXT, nullable=False),
        Column("words", TSVECTOR, nullable=False),
    )
    Index("record_text_by_words", record_text.c.words, postgresql_using="gin")
    schema_version = Table(
        "schema_version",
        metadata,
        # "sessions", and "search" where texts are kept.
        Column("component", TEXT, primary_key=True),
        Column("version", BigInteger, nullable=False),
    )
    return Tables(session, state, record, record_text, schema_version)
