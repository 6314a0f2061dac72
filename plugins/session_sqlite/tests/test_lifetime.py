"""Expiring, purging and deleting, and the clock behind it."""

import os
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from turnkeep.errors import SessionConflict, SessionNotFound
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


async def test_a_ttl_slides_stays_goes_and_changes(opened, begin, clock):
    """An append moves the expiry on; ttl=None removes it, a number sets it."""
    async with opened() as store:
        head = await begin(store, ttl=10)

        async def append(**more):
            return await store.append("s", [], expected=head.revision, commit_id=new_id(), **more)

        clock.now += 8000
        head = await append()
        assert (head.ttl, head.expires - head.updated) == (10, timedelta(seconds=10))
        clock.now += 8000
        head = await append(ttl=2.5)
        assert (head.ttl, head.expires - head.updated) == (2.5, timedelta(seconds=2.5))
        head = await append(ttl=None)
        assert (head.ttl, head.expires) == (None, None)
        clock.now += 10**9
        head = await append()
        assert (await store.load("s")).head == head
        head = await append(ttl=1)
        assert head.expires - head.updated == timedelta(seconds=1)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
async def test_a_ttl_that_is_no_duration_is_refused(opened, begin, ttl):
    """Zero, negative, not finite or longer than a century: ValueError."""
    async with opened() as store:
        with pytest.raises(ValueError, match="ttl"):
            await store.create("s", ttl=ttl, commit_id=new_id())
        head = await begin(store)
        with pytest.raises(ValueError, match="ttl"):
            await store.append("s", [], expected=head.revision, commit_id=new_id(), ttl=ttl)


async def test_purge_removes_what_expired_up_to_its_limit(opened, begin, clock, path):
    """Five of eight expired, then three; the live one keeps its rows, the others have none."""
    async with opened() as store:
        await begin(store, "live", records=2)
        for number in range(8):
            await begin(store, f"gone{number}", records=2, ttl=1)
        clock.now += 1000
        assert [await store.purge(limit=5), await store.purge(), await store.purge()] == [5, 3, 0]
        assert (await store.load("live")).records == [b"1", b"2"]
    assert [count(path, table) for table in ("session", "state", "event")] == [1, 1, 2]


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


# Deleting


async def test_delete_removes_everything(opened, begin, path):
    """After delete no table has a row of the session; a second one answers False."""
    async with opened() as store:
        await begin(store, records=3)
        assert await store.delete("s")
        assert not await store.delete("s")
        assert await store.load("s") is None
    assert [count(path, table) for table in ("session", "state", "event")] == [0, 0, 0]


async def test_a_fenced_delete_spares_what_changed(opened, begin):
    """`delete` with another revision raises SessionConflict and removes nothing."""
    async with opened() as store:
        first = await begin(store)
        head = await store.append("s", [], expected=first.revision, commit_id=new_id())
        with pytest.raises(SessionConflict) as caught:
            await store.delete("s", expected=first.revision)
        assert caught.value.head == head
        assert await store.delete("s", expected=head.revision)
