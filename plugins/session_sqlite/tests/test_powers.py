"""Forking and erasing in a file; what both mean is told by the conformance suite."""

import sqlite3
from contextlib import closing

import pytest

from turnkeep.errors import CorruptSession
from turnkeep.store import Record, new_commit_id

SECRET = b'{"v":1,"secret":"correct horse battery staple"}'


async def begin(store, *records, name="s"):
    head = await store.create(name, commit_id=new_commit_id())
    return await store.append(
        name,
        [Record(data) for data in records],
        expected=head.revision,
        commit_id=new_commit_id(),
    )


def files(path):
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


@pytest.mark.parametrize("size", [1, 300])
async def test_nothing_of_an_erased_record_is_left_in_the_files(opened, path, size):
    """Not in the database, not in its log, not in the pages that a long record gave back."""
    secret = SECRET * size
    async with opened() as store:
        head = await begin(store, b"{}", secret, b"{}")
        assert SECRET in files(path)
        await store.erase("s", {2: b"{}"}, expected=head.revision, commit_id=new_commit_id())
        assert b"battery staple" not in files(path)
        loaded = await store.load("s", after=0)
        assert list(loaded.records) == [b"{}"] * 3


async def test_a_reader_in_the_way_is_told(opened, path, caplog):
    """The log cannot be emptied while somebody reads an older state of the file."""
    async with opened(busy_timeout=0.1) as store:
        head = await begin(store, SECRET)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            await store.erase("s", {1: b"{}"}, expected=head.revision, commit_id=new_commit_id())
        assert "stays in the write-ahead log until the next" in caplog.text


async def test_a_damaged_session_is_not_forked(opened, path):
    """A record that is missing is told, and no half copy is left."""
    async with opened() as store:
        head = await begin(store, b"1", b"2", b"3")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DELETE FROM event WHERE seq = 2")
        with pytest.raises(CorruptSession, match="record 2"):
            await store.fork(
                "s",
                "t",
                upto=3,
                incarnation=head.revision.incarnation,
                commit_id=new_commit_id(),
            )
        assert await store.load("t") is None


async def test_what_was_moved_or_replaced_before_an_erasure_is_gone_too(opened, path):
    """Also where the build of SQLite does not overwrite by itself what it removes."""
    async with opened() as store:
        [(secure,)] = store._database.writer._connection.execute("PRAGMA secure_delete").fetchall()
        assert secure == 1
        head = await begin(store, *[SECRET + b"%d" % number for number in range(400)])
        state = b'{"k":"%s"}' % SECRET.hex().encode()
        for each in (state, b"{}"):
            head = await store.append(
                "s", [], expected=head.revision, commit_id=new_commit_id(), state=each
            )
        stones = dict.fromkeys(range(1, 401), b"{}")
        await store.erase("s", stones, expected=head.revision, commit_id=new_commit_id())
        assert b"battery staple" not in files(path)
        assert SECRET.hex().encode() not in files(path)
