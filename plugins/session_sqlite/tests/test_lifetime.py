"""Expiring and purging to the millisecond, by a clock that the test moves."""

import os
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from turnkeep.errors import SessionNotFound
from turnkeep.store import Record


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


def records(*texts):
    """Make records of these texts."""
    return [Record(text.encode()) for text in texts]


def count(path, table):
    """How many rows the file has in a table."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        connection.close()


# Expiring


async def test_an_expired_session_is_found_by_nothing(opened, begin, clock):
    """At its expiry, before any purge: no load, append, delete or list finds it."""
    async with opened() as store:
        head = await begin(store, records=2, ttl=10)
        assert (head.ttl, head.expires) == (10, head.updated + timedelta(seconds=10))
        clock.now += 9_999
        assert await store.load("s") is not None
        clock.now += 1
        assert await store.load("s", known=head.revision) is None
        assert (await store.list()).heads == []
        assert not await store.delete("s", expected=head.revision)
        with pytest.raises(SessionNotFound):
            await store.append("s", [], expected=head.revision, commit_id=new_id())


async def test_an_expired_id_can_be_used_anew(opened, begin, clock, path):
    """`create` replaces what expired: another incarnation, and no record of the old life."""
    async with opened() as store:
        old = await begin(store, records=3, ttl=10)
        clock.now += 10_000
        new = await begin(store)
        assert new.revision.incarnation != old.revision.incarnation
        assert (await store.load("s", after=0)).records == []
    assert count(path, "event") == 0


async def test_a_purge_is_bounded_by_records(opened, begin, clock, monkeypatch):
    """Sessions with many records are removed in several transactions, all of them in the end."""
    monkeypatch.setattr("turnkeep_session_sqlite.store.PURGE_RECORDS", 5)
    async with opened() as store:
        for number in range(4):
            await begin(store, f"gone{number}", records=[2, 3, 1, 9][number], ttl=1)
        clock.now += 1000
        assert await store.purge() == 4


async def test_a_clock_set_back_changes_no_order(opened, begin, clock):
    """Records keep their numbers; `updated` follows the clock, `created` stays."""
    async with opened() as store:
        head = await begin(store, records=1)
        clock.now -= 3_600_000
        head = await store.append("s", records("2"), expected=head.revision, commit_id=new_id())
        assert head.created - head.updated == timedelta(hours=1)
        assert (await store.load("s")).records == [b"1", b"2"]


async def test_times_are_aware_utc_in_milliseconds(opened, begin, clock):
    """created, updated, expires and now are aware UTC times, exact to the millisecond."""
    clock.now = 1_700_000_000_123
    async with opened() as store:
        head = await begin(store, ttl=1)
        now = (await store.load("s")).now
        expected = datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
        assert head.created == head.updated == now == expected
        for time in (head.created, head.updated, head.expires, now):
            assert time.tzinfo is UTC
