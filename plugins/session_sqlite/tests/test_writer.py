"""The writer thread: groups, faults within a group, cancellation, locks, and lost files."""

import asyncio
import gc
import os
import sqlite3
import threading

import pytest

from turnkeep.errors import SessionConflict, StoreError, StoreUnavailable
from turnkeep.store import Record, Revision
from turnkeep_session_sqlite import database, records, watch, writer
from turnkeep_session_sqlite.store import SqliteStore


def append(store, head, *texts, **more):
    """Append texts behind a head."""
    return store.append(
        head.session_id,
        [Record(text.encode()) for text in texts],
        expected=head.revision,
        commit_id=os.urandom(16),
        **more,
    )


class Hold:
    """Keeps the writer thread busy with a job until it is let go."""

    def __init__(self, store):
        self.running = threading.Event()
        self.free = threading.Event()
        self.task = asyncio.create_task(store._write(self._work))

    def _work(self, connection):
        self.running.set()
        self.free.wait(10)

    async def __aenter__(self):
        while not self.running.is_set():
            await asyncio.sleep(0.001)

    async def __aexit__(self, *exc):
        self.free.set()
        await self.task


@pytest.fixture
def commits(monkeypatch):
    """Sizes of the transactions that the writer made."""
    sizes = []
    transact = writer.Writer._transact

    def counting(self, connection, batch):
        sizes.append(len(batch))
        transact(self, connection, batch)

    monkeypatch.setattr(writer.Writer, "_transact", counting)
    return sizes


async def test_what_waits_shares_one_commit(opened, begin, commits):
    """50 appends that wait for the writer together become one transaction; all succeed."""
    async with opened() as store:
        heads = [await begin(store, f"s{number}") for number in range(50)]
        del commits[:]
        async with Hold(store):
            waiting = [asyncio.create_task(append(store, head, "a")) for head in heads]
            await asyncio.sleep(0)
        for done in await asyncio.gather(*waiting):
            assert done.seq == 1
        assert commits == [1, 50]


async def test_a_conflict_in_a_group_fails_alone(opened, begin, commits):
    """Of 20 appends in one transaction the stale one conflicts, the others are kept."""
    async with opened() as store:
        heads = [await begin(store, f"s{number}") for number in range(20)]
        heads[7] = heads[7]._replace(revision=Revision(heads[7].revision.incarnation, 9))
        del commits[:]
        async with Hold(store):
            waiting = [asyncio.create_task(append(store, head, "a")) for head in heads]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert commits == [1, 20]
        assert isinstance(results.pop(7), SessionConflict)
        assert [head.seq for head in results] == [1] * 19
        assert (await store.load("s7")).records == []


async def test_appends_of_one_session_in_a_group_are_one_after_the_other(opened, begin):
    """Ten appends with one expected revision: one is kept, nine conflict with its head."""
    async with opened() as store:
        head = await begin(store)
        async with Hold(store):
            waiting = [asyncio.create_task(append(store, head, str(n))) for n in range(10)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results[1:]] == [SessionConflict] * 9
        assert {result.head for result in results[1:]} == {results[0]}


async def test_a_fault_in_a_group_is_undone_and_fails_alone(opened, begin, monkeypatch):
    """An error after the first write rolls the group back; the others are repeated and kept."""
    insert = records.insert

    def faulty(connection, k, seq, data):
        insert(connection, k, seq, data)
        if data == [b"bad"]:
            raise ZeroDivisionError

    monkeypatch.setattr(records, "insert", faulty)
    async with opened() as store:
        heads = [await begin(store, f"s{number}") for number in range(5)]
        async with Hold(store):
            waiting = [
                asyncio.create_task(append(store, head, "bad" if number == 2 else "good"))
                for number, head in enumerate(heads)
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results.pop(2), ZeroDivisionError)
        assert [head.seq for head in results] == [1] * 4
        found = await store.load("s2")
        assert (found.head, found.records) == (heads[2], [])


@pytest.mark.parametrize("alone", [True, False])
async def test_a_refusal_after_the_first_write_is_undone(opened, begin, alone):
    """A value that SQLite cannot take fails its append whole, alone as well as in a group."""
    async with opened() as store:
        heads = [await begin(store, f"s{number}") for number in range(1 if alone else 4)]
        async with Hold(store):
            waiting = [
                # Not bytes, against the contract: the head is written before SQLite looks at it.
                asyncio.create_task(append(store, head, "a", state=b"1" if number else "\ud800"))
                for number, head in enumerate(heads)
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], UnicodeEncodeError)
        assert [head.seq for head in results[1:]] == [1] * (len(heads) - 1)
        found = await store.load("s0")
        assert (found.head, found.records, found.state) == (heads[0], [], b"{}")


async def test_a_record_that_is_no_bytes_is_refused(opened, begin):
    """A str as a record is a TypeError, not something that cannot be read back."""
    async with opened() as store:
        head = await begin(store)
        with pytest.raises(TypeError):
            await store.append(
                "s", [Record("text")], expected=head.revision, commit_id=os.urandom(16)
            )
        assert (await store.load("s")).head == head


async def test_what_was_rolled_back_is_forgotten(opened, begin, monkeypatch):
    """After a failed group an append builds on what the file has, not on what was undone."""
    insert = records.insert

    def faulty(connection, k, seq, data):
        insert(connection, k, seq, data)
        if data == [b"bad"]:
            error = sqlite3.OperationalError("disk I/O error")  # the whole group fails
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
            raise error

    monkeypatch.setattr(records, "insert", faulty)
    # Opened in another way the file has another writer, as in another process.
    async with opened() as store, opened(synchronous="normal") as other:
        good, bad = [await begin(store, name) for name in ("good", "bad")]
        async with Hold(store):
            waiting = [
                asyncio.create_task(append(store, good, "undone", "undone")),
                asyncio.create_task(append(store, bad, "bad")),
            ]
            await asyncio.sleep(0)
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, StoreUnavailable)
        head = await append(other, good, "1", "2", "3", "4", "5")
        assert (await append(store, head, "6")).seq == 6
        found = await store.load("good")
        assert found.records == [b"1", b"2", b"3", b"4", b"5", b"6"]


async def test_a_record_number_that_is_taken_is_refused(opened, begin, path):
    """If the file has a record behind the head's seq, the append fails and leaves it."""
    async with opened() as store:
        head = await begin(store, records=1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("INSERT INTO event (k, seq, data) SELECT k, 2, x'00' FROM session")
        other.close()
        with pytest.raises(StoreError, match="UNIQUE"):
            await append(store, head, "a")
        assert (await store.load("s")).head == head


# Cancelling


async def test_a_cancelled_append_that_waits_is_withdrawn(opened, begin):
    """Cancelled before the writer took it: CancelledError, and nothing is written."""
    async with opened() as store:
        head = await begin(store)
        async with Hold(store):
            waiting = asyncio.create_task(append(store, head, "a"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert (await store.load("s")).head == head
        assert (await append(store, head, "b")).seq == 1


async def test_a_cancelled_append_that_runs_settles_first(opened, begin, monkeypatch):
    """Cancelled (twice) while it is written: CancelledError only once the append is kept."""
    started, free = threading.Event(), threading.Event()
    insert = records.insert

    def slow(*arguments):
        started.set()
        free.wait(10)
        insert(*arguments)

    monkeypatch.setattr(records, "insert", slow)
    async with opened() as store:
        head = await begin(store)
        waiting = asyncio.create_task(append(store, head, "a"))
        while not started.is_set():
            await asyncio.sleep(0.001)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0.01)
            assert not waiting.done()
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await store.load("s")).records == [b"a"]


async def test_a_cancel_between_commit_and_wake_up_settles(opened, begin):
    """Cancels at every moment leave a whole append or none, and the session usable."""
    async with opened() as store:
        head = await begin(store)
        kept = 0
        for number in range(100):
            waiting = asyncio.create_task(append(store, head, "a", "b"))
            for _ in range(number % 3):
                await asyncio.sleep(0)
            if number % 4 == 3:
                await asyncio.sleep(0.0001 * (number % 10))
            waiting.cancel()
            cancelled = (await asyncio.gather(waiting, return_exceptions=True))[0]
            assert waiting.cancelled() or not isinstance(cancelled, BaseException)
            head = (await store.load("s")).head
            assert head.seq == 2 * head.revision.version
            kept += head.revision.version > kept
        assert len((await store.load("s")).records) == head.seq


async def test_a_timeout_around_an_append_works(opened, begin):
    """asyncio.timeout turns the cancel of a waiting append into TimeoutError."""
    async with opened() as store:
        head = await begin(store)
        async with Hold(store):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await append(store, head, "a")
        assert (await store.load("s")).head == head


async def test_a_failed_append_that_was_cancelled_leaves_no_trace(opened, begin, monkeypatch):
    """Its error, which nobody awaits, is not reported as never retrieved."""
    started, free = threading.Event(), threading.Event()

    def failing(*arguments):
        started.set()
        free.wait(10)
        raise ZeroDivisionError

    monkeypatch.setattr(records, "insert", failing)
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with opened() as store:
        head = await begin(store)
        waiting = asyncio.create_task(append(store, head, "a"))
        while not started.is_set():
            await asyncio.sleep(0.001)
        waiting.cancel()
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        del waiting
        gc.collect()
    assert reported == []


def test_a_loop_that_ends_with_appends_waiting_settles_them(begin, path):
    """asyncio.run cancels what is left: each append is whole or absent, and the file closes."""

    async def leave():
        store = await SqliteStore.open(path)
        heads = [await begin(store, f"s{number}") for number in range(30)]
        for head in heads:
            asyncio.get_running_loop().create_task(append(store, head, "a", "b"))
        await asyncio.sleep(0)
        return store

    store = asyncio.run(leave())

    async def look():
        for number in range(30):
            found = await store.load(f"s{number}")
            assert found.records in ([], [b"a", b"b"])
        await store.close()

    asyncio.run(look())


# Locks, room and lost files


async def test_a_lock_is_waited_for(opened, begin, path):
    """A write waits for another process that holds the file, and succeeds when it is let go."""
    async with opened() as store:
        head = await begin(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(append(store, head, "a"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        assert (await waiting).seq == 1


async def test_a_lock_that_stays_is_unavailable(opened, begin, path, commits):
    """After busy_timeout every waiting write fails, says why, wrote nothing; reads go on."""
    async with opened(busy_timeout=0.2) as store:
        head = await begin(store, records=1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        del commits[:]
        results = await asyncio.gather(
            *[append(store, head, str(n)) for n in range(5)], return_exceptions=True
        )
        # The first append alone, then the others together: never one after the other.
        assert len(commits) <= 2
        for result in results:
            assert isinstance(result, StoreUnavailable)
            assert "locked by another process for longer than busy_timeout = 0.2 s" in str(result)
        assert (await store.load("s")).head == head
        other.execute("COMMIT")
        other.close()
        assert (await append(store, head, "a")).seq == 2


async def test_a_full_disk_is_unavailable_and_passes(opened, begin):
    """Without room: StoreUnavailable, nothing written; with room again the append succeeds."""
    async with opened() as store:
        head = await begin(store, records=1)
        (pages,) = await store._write(lambda c: c.execute("PRAGMA page_count").fetchone())
        await store._write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        with pytest.raises(StoreUnavailable, match="no room to write"):
            await append(store, head, "x" * 100_000)
        assert (await store.load("s")).records == [b"1"]
        await store._write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert (await append(store, head, "x" * 100_000)).seq == 2


def test_a_write_error_of_the_system_is_unavailable(path, child, finish):
    """A file that may not grow (RLIMIT_FSIZE): StoreUnavailable, and what was kept still loads."""
    code = """
        import resource

        async def main():
            store = await SqliteStore.open(Path(sys.argv[1]))
            head = await store.create("s", commit_id=b"1")
            head = await store.append("s", [Record(b"a")], expected=head.revision, commit_id=b"2")
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            try:
                await store.append(
                    "s", [Record(b"x" * 300_000)], expected=head.revision, commit_id=b"3"
                )
            except StoreUnavailable as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
            assert (await store.load("s")).head == head
            await store.append("s", [Record(b"b")], expected=head.revision, commit_id=b"4")
            print((await store.load("s")).records)
            await store.close()

        asyncio.run(main())
    """
    error, kept = finish(child(code)).splitlines()
    assert str(path) in error
    assert kept == "[b'a', b'b']"


@pytest.mark.parametrize("how", ["delete", "replace"])
async def test_a_lost_file_is_never_written_silently(opened, begin, path, how):
    """A file deleted or replaced under an open store: StoreUnavailable for every write."""
    async with opened() as store:
        head = await begin(store)
        path.rename(path.with_suffix(".moved"))
        if how == "replace":
            path.touch()
        await asyncio.sleep(watch.LOOK_SECONDS)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await append(store, head, "a")
        path.with_suffix(".moved").replace(path)
        assert (await append(store, head, "a")).seq == 1


# Sharing


async def test_stores_on_one_file_share_their_threads(opened, begin, path, tmp_path):
    """Two stores in a process, one through a link, have one writer; the last to close ends it."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    before = threading.active_count()
    async with opened() as first:
        threads = threading.active_count()
        async with opened(link) as second:
            assert threading.active_count() <= threads + 1  # asyncio's own
            assert first._database is second._database
            head = await begin(first, records=1)
            assert (await second.load("s")).head == head
        assert (await append(first, head, "b")).seq == 2
    assert not database._databases
    assert threading.active_count() <= before + 2  # asyncio's own


async def test_opening_that_is_cancelled_lets_go(path, monkeypatch):
    """A cancel while the file is opened leaves no thread and no open file behind."""
    started, free = threading.Event(), threading.Event()
    make = database.Database.__init__

    def slow(self, location):
        started.set()
        free.wait(10)
        make(self, location)

    released = []

    def release(opened):
        database.release(opened)
        released.append(opened)

    monkeypatch.setattr(database.Database, "__init__", slow)
    monkeypatch.setattr("turnkeep_session_sqlite.store.release", release)
    opening = asyncio.create_task(SqliteStore.open(path))
    while not started.is_set():
        await asyncio.sleep(0.001)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    free.set()
    while not released:
        await asyncio.sleep(0.001)
    assert not database._databases
