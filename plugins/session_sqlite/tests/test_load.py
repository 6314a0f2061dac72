"""Loading: where it starts, pages, snapshots, and records that are missing."""

import asyncio
import os
import sqlite3
from datetime import timedelta

import pytest

from turnkeep.errors import CorruptSession
from turnkeep.store import Loaded, NotModified, Record, Revision
from turnkeep_session_sqlite.records import read as unpatched_read


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


def records(*texts):
    """Make records of these texts."""
    return [Record(text.encode()) for text in texts]


# Loading


async def test_nothing_is_found_as_none(opened):
    """`load` of an unknown id is None."""
    async with opened() as store:
        assert await store.load("none") is None
        assert await store.load("none", after=0, known=Revision(b"", 0)) is None


async def test_load_starts_at_the_base_or_behind_a_number(opened, begin):
    """after=None starts with the base's own record, 0 at the first, n at n + 1."""
    async with opened() as store:
        head = await begin(store, records=5)
        await store.append("s", [], expected=head.revision, commit_id=new_id(), base=4)
        for after, first, expected in (
            (None, 4, [b"4", b"5"]),
            (0, 1, [b"1", b"2", b"3", b"4", b"5"]),
            (3, 4, [b"4", b"5"]),
            (5, 6, []),
            (9, 10, []),
        ):
            found = await store.load("s", after=after)
            assert (found.first, list(found.records), found.more) == (first, expected, False)


async def test_a_limit_pages_without_gap_or_overlap(opened, begin):
    """Pages of two give five records in order; `more` is true until the last."""
    async with opened() as store:
        await begin(store, records=5)
        read, more = [], True
        while more:
            found = await store.load("s", after=len(read), limit=2)
            read += found.records
            more = found.more
        assert read == [b"1", b"2", b"3", b"4", b"5"]


async def test_a_known_revision_is_not_loaded_again(opened, begin, clock):
    """`known` equal to the revision answers NotModified with head and time; else what was asked."""
    async with opened() as store:
        head = await begin(store, records=1)
        clock.now += 5000
        same = await store.load("s", known=head.revision)
        assert isinstance(same, NotModified)
        assert same.head == head
        assert same.now - head.updated == timedelta(seconds=5)
        other = Revision(os.urandom(8), head.revision.version)
        assert isinstance(await store.load("s", known=other), Loaded)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event WHERE seq = 3",
        "UPDATE event SET data = 'text' WHERE seq = 3",
        "UPDATE event SET seq = 30 WHERE seq = 3",
    ],
)
async def test_a_missing_record_is_named_never_skipped(opened, begin, path, damage):
    """A record lost from the file raises CorruptSession with its number; others still load."""
    async with opened() as store:
        await begin(store, records=5)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(damage)
        other.close()
        for after in (None, 0, 2):
            with pytest.raises(CorruptSession) as caught:
                await store.load("s", after=after)
            assert (caught.value.session_id, caught.value.seq) == ("s", 3)
        assert (await store.load("s", after=3)).records == [b"4", b"5"]
        assert (await store.load("s", after=0, limit=2)).records == [b"1", b"2"]


async def test_a_missing_state_is_corrupt(opened, begin, path):
    """A session whose state row is gone is CorruptSession, not an empty state."""
    async with opened() as store:
        await begin(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DELETE FROM state")
        other.close()
        with pytest.raises(CorruptSession, match="state"):
            await store.load("s")


async def test_a_load_is_one_snapshot_while_a_writer_runs(opened, begin):
    """Head, state and records of every load belong together during 200 appends."""
    async with opened() as store:
        head = await begin(store, state=b"0")

        async def write():
            nonlocal head
            for number in range(1, 201):
                head = await store.append(
                    "s",
                    records("a", "b"),
                    expected=head.revision,
                    commit_id=new_id(),
                    state=b"%d" % number,
                )

        writing = asyncio.create_task(write())
        while not writing.done():
            found = await store.load("s")
            version = found.head.revision.version
            assert found.state == b"%d" % version
            assert len(found.records) == found.head.seq == 2 * version
        await writing


async def test_a_load_does_not_see_what_happens_meanwhile(opened, begin, monkeypatch):
    """A session deleted between a load's reading of head and records is still read whole."""
    loop = asyncio.get_running_loop()

    def read_late(connection, *which):
        asyncio.run_coroutine_threadsafe(store.delete("s"), loop).result(10)
        return unpatched_read(connection, *which)

    async with opened() as store:
        await begin(store, records=3)
        monkeypatch.setattr("turnkeep_session_sqlite.store.read", read_late)
        assert (await store.load("s")).records == [b"1", b"2", b"3"]
        assert await store.load("s") is None


async def test_two_loads_share_nothing(opened, begin):
    """Changing the list of one load changes no other."""
    async with opened() as store:
        await begin(store, records=2)
        first = await store.load("s")
        first.records.clear()
        assert (await store.load("s")).records == [b"1", b"2"]
