"""Loading: one snapshot of the file, and what is missing in it."""

import asyncio
import os
import sqlite3

import pytest

from turnkeep.errors import CorruptSession
from turnkeep.store import Record
from turnkeep_session_sqlite.records import read as unpatched_read


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


def records(*texts):
    """Make records of these texts."""
    return [Record(text.encode()) for text in texts]


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
