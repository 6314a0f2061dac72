"""`turnkeep sessions copy`: from one configured store into another, repeated, cut off, seen to be right."""

import asyncio
import json
import logging
import random
import sqlite3
import subprocess
import sys
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

from turnkeep import Event, Message, SessionManager
from turnkeep import open as open_keeper
from turnkeep.config import load_config
from turnkeep.hookspecs import Env

KEY = b64encode(bytes(range(32))).decode()


def toml(folder, name, more=""):
    file = folder / f"{name}.toml"
    file.write_text(f'[session]\nstore = "sqlite"\nsqlite.path = "{name}.db"\n{more}')
    return str(file)


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Two configurations, each with a SQLite file of its own, in the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return toml(tmp_path, "a"), toml(tmp_path, "b")


async def write(config, session_id, count, size=20, user_id=None):
    """Add events to a session."""
    async with open_keeper(config) as keep:
        session = await keep.sessions.get_or_create(session_id, user_id)
        for number in range(count):
            text = f"{number} " + "x" * size
            session.events.append(
                Event(author="user", content=[Message(role="user", content=text)])
            )
        session.state["count"] = len(session.events)
        await keep.sessions.save(session)


def export(turnkeep, config):
    code, out, err = turnkeep("sessions", "export", "--all", "--config", config)
    assert (code, err) == (0, "")
    return out


def copy(turnkeep, a, b, *args):
    return turnkeep("sessions", "copy", "--from", a, "--to", b, *args)


async def test_all_sessions_go_over(stores, turnkeep):
    """Their exports are the same, byte for byte; a second run finds nothing to do."""
    a, b = stores
    for name, count in (("one", 3), ("two", 450), ("ü /", 0)):
        await write(a, name, count, user_id="ann" if count else None)
    copied = copy_in_thread(turnkeep, a, b)
    assert copied == (0, "3 sessions: 3 copied; 454 events\n", "")
    assert export_in_thread(turnkeep, a) == export_in_thread(turnkeep, b)
    assert copy_in_thread(turnkeep, a, b) == (0, "3 sessions: 3 the same already; 0 events\n", "")
    await write(a, "one", 2)
    said = copy_in_thread(turnkeep, a, b)
    assert said == (0, "3 sessions: 1 continued, 2 the same already; 2 events\n", "")
    assert export_in_thread(turnkeep, a) == export_in_thread(turnkeep, b)


def in_thread(function, *args):
    """Run a command from a test that has a loop of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *args).result()


def copy_in_thread(turnkeep, *args):
    return in_thread(copy, turnkeep, *args)


def export_in_thread(turnkeep, config):
    return in_thread(export, turnkeep, config)


async def test_a_target_of_its_own_is_refused_and_the_others_go_on(stores, turnkeep):
    """Named on standard error; exit code 1."""
    a, b = stores
    for name in ("one", "two"):
        await write(a, name, 2)
    await write(b, "one", 1)
    code, out, err = copy_in_thread(turnkeep, a, b)
    assert (code, out) == (1, "2 sessions: 1 copied, 1 refused; 2 events\n")
    assert err == (
        "turnkeep: refused: session 'one' is another one in the target, from event 1 on; it was "
        "left as it is: delete it there to copy this one\n"
    )
    page = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
    assert err.replace("'one'", "'holiday'") in page.read_text(encoding="utf-8")


async def test_sessions_are_chosen(stores, turnkeep):
    """By user, and by when they were written to."""
    a, b = stores
    await write(a, "one", 2, user_id="ann")
    await write(a, "two", 2, user_id="bob")
    said = copy_in_thread(turnkeep, a, b, "--user", "ann", "--since", "1h")
    assert said == (0, "1 session: 1 copied; 2 events\n", "")
    for since in ("2100-01-01", "2100-01-01T00:00Z"):
        assert copy_in_thread(turnkeep, a, b, "--since", since) == (0, "no sessions to copy\n", "")
    code, _, err = copy_in_thread(turnkeep, a, b, "--since", "yesterday")
    assert (code, "'yesterday' is no time; write" in err) == (2, True)


async def test_a_dry_run_writes_nothing(stores, turnkeep):
    """It says what would be, session by session."""
    a, b = stores
    await write(a, "one", 2)
    said = copy_in_thread(turnkeep, a, b, "--dry-run")
    assert said == (
        0,
        "would be: 1 session: 1 copied; 2 events\n",
        "one: would be copied\n",
    )
    assert export_in_thread(turnkeep, b) == ""


async def test_the_outcomes_as_json(stores, turnkeep):
    """For programs."""
    a, b = stores
    await write(a, "one", 2)
    code, out, _ = copy_in_thread(turnkeep, a, b, "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "sessions": [{"session": "one", "outcome": "copied", "events": 2, "problem": None}],
            "dry_run": False,
        },
    )


async def test_variables_do_not_go_on_top_of_both_files(stores, turnkeep, monkeypatch):
    """Else both would be one store."""
    a, b = stores
    await write(a, "one", 2)
    monkeypatch.setenv("TURNKEEP__SESSION__SQLITE__PATH", "elsewhere.db")
    assert copy_in_thread(turnkeep, a, b)[:2] == (0, "1 session: 1 copied; 2 events\n")


def test_a_store_in_memory_is_no_place(stores, turnkeep):
    """Neither to read from nor to write to."""
    Path("empty.toml").write_text("")
    code, _, err = copy(turnkeep, stores[0], "empty.toml")
    assert (code, "would be kept in memory and end with this command" in err) == (2, True)


@pytest.mark.skipif(
    find_spec("turnkeep_wrap_encrypt") is None, reason="needs turnkeep-wrap-encrypt"
)
async def test_sessions_are_decrypted_and_encrypted_on_the_way(stores, turnkeep, monkeypatch):
    """From an encrypted store into a plain one, and back under another key."""
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", b64encode(bytes(range(1, 33))).decode())
    wrap = 'wrap = ["encrypt", "compress"]\nencrypt.keys.k = { env = "%s" }\n'
    sealed = toml(Path(), "sealed", wrap % "KEY")
    again = toml(Path(), "again", wrap % "OTHER_KEY")
    _, plain = stores
    await write(sealed, "one", 450)
    assert copy_in_thread(turnkeep, sealed, plain)[0] == 0
    assert copy_in_thread(turnkeep, plain, again)[0] == 0
    exported = [export_in_thread(turnkeep, config) for config in (sealed, plain, again)]
    assert exported[0] == exported[1] == exported[2] != ""
    assert b"xxxx" not in Path("again.db").read_bytes()


def seq_in(file):
    """Give how many events the one session of a SQLite file has; 0 where there is none yet."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        return (connection.execute("SELECT seq FROM session").fetchone() or [0])[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


async def test_a_copy_that_was_killed_is_completed(stores, turnkeep, tmp_path):
    """Killed amid a session, again and again: the next run goes on from there."""
    a, b = stores
    await write(a, "one", 6_000)
    command = [sys.executable, "-m", "turnkeep", "sessions", "copy", "--from", a, "--to", b]
    reached, cut = 0, 0
    for _ in range(3):
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while victim.poll() is None and seq_in(tmp_path / "b.db") <= reached:
            pass
        victim.kill()
        victim.wait()
        now = seq_in(tmp_path / "b.db")
        assert now >= reached
        cut += reached < now < 6_000
        reached = now
    assert cut, "no run was killed amid a session"
    code, out, err = copy_in_thread(turnkeep, a, b)
    assert (code, err) == (0, "")
    assert out.startswith("1 session: 1 ")
    assert export_in_thread(turnkeep, a) == export_in_thread(turnkeep, b)


@pytest.mark.prove
async def test_many_killed_copies_of_sessions_in_use_end_whole(stores, turnkeep):
    """Twenty runs, killed at any moment, while the source is written to and erased from."""
    a, b = stores
    chance = random.Random(7)
    names = [f"session {number}" for number in range(6)]
    for name in names:
        await write(a, name, 700, user_id="ann")
    command = [sys.executable, "-m", "turnkeep", "sessions", "copy", "--from", a, "--to", b]
    for _ in range(20):
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await write(a, chance.choice(names), chance.randrange(300))
        await asyncio.sleep(chance.uniform(0.3, 1.5))
        if chance.random() < 0.3:
            async with open_keeper(a) as keep:
                await keep.sessions.erase(chance.choice(names), [chance.randrange(1, 700)])
        victim.kill()
        victim.wait()
    code, out, err = copy_in_thread(turnkeep, a, b)
    assert (code, err) == (0, ""), out
    assert export_in_thread(turnkeep, a) == export_in_thread(turnkeep, b)


PEAK = """
import sys
from turnkeep.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    print(*[line.split()[1] for line in status if line.startswith("VmHWM")])
sys.exit(code)
"""


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
async def test_the_memory_of_a_copy_does_not_depend_on_the_length(stores):
    """A session of 80 MB takes little more than one of 8 MB."""
    peaks = []
    for target, count in (("b", 400), ("c", 4_000)):
        a, b = stores[0], toml(Path(), target)
        await write(a, f"of {count}", count, size=20_000)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "sessions", "copy", "--from", a, "--to", b],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.split()[-1]) // 1024)
    assert peaks[1] - peaks[0] < 20, peaks


KINDS = ("sqlite", "redis", "postgres")


def place(kind, request):
    """Give the table [session] of a new place of a kind."""
    if kind == "sqlite":
        folder = request.getfixturevalue("tmp_path")
        return {"store": "sqlite", "sqlite": {"path": str(folder / f"{uuid4().hex}.db")}}
    if find_spec(f"turnkeep_session_{kind}") is None:
        pytest.skip(f"needs turnkeep-session-{kind}")
    name = f"copy_{uuid4().hex[:12]}"
    url = request.getfixturevalue(f"{kind}_url")
    return {
        "store": kind,
        kind: {"url": url, {"redis": "prefix", "postgres": "schema"}[kind]: name},
    }


@pytest.mark.prove
@pytest.mark.parametrize(
    ("kind", "other"),
    [(a, b) for a in KINDS for b in KINDS if {a, b} != {"sqlite"}],
)
async def test_every_store_is_copied_into_every_other(kind, other, request, caplog):
    """Events, state, owner, times and ttl; grown, it is continued; its export is the same."""
    from turnkeep.copying import copy_session, sessions_to_copy
    from turnkeep.transfer import export_session

    tables = [{"session": place(each, request)} for each in (kind, other)]
    first, second = [load_config(each) for each in tables]
    env = Env(data_dir=first.folder, logger=logging.getLogger("test"))
    async with first.open_store(env) as (source, _), second.open_store(env) as (target, _):
        for events in (450, 30):
            manager = SessionManager(source, ttl=3600)
            session = await manager.get_or_create("one / ü", "ann")
            for number in range(events):
                text = Message(role="user", content=f"{number} \0 \U0001f600")
                session.events.append(Event(author="user", content=[text]))
            session.state["n"] = len(session.events)
            await manager.save(session)
            assert await sessions_to_copy(source, user_id="ann") == ["one / ü"]
            done = await copy_session(source, target, "one / ü")
            assert (done.outcome, done.events) == (
                "copied" if events == 450 else "continued",
                events,
            )
            assert await export_session(SessionManager(target), "one / ü") == (
                await export_session(manager, "one / ü")
            )
            [a, b] = [await store.load("one / ü") for store in (source, target)]
            assert (a.head.ttl, a.head.user_id, a.state) == (b.head.ttl, b.head.user_id, b.state)
            assert (await copy_session(source, target, "one / ü")).outcome == "same"
