"""Opening files: first use, versions, files that are not ours, and what a user is told."""

import asyncio
import contextlib
import logging
import re
import sqlite3
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from turnkeep.errors import StoreError, StoreUnavailable
from turnkeep.hookspecs import Env, StoreSpec
from turnkeep_session_sqlite import files, migrations, plugin, schema
from turnkeep_session_sqlite.plugin import SqliteOptions


def execute(path, *script):
    """Run statements on the file as another program would; gives their rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in script]
    finally:
        connection.close()


# The plugin


def env(folder):
    """What core hands to `open`."""
    return Env(data_dir=folder, logger=logging.getLogger("test"))


async def test_the_spec_opens_a_store(tmp_path):
    """The hook's one spec opens a store in the data folder, making folders on the way."""
    (spec,) = plugin.session_stores()
    assert isinstance(spec, StoreSpec)
    options = spec.options(path="a/b/c.db")
    async with spec.open(options, env(tmp_path)) as store:
        assert store.capabilities == spec.capabilities
        await store.create("s", commit_id=b"1")
    assert (tmp_path / "a/b/c.db").is_file()


async def test_closing_leaves_one_file(tmp_path):
    """The log of writes is gone when the last store closes."""
    async with plugin.open_sqlite(SqliteOptions(), env(tmp_path)) as store:
        await store.create("s", commit_id=b"1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["sessions.db"]


@pytest.mark.parametrize(
    "options", [{"file": "x"}, {"synchronous": "off"}, {"busy_timeout": -1}, {"busy_timeout": "x"}]
)
def test_wrong_options_are_refused(options):
    """Unknown keys, an unsafe mode and a wrong time fail when the configuration is read."""
    with pytest.raises(ValidationError):
        SqliteOptions(**options)


def test_a_home_path_is_expanded(tmp_path, monkeypatch):
    """`~` in the path is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    async def open_it():
        options = SqliteOptions(path=Path("~/x.db"))
        async with plugin.open_sqlite(options, env(tmp_path / "data")):
            assert (tmp_path / "home/x.db").is_file()

    asyncio.run(open_it())


@pytest.mark.parametrize(
    "name", ["a b?c#d%20.db", "\u00e9\U0001f600'\".db", ":memory:", "file:x?mode=ro"]
)
async def test_any_file_name_is_a_path(opened, begin, tmp_path, name):
    """Characters that mean something to URIs or SQLite are part of the name."""
    async with opened(tmp_path / name) as store:
        await begin(store, records=1)
    assert (tmp_path / name).is_file()
    async with opened(tmp_path / name) as store:
        assert (await store.load("s")).records == [b"1"]


# Paths that cannot be used


async def test_a_folder_is_no_file(opened, tmp_path):
    """A path to a folder is StoreUnavailable, with a path that would do."""
    with pytest.raises(StoreUnavailable, match=re.escape(f"{tmp_path} is a folder")):
        async with opened(tmp_path):
            pass


async def test_a_folder_that_cannot_be_made_is_named(opened, tmp_path):
    """A file where a folder should be: StoreUnavailable names the folder and the option."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"the folder .*file/sub .*\[session.sqlite\]"):
        async with opened(tmp_path / "file/sub/x.db"):
            pass


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_read_only_is_named(path, child, finish, what):
    """A file or folder this user may not write: StoreUnavailable names it."""
    execute(path, "PRAGMA user_version")
    path.touch()
    code = """
        import concurrent.futures.thread  # before the rights to import it are given up
        path, what = Path(sys.argv[1]), sys.argv[2]
        path.chmod(0o444 if what == "file" else 0o666)
        path.parent.chmod(0o777 if what == "file" else 0o555)
        if os.geteuid() == 0:  # root may write anything
            for folder in path.parents:
                folder.chmod(folder.stat().st_mode | 0o055)
            os.seteuid(65534)
        try:
            asyncio.run(SqliteStore.open(path))
        except StoreUnavailable as error:
            print(error)
        finally:
            os.seteuid(os.getuid())
            path.parent.chmod(0o755)
    """
    named = path if what == "file" else path.parent
    assert finish(child(code, what)).startswith(f"{named} is read-only")


async def test_a_file_that_is_no_database_is_left_alone(opened, path):
    """Text, or an encrypted file: StoreError names it, and its bytes stay."""
    text = b"not a database, but somebody's notes\n" * 100
    path.write_bytes(text)
    with pytest.raises(StoreError, match=re.escape(f"{path} is no SQLite database")):
        async with opened():
            pass
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    "script",
    [
        ("CREATE TABLE session (id)",),
        ("PRAGMA application_id = 1",),
        ("PRAGMA user_version = 1",),
    ],
)
async def test_another_programs_database_is_left_alone(opened, path, script):
    """Tables, a mark or a version of somebody else: StoreError, and the file is unchanged."""
    execute(path, *script)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        async with opened():
            pass
    assert path.read_bytes() == before


async def test_an_empty_file_is_a_new_database(opened, begin, path):
    """A file of no bytes, as mktemp makes, is used."""
    path.touch()
    async with opened() as store:
        await begin(store)


# Versions


async def test_a_newer_schema_is_refused(opened, path):
    """StoreError says the file, its version, ours and how to upgrade; nothing is touched."""
    async with opened():
        pass
    execute(path, "PRAGMA user_version = 7")
    before = path.read_bytes()
    wanted = (
        f"{path} has schema version 7, .* up to {files.SCHEMA_VERSION};.* pip install --upgrade"
    )
    with pytest.raises(StoreError, match=wanted):
        async with opened():
            pass
    assert path.read_bytes() == before


async def test_an_older_schema_is_migrated(opened, begin, path, monkeypatch):
    """A step added later runs once on an existing file, which keeps its sessions."""
    async with opened() as store:
        await begin(store, records=2)
    runs = []

    def m002_title(connection):
        runs.append(1)
        connection.execute("ALTER TABLE session ADD COLUMN title TEXT")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m002_title))
    monkeypatch.setattr(files, "SCHEMA_VERSION", 2)
    for _ in range(2):
        async with opened() as store:
            assert (await store.load("s")).records == [b"1", b"2"]
    assert runs == [1]
    assert execute(path, "PRAGMA user_version", "SELECT title FROM session") == [[(2,)], [(None,)]]


async def test_a_failing_migration_changes_nothing(opened, path, monkeypatch):
    """If a later step fails, the earlier ones are undone, and the next opening starts over."""

    def m002_broken(connection):
        raise sqlite3.OperationalError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m002_broken))
        patch.setattr(files, "SCHEMA_VERSION", 2)
        with pytest.raises(StoreError, match="no such thing"):
            async with opened():
                pass
    assert execute(path, "PRAGMA user_version", "SELECT * FROM sqlite_master") == [[(0,)], []]
    async with opened():
        pass


def test_steps_may_be_repeated_and_make_the_schema(path):
    """Each migration on an up-to-date file does nothing; the tables are those of schema.py."""
    connection = sqlite3.connect(path, isolation_level=None)
    assert migrations.migrate(connection, 0) == len(migrations.MIGRATIONS) == files.SCHEMA_VERSION
    made = connection.execute("SELECT * FROM sqlite_master").fetchall()
    migrations.migrate(connection, 0)
    assert connection.execute("SELECT * FROM sqlite_master").fetchall() == made
    for table in schema.METADATA.sorted_tables:
        columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [column[1] for column in columns] == [column.name for column in table.columns]
    connection.close()


async def test_first_use_waits_for_others(opened, begin, monkeypatch):
    """Where another process holds the new file, as SQLite says at once, opening tries again."""
    create, tries = files._create_or_migrate, []

    def busy(connection, path):
        tries.append(path)
        if len(tries) < 3:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        create(connection, path)

    monkeypatch.setattr(files, "_create_or_migrate", busy)
    async with opened() as store:
        await begin(store)
    assert len(tries) == 3


async def test_a_file_that_others_create_meanwhile_is_ours(opened, begin, path, monkeypatch):
    """A schema that another process commits amid the first look at the file is no stranger's."""
    ask, others = files._pragma, []

    def ask_slowly(connection, name):
        answer = ask(connection, name)
        if name == "application_id" and not others:
            others.append(
                sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
            )
            with contextlib.suppress(sqlite3.OperationalError):  # it may have to wait for us
                files._create_or_migrate(others[0], path)
        return answer

    monkeypatch.setattr(files, "_pragma", ask_slowly)
    async with opened() as store:
        await begin(store)
    others[0].close()


@pytest.mark.parametrize("files", [1, pytest.param(200, marks=pytest.mark.prove)])
def test_first_use_by_eight_processes_makes_the_schema_once(path, child, finish, files):
    """Eight processes that open a missing file at the same moment all succeed and are kept."""
    code = """
        import time
        import turnkeep_session_sqlite.migrations

        async def main():
            path, files, me = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
            print("ready", flush=True)
            start = float(sys.stdin.readline())
            for number in range(files):
                await asyncio.sleep(start + 0.2 * number - time.time())
                store = await SqliteStore.open(path.with_name(f"{number}.db"))
                await store.create(me, commit_id=new_commit_id())
                await store.close()

        asyncio.run(main())
    """
    children = [child(code, files, number) for number in range(8)]
    for process in children:
        assert process.stdout.readline() == "ready\n"
    for process in children:
        process.stdin.write(f"{time.time() + 0.2}\n")
        process.stdin.flush()
    for process in children:
        finish(process, timeout=300)
    for number in range(files):
        found = execute(path.with_name(f"{number}.db"), "SELECT id FROM session ORDER BY id")
        assert found == [[(str(each),) for each in range(8)]]
