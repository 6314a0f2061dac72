"""The SQL text against the schema, what is imported when, and bytes as they are."""

import asyncio
import os
import sqlite3

import pytest

from turnkeep.store import Record
from turnkeep_session_sqlite import migrations, queries, statements


def constants():
    """Every statement of the module, with its name."""
    for name, value in vars(statements).items():
        if name.isupper() and name not in {"HEAD_COLUMNS", "INSERT_ROWS", "_SET", "_SAME"}:
            for text in (value,) if isinstance(value, str) else value:
                yield name, text
    yield "insert_events", statements.insert_events(2)


@pytest.mark.parametrize(("name", "text"), list(constants()))
def test_statements_name_only_what_the_schema_has(name, text):
    """Each hand-written statement can be prepared on tables made from schema.py."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(connection, 0)
    connection.execute(f"EXPLAIN {text}", [None] * text.count("?"))
    connection.close()


def plan(text, count):
    """How SQLite would carry the statement out."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(connection, 0)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {text}", count).fetchall()
    connection.close()
    return "; ".join(row[-1] for row in rows)


@pytest.mark.parametrize("of_user", [True, False])
@pytest.mark.parametrize("continued", [True, False])
def test_listing_walks_an_index(of_user, continued):
    """A page is read along an index: nothing is sorted, whatever the number of sessions."""
    found = plan(*queries.compiled(of_user=of_user, continued=continued))
    index = "session_by_user" if of_user else "session_by_age"
    assert index in found
    assert "TEMP B-TREE" not in found


@pytest.mark.parametrize("name", ["HEAD", "HEAD_AND_STATE", "UPDATE", "RECORDS", "EXPIRED"])
def test_the_hot_path_searches_never_scans(name):
    """Finding a session, its records and what expired goes through keys."""
    text = getattr(statements, name)
    found = plan(text, [None] * text.count("?"))
    assert "SEARCH" in found
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found


def test_an_append_without_ttl_touches_no_index(path):
    """The update of a session opens its table only, not one of its indexes."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(connection, 0)
    program = connection.execute(f"EXPLAIN {statements.UPDATE}", [None] * 10).fetchall()
    assert sum(row[1] == "OpenWrite" for row in program) == 1
    connection.close()


# What is imported


def test_an_existing_file_needs_no_sqlalchemy(path, child, finish, opened, begin):
    """Opening, creating, appending, loading and deleting import it in no process but the first."""

    async def fill():
        async with opened() as store:
            await begin(store, records=2)

    asyncio.run(fill())
    code = """
        async def main():
            async with open_sqlite(SqliteOptions(path=sys.argv[1]), env) as store:
                head = (await store.load("s")).head
                await store.append("s", [Record(b"3")], expected=head.revision, commit_id=b"x")
                await store.create("t", commit_id=b"y", ttl=1)
                await store.delete("t")
                await store.purge()
                print(len((await store.load("s")).records))

        import logging
        from turnkeep.hookspecs import Env
        from turnkeep_session_sqlite.plugin import SqliteOptions, open_sqlite
        env = Env(data_dir=Path("/"), logger=logging.getLogger())
        assert "sqlite3" in sys.modules
        asyncio.run(main())
        assert "sqlalchemy" not in sys.modules
    """
    assert finish(child(code)) == "3\n"


def test_the_plugin_module_is_light(child, finish):
    """Importing the plugin's face loads neither SQLAlchemy nor sqlite3."""
    code = """
        import subprocess
        subprocess.run([sys.executable, "-c", "import sys, turnkeep_session_sqlite.plugin; "
            "assert not {'sqlalchemy', 'sqlite3', '_sqlite3'} & set(sys.modules)"], check=True)
    """
    finish(child(code))


def test_records_are_bytes_of_the_callers_choice(path, opened, begin):
    """Bytes that are no text, NULs included, are kept as they are."""
    data = [b"", b"\0\xff", bytes(range(256))]

    async def check():
        async with opened() as store:
            head = await begin(store)
            await store.append(
                "s",
                [Record(each) for each in data],
                expected=head.revision,
                commit_id=os.urandom(9),
            )
            assert (await store.load("s")).records == data

    asyncio.run(check())


def test_statements_hold_any_number_of_rows():
    """An INSERT of many records stays below the parameters that every SQLite allows."""
    assert statements.insert_events(statements.INSERT_ROWS).count("?") <= 999
