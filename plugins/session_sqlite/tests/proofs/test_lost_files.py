"""Files that vanish, change or stay locked under an open store, and logs that were damaged."""

import re
import signal
import sqlite3
import time

import pytest

from turnkeep.errors import StoreUnavailable
from turnkeep.testing.writers import PARTS, batch, record
from turnkeep_session_sqlite import watch


@pytest.fixture
def looking(monkeypatch):
    """Say whether the store looks for its files at each call, or not at all, whatever the clock."""

    def set_it(always):
        monkeypatch.setattr(watch, "LOOK_SECONDS", -1 if always else 3600)

    set_it(True)
    return set_it


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_lost_file_is_neither_read_nor_written(opened, begin, looking, path, how):
    """Each call, also right after one that failed, is StoreUnavailable; put back, it goes on."""
    moved = path.with_suffix(".moved")
    async with opened() as store:
        head = await begin(store, records=1)
        await store.load("s")
        path.rename(moved)
        if how == "replaced":
            path.write_bytes(moved.read_bytes())
        for _ in range(2):
            for call in (
                store.append("s", batch("s", 0, 1), expected=head.revision, commit_id=b"1"),
                store.load("s"),
                store.list(),
                store.create("t", commit_id=b"2"),
            ):
                with pytest.raises(StoreUnavailable, match=f"{path} was deleted or replaced"):
                    await call
        moved.replace(path)
        assert (await store.load("s")).head == head
        await store.append("s", batch("s", 0, 1), expected=head.revision, commit_id=b"1")


async def test_a_first_load_makes_no_new_file(opened, begin, looking, path):
    """A file deleted before the first load stays deleted; an empty one would look like no data."""
    async with opened() as store:
        await begin(store)
        path.unlink()
        with pytest.raises(StoreUnavailable):
            await store.load("s")
        assert not path.exists()


@pytest.mark.parametrize("part", ["-wal", "-shm"])
async def test_a_deleted_log_is_told_and_closing_saves_it(
    opened, begin, looking, path, sound, part
):
    """Writes and reads stop before a second log can come up; what was kept is there after closing."""
    lost = path.with_name(path.name + part)
    async with opened() as store:
        head = await begin(store)
        for number in range(1, 11):
            head = await store.append(
                "s", batch("s", 0, number), expected=head.revision, commit_id=b"%d" % number
            )
        looking(False)
        lost.unlink()
        # What comes in before the next look is written to the log that has no name any more.
        head = await store.append("s", batch("s", 0, 11), expected=head.revision, commit_id=b"11")
        looking(True)
        for call in (
            store.append("s", batch("s", 0, 12), expected=head.revision, commit_id=b"12"),
            store.load("s"),
        ):
            with pytest.raises(StoreUnavailable, match=f"{re.escape(str(lost))}.*close the store"):
                await call
    async with opened() as store:
        found = await store.load("s", after=0)
        assert found.head == head
        wanted = [record("s", 0, n, part) for n in range(1, 12) for part in range(PARTS)]
        assert list(found.records) == wanted
        await store.append("s", batch("s", 0, 12), expected=head.revision, commit_id=b"12")
    sound()


async def test_a_process_that_forgot_its_locks_notices(
    opened, begin, looking, worker, go, finish, path
):
    """Reading the open file's bytes drops its locks; the log that others then remove is missed.

    See https://sqlite.org/howtocorrupt.html, section 2.2.
    """
    async with opened() as store:
        head = await begin(store, records=1)
        path.read_bytes()
        other = worker("open", migrate=False)
        go(other)
        finish(other)  # the last to close, as it believes: removes the log
        with pytest.raises(StoreUnavailable, match="close the store"):
            await store.append("s", [], expected=head.revision, commit_id=b"x")
    async with opened() as store:
        assert (await store.load("s")).head == head


# Logs


@pytest.mark.parametrize(
    ("how", "rounds"),
    [("damaged", 1)]
    + [pytest.param(how, 5, marks=pytest.mark.prove) for how in ("cut", "damaged", "deleted")],
)
async def test_a_log_damaged_after_a_crash_leaves_an_earlier_state(
    worker, opened, tmp_path, dice, sound, how, rounds
):
    """SQLite takes the log up to its first fault: appends are missing at the end, none is partial.

    The process is killed between checkpoints: a file that holds half of one needs its log whole.
    """
    checkpointed = 5
    for number in range(rounds):
        path, notes = tmp_path / f"{number}.db", tmp_path / f"{number}.notes"
        async with opened(path) as store:
            for name in ("a", "b"):
                head = await store.create(name, commit_id=b"0")
                for each in range(1, checkpointed + 1):
                    head = await store.append(
                        name,
                        batch(name, 0, each),
                        expected=head.revision,
                        commit_id=b"%d" % each,
                        state=b"%d" % each,
                    )
        process = worker(
            "append_for_ever",
            at=path,
            acknowledged=str(notes),
            writer=0,
            sessions=["a", "b"],
            synchronous="full",
            checkpoint=0,
            reopen=10**9,
        )
        while not notes.exists() or notes.read_bytes().count(b"\n") < 40:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        log = path.with_name(path.name + "-wal")
        if how == "deleted":
            log.unlink()
        else:
            with log.open("r+b") as file:
                place = dice.randrange(log.stat().st_size)
                file.seek(place)
                if how == "cut":
                    file.truncate()
                else:
                    file.write(b"damage" * 10)
        async with opened(path) as store:
            for name in ("a", "b"):
                found = await store.load(name, after=0)
                reached = found.head.revision.version
                assert reached == checkpointed if how == "deleted" else reached >= checkpointed
                assert found.state == b"%d" % reached
                assert list(found.records) == [
                    record(name, 0, each, part)
                    for each in range(1, reached + 1)
                    for part in range(PARTS)
                ]
                await store.append(
                    name, batch(name, 0, 1), expected=found.head.revision, commit_id=b"new"
                )
        sound(path)


# Locks


async def test_a_lock_of_another_process_is_told_and_passes(opened, begin, worker, go, finish):
    """Held for longer than busy_timeout: writes are StoreUnavailable, loads and opening work."""
    async with opened(busy_timeout=0.05) as store:
        head = await begin(store, records=1)
        holder = worker("hold")
        go_on = holder.stdout.readline()
        assert go_on == "ready\n"
        for _ in range(2):
            with pytest.raises(
                StoreUnavailable, match=r"busy_timeout = 0.05 s.*raise busy_timeout"
            ):
                await store.append("s", [], expected=head.revision, commit_id=b"1")
        async with opened(busy_timeout=0.06) as other:
            assert (await other.load("s")).head == head
        finish(holder)
        await store.append("s", [], expected=head.revision, commit_id=b"1")


async def test_a_file_of_which_another_program_took_all_is_told(opened, begin, path):
    """Locked for reading, too: opening is StoreUnavailable, and works when it is let go."""
    async with opened() as store:
        head = await begin(store, records=1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("COMMIT")
    with pytest.raises(StoreUnavailable, match="stayed locked by another process"):
        async with opened(busy_timeout=0.05):
            pass
    other.close()
    async with opened() as store:
        assert (await store.load("s")).head == head
