"""Several processes on one file, forked ones, and the proof that an append is on disk."""

import asyncio
import os
import re
import shutil

import pytest

# Two processes on one session

RACER = """
    import random

    async def main():
        path, name, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        store = await SqliteStore.open(path)
        print("ready", flush=True)
        sys.stdin.readline()
        head = (await store.load("s")).head
        conflicts = 0
        for turn in range(turns):
            data = [Record(f"{name} {turn} {part}".encode()) for part in range(4)]
            key = new_commit_id()
            while True:
                try:
                    head = await store.append("s", data, expected=head.revision, commit_id=key)
                    break
                except SessionConflict as error:
                    conflicts += 1
                    head = error.head
            await asyncio.sleep(random.random() * 0.002)
        await store.close()
        print(conflicts)

    asyncio.run(main())
"""


@pytest.mark.parametrize("turns", [100, pytest.param(2000, marks=pytest.mark.prove)])
def test_two_processes_lose_and_double_nothing(opened, begin, child, finish, turns):
    """Both append to one session and repeat after a conflict: every turn once, whole, in order."""
    names = ["a", "b"]

    async def prepare():
        async with opened() as store:
            await begin(store)

    asyncio.run(prepare())
    racers = [child(RACER, name, turns) for name in names]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    conflicts = [int(finish(racer)) for racer in racers]

    async def look():
        async with opened() as store:
            return (await store.load("s", after=0)).records

    kept = [record.decode().split() for record in asyncio.run(look())]
    assert len(kept) == 2 * turns * 4
    for start in range(0, len(kept), 4):  # never interleaved
        assert [part for *_, part in kept[start : start + 4]] == ["0", "1", "2", "3"]
        assert len({tuple(head) for *head, _ in kept[start : start + 4]}) == 1
    for name in names:
        assert [int(turn) for who, turn, part in kept if who == name and part == "0"] == list(
            range(turns)
        )
    assert sum(conflicts) > turns / 20, "they never raced"


# fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_can_neither_use_nor_reopen_the_file(path, child, finish):
    """In a forked child the parent's store and a new one are refused; the parent goes on."""
    code = """
        async def refused(call):
            try:
                await call
            except StoreError as error:
                return "forked this one" in str(error)

        async def main():
            store = await SqliteStore.open(Path(sys.argv[1]))
            head = await store.create("s", commit_id=b"1")
            pid = os.fork()
            if not pid:
                refusals = [
                    await refused(store.append("s", [], expected=head.revision, commit_id=b"2")),
                    await refused(store.load("s")),
                ]
                os._exit(0 if refusals == [True, True] else 1)
            assert os.waitpid(pid, 0)[1] == 0
            pid = os.fork()
            if not pid:
                import threading
                from turnkeep_session_sqlite.database import acquire, release
                try:
                    acquire(store._database.location)
                except StoreError as error:
                    os._exit(0 if "spawn" in str(error) else 2)
                os._exit(3)
            assert os.waitpid(pid, 0)[1] == 0
            await store.append("s", [Record(b"a")], expected=head.revision, commit_id=b"3")
            await store.close()

            # Closed before the fork: the child may open it.
            pid = os.fork()
            if not pid:
                from turnkeep_session_sqlite.database import acquire, release
                release(acquire(store._database.location))
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            store = await SqliteStore.open(Path(sys.argv[1]))
            assert (await store.load("s")).records == [b"a"]
            await store.close()

        asyncio.run(main())
    """
    finish(child(code))


# The proof that an append that returned is on disk

TRACED = """
    async def main():
        path, marks, synchronous, marker = sys.argv[1:]
        store = await SqliteStore.open(Path(path), synchronous=synchronous.removesuffix("-off"))
        if synchronous.endswith("-off"):  # no option: the test's own way to an unsafe store
            store._database.writer._connection.execute("PRAGMA synchronous = OFF")
        head = await store.create("s", commit_id=b"1")
        file = os.open(marks, os.O_WRONLY | os.O_CREAT)
        for number in range(3):
            record = Record(f"{marker}-{number}-{'x' * 50}".encode())
            os.write(file, f"before-{number}".encode())
            head = await store.append("s", [record], expected=head.revision, commit_id=b"%d" % number)
            os.write(file, f"after-{number}".encode())
        await store.close()

    asyncio.run(main())
"""


def calls(trace):
    """The calls of a trace as (start line, end line, name, text), in the order of their ends.

    A call that another thread interrupts is written in two parts; it has ended at the second.
    """
    unfinished, found = {}, []
    for number, line in enumerate(trace.splitlines()):
        if not (match := re.match(r"(\d+) +[\d.]+ (.*)", line)):
            continue
        pid, text = match.groups()
        begun = number
        if text.endswith("<unfinished ...>"):
            unfinished[pid] = number, text.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            if pid not in unfinished:
                continue
            begun, head = unfinished.pop(pid)
            text = head + resumed[1]
        if name := re.match(r"\w+(?=\()", text):
            found.append((begun, number, name[0], text))
    return found


def on_disk_before_return(trace, marker):
    """Tell whether each record was written to the log and synced before append returned.

    True where for every number: the last write of the record's bytes to the -wal file ended, then
    a sync of the -wal file began after it and ended, without error, before `after-N` was written.
    """
    found = calls(trace)
    for number in range(3):
        writes = [
            end
            for _, end, name, text in found
            if name in {"write", "pwrite64"} and "-wal>" in text and f"{marker}-{number}" in text
        ]
        marks = [begun for begun, _, _, text in found if f'"after-{number}"' in text]
        if not writes or len(marks) != 1:
            return False
        if not any(
            writes[0] < begun <= end < marks[0]
            for begun, end, name, text in found
            if name in {"fsync", "fdatasync"} and "-wal>" in text and re.search(r"\) += 0$", text)
        ):
            return False
    return True


@pytest.fixture
def traced(child, finish, path, tmp_path):
    """Run three appends under strace; gives the trace and the marker in each record."""
    if not shutil.which("strace"):
        pytest.skip("the proof reads system calls: apt-get install strace")

    def run(synchronous):
        marker = os.urandom(8).hex()
        trace = tmp_path / "trace"
        watched = "trace=write,pwrite64,fsync,fdatasync"
        strace = ("strace", "-f", "-ttt", "-y", "-s", "100000", "-e", watched, "-o", str(trace))
        process = child(TRACED, tmp_path / "marks", synchronous, marker, prefix=strace)
        _, err = process.communicate(timeout=60)
        if "ptrace" in err or "PTRACE" in err:
            pytest.skip(f"strace may not trace here: {err.splitlines()[0]}")
        assert process.returncode == 0, err
        return trace.read_text(errors="replace"), marker

    return run


def test_an_append_that_returned_is_synced_to_disk(traced):
    """With synchronous=full the log is fsynced after the record's bytes, before append returns."""
    trace, marker = traced("full")
    assert on_disk_before_return(trace, marker)


@pytest.mark.parametrize("synchronous", ["normal", "normal-off"])
def test_the_proof_notices_a_missing_sync(traced, synchronous):
    """The same check says no for synchronous=normal, and for a store made unsafe."""
    trace, marker = traced(synchronous)
    assert f"{marker}-0" in trace
    assert "after-2" in trace
    assert not on_disk_before_return(trace, marker)
