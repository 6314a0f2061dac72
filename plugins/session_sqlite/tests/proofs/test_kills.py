"""kill -9 at random moments: amid appends, amid first creation and amid a migration."""

import asyncio
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from turnkeep.testing.writers import PARTS, batch, record
from turnkeep_session_sqlite import files, migrations

ROUNDS_A_FILE = 20
"""Kills after which a file is left for a fresh one: each check reads all of it."""


@pytest.fixture
def victim(worker, tmp_path):
    """Start a process that appends for ever; gives it and a function that reads its notes."""

    def start(number, *, at, sessions, **options):
        notes = tmp_path / f"acknowledged-{number}"
        given = {"writer": 0, "checkpoint": 20, "reopen": 10**9, "synchronous": "full", **options}
        process = worker(
            "append_for_ever", at=at, acknowledged=str(notes), sessions=sessions, **given
        )

        def read():
            text = notes.read_text() if notes.exists() else ""
            return [line.split() for line in text.splitlines(keepends=True) if line[-1] == "\n"]

        return process, read

    return start


def kill(process, read, dice):
    """Kill it at a random moment: while it starts, opens or creates, or after some appends."""
    if dice.random() < 0.85:
        wanted = dice.randrange(1, 40)
        while len(read()) < wanted and process.poll() is None:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.01))
    else:
        time.sleep(dice.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    return read()


async def examine(store, before, notes):
    """Compare the sessions with what was noted; `before` is what each had, and is brought up.

    Every acknowledged append is there; there is at most one more, which was in flight; each is
    whole.
    """
    noted = dict(before)
    for session, number in notes:
        assert int(number) == noted[session] + 1 or noted[session] == before[session]
        noted[session] = int(number)
    for session, number in noted.items():
        found = await store.load(session, after=0)
        if found is None:
            assert number == 0
            continue
        reached = found.head.revision.version
        assert number <= reached <= number + 1, (session, number, reached)
        before[session] = reached
        assert found.state == (b"%d" % reached if reached else b"{}")
        assert list(found.records) == [
            record(session, 0, each, part)
            for each in range(1, reached + 1)
            for part in range(PARTS)
        ]


@pytest.mark.parametrize(
    ("kills", "synchronous", "reopen"),
    [
        (4, "full", 5),
        pytest.param(100, "full", 10**9, marks=pytest.mark.prove, id="100-full"),
        pytest.param(40, "normal", 10**9, marks=pytest.mark.prove, id="40-normal"),
        pytest.param(40, "full", 5, marks=pytest.mark.prove, id="40-reopening"),
    ],
)
async def test_a_killed_process_loses_nothing_acknowledged(
    victim, opened, tmp_path, dice, sound, kills, synchronous, reopen
):
    """Each acknowledged append is there whole; besides it at most the one that was in flight."""
    names = ["a", "b", "c"]
    acknowledged = 0
    for number in range(kills):
        path = tmp_path / f"{number // ROUNDS_A_FILE}.db"
        if number % ROUNDS_A_FILE == 0:
            kept = dict.fromkeys(names, 0)
        process, read = victim(
            number, at=path, sessions=names, synchronous=synchronous, reopen=reopen
        )
        notes = kill(process, read, dice)
        acknowledged += len(notes)

        async with opened(path, synchronous=synchronous) as store:
            await examine(store, kept, notes)
        sound(path)
    assert acknowledged > kills


@pytest.mark.prove
async def test_processes_beside_a_killed_one_go_on(victim, opened, path, dice, sound):
    """Of three writers one is killed again and again; no other loses or waits for anything."""
    async with opened() as store:
        kept, running = {}, []
        for number in range(3):
            kept[number] = {f"{number}-a": 0, f"{number}-b": 0}
            running.append(victim(number, at=path, sessions=list(kept[number])))
        for number in range(3, 33):
            chosen = dice.randrange(3)
            notes = kill(*running[chosen], dice)
            await examine(store, kept[chosen], notes)
            running[chosen] = victim(number, at=path, sessions=list(kept[chosen]))
        for chosen in range(3):
            running[chosen][0].kill()
            running[chosen][0].wait()
            await examine(store, kept[chosen], running[chosen][1]())
        assert all(all(sessions.values()) for sessions in kept.values())
    sound()


# At a system call


WRITING = "pwrite64,ftruncate,fdatasync,fsync,unlink"
"""Calls by which SQLite changes files: what stands on the disk differs between any two of them."""


KILLS = 6
"""How many of such calls the dice choose, besides those around each sync."""


@pytest.fixture
def killed(worker, go, path, tmp_path, dice):
    """Let a process open the file, and kill it as it enters one of the calls that change files.

    Begins anew with the same file for each kill; gives what the process had said.
    """
    if not shutil.which("strace"):
        pytest.skip("kills at a system call are made by strace: apt-get install strace")
    trace = tmp_path / "trace"
    tried = subprocess.run(["strace", "-o", trace, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr}")
    original = path.read_bytes() if path.exists() else None

    def run(call, number, *, migrate):
        for each in path.parent.glob(path.name + "*"):
            each.unlink()
        if original is not None:
            path.write_bytes(original)
        fault = f"inject={call}:signal=SIGKILL:when={number}+"
        process = worker(
            "open",
            prefix=("strace", "-f", "-o", str(trace), "-e", f"trace={WRITING}", "-e", fault),
            migrate=migrate,
        )
        go(process)
        out, err = process.communicate(timeout=60)
        assert not err, err
        return process.returncode, out

    def each(count, *, migrate):
        assert run("unlink", 60_000, migrate=migrate) == (0, "open\n")
        calls = re.findall(
            rf"^\d+ +({WRITING.replace(',', '|')})\(", trace.read_text(), re.MULTILINE
        )
        assert len(calls) > count
        # One in each part, and both sides of every sync: there a commit is, or is not yet.
        chosen = {int((part + dice.random()) * len(calls) / count) for part in range(count)}
        syncs = {moment for moment, call in enumerate(calls) if call == "fdatasync"}
        chosen |= syncs | {moment + 1 for moment in syncs if moment + 1 < len(calls)}
        for moment in sorted(chosen):
            call = calls[moment]  # strace counts each call by its name
            code, said = run(call, calls[: moment + 1].count(call), migrate=migrate)
            assert code == -signal.SIGKILL
            yield said

    return each


@pytest.mark.prove
async def test_a_kill_amid_first_creation_leaves_a_file_to_use(killed, opened, begin, sound):
    """Killed at any call that writes: the next opening finds a whole file or makes one."""
    for _ in killed(KILLS, migrate=False):
        async with opened() as store:
            await begin(store, records=2)
        sound()


# Migration


def rows(path, *statements):
    """What the file answers."""
    connection = sqlite3.connect(path)
    try:
        return [connection.execute(statement).fetchall() for statement in statements]
    finally:
        connection.close()


def everything(path):
    """All that an older version has kept, apart from the records' bytes."""
    events, *others = rows(
        path,
        "SELECT k, seq, data FROM event ORDER BY k, seq",
        "SELECT k, id, user_id, incarnation, version, seq, base, commit_id, meta FROM session",
        "SELECT k, data FROM state",
    )
    return events, others


@pytest.fixture
def older(opened, path):
    """A file of the current schema, on which the next version's step has yet to run."""

    async def fill():
        async with opened() as store:
            for name in ("s", "t"):
                head = await store.create(name, commit_id=name.encode(), user_id="me")
                for number in range(1, 9):
                    head = await store.append(
                        name,
                        batch(name, 0, number),
                        expected=head.revision,
                        commit_id=b"%d" % number,
                        state=b"%d" % number,
                        meta=b"{}",
                    )

    asyncio.run(fill())
    return everything(path)


@pytest.fixture
def after(older, path):
    """Tell whether the file is as before, or migrated once and whole; anything else fails."""

    def version():
        events, others = older
        [(number,)] = rows(path, "PRAGMA user_version")[0]
        columns = [column[1] for column in rows(path, "PRAGMA table_info(session)")[0]]
        if number == 2:
            events = [(k, seq, b"2 " + data) for k, seq, data in events]
            assert rows(path, "SELECT title FROM session", "SELECT count(*) FROM ran") == [
                [("none",), ("none",)],
                [(1,)],
            ]
        assert everything(path) == (events, others)
        assert ("title" in columns) == (number == 2)
        return number

    return version


@pytest.mark.parametrize("processes", [2, pytest.param(8, marks=pytest.mark.prove)])
def test_processes_that_open_an_older_file_migrate_it_once(
    after, worker, go, finish, sound, processes
):
    """All of them go on with the migrated file; its sessions are there, changed once."""
    users = [worker("open", migrate=True) for _ in range(processes)]
    go(*users)
    for user in users:
        assert finish(user) == "open\n"
    assert after() == 2
    sound()


@pytest.mark.prove
async def test_a_kill_amid_a_migration_changes_all_or_nothing(
    after, killed, opened, made, monkeypatch, sound
):
    """Killed at any call that writes: the file is as before or migrated, and opens either way."""
    found = set()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, made.m002_title))
    monkeypatch.setattr(files, "SCHEMA_VERSION", 2)
    for said in killed(KILLS, migrate=True):
        version = after()
        assert version == 2 or not said
        found.add(version)
        async with opened() as store:
            assert (await store.load("s", after=0)).records[0].startswith(b"2 s 0 1")
        assert after() == 2
        sound()
    assert found == {1, 2}
