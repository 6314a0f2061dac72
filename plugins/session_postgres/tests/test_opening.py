"""Opening: what is refused, in which words, and what no message may show."""

import asyncio
import logging
import os
import subprocess
import sys

import pytest

from turnkeep.errors import StoreError, StoreUnavailable
from turnkeep.store import Record, new_commit_id
from turnkeep.testing.servers.postgres import PASSWORD, USER, PostgresServer
from turnkeep_session_postgres import versions
from turnkeep_session_postgres.connecting import Connector
from turnkeep_session_postgres.faults import TOO_LONG, ServerError
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore
from turnkeep_session_postgres.values import Statement


async def refused(kind, **options):
    """Open a store that cannot be opened; gives the message."""
    with pytest.raises(kind) as caught:
        await PostgresStore.open(PostgresOptions(**options))
    assert PASSWORD not in repr(caught.value)
    assert "hidden" not in repr(caught.value)
    assert caught.value.__cause__ is None or PASSWORD not in repr(caught.value.__cause__)
    return str(caught.value)


async def test_a_wrong_password_is_said_at_once(server):
    """Not tried again, and not shown."""
    url = PostgresServer.url_of(server.port, password="hidden-word")
    said = await refused(StoreUnavailable, url=url, retry_for=3600)
    assert "password authentication failed" in said
    assert f"127.0.0.1:{server.port}" in said


async def test_a_database_that_is_not_there_is_said_at_once(server):
    """With its name."""
    url = PostgresServer.url_of(server.port, database="nowhere")
    assert 'database "nowhere" does not exist' in await refused(
        StoreUnavailable, url=url, retry_for=3600
    )


async def test_a_server_that_is_not_there_is_waited_for(server):
    """For as long as retry_for says, then it is StoreUnavailable with the reason."""
    said = await refused(StoreUnavailable, url=PostgresServer.url_of(1), retry_for=0.2)
    assert "refused" in said
    assert "retry_for" in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hidden@h:port/x",
        "hidden",
        "http://hidden@x/",
        "postgresql://u:hidden/den@127.0.0.1:1/x",
        "postgresql://u:5432/hidden@127.0.0.1:1/x",
        "postgresql://u:a@hidden@127.0.0.1:1/x",
        "postgresql://u:a?hidden@127.0.0.1:1/x",
        "postgresql://u:5432?user=hidden@127.0.0.1:1/x",
        "postgres://u:hidden,a/b@h/x",
        "host=h dbname=postgresql://u:hidden@h/x",
        "host=u:hidden@h",
        "postgresql://u:\udc80hidden@h/x",
        "host=h port=hidden",
    ],
)
async def test_a_url_that_is_none_is_not_quoted(url):
    """It may hold the password, or a part of it, in the wrong place."""
    said = await refused(StoreError, url=url, retry_for=0)
    assert "%XX" in said
    assert "den" not in said


@pytest.mark.parametrize("url", ["postgresql://u%40x:p%40%2Fx@127.0.0.1:1,[::1]:1/x%40y", "host=/"])
async def test_a_url_with_escaped_characters_is_one(url):
    """What fails is the connection."""
    assert "%XX" not in await refused(StoreUnavailable, url=url, retry_for=0)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_refused(server, ask, encoding):
    """Its encoding is named, and which one to take."""
    ask(f"DROP DATABASE IF EXISTS other_{encoding}")
    ask(f"CREATE DATABASE other_{encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = PostgresServer.url_of(server.port, database=f"other_{encoding.lower()}")
    said = await refused(StoreError, url=url)
    assert encoding in said
    assert "UTF8" in said


@pytest.mark.parametrize("name", ["session", "state", "record", "record_text"])
async def test_tables_of_somebody_else_are_not_taken_for_ours(server, ask, schema, name):
    """A table under a name of ours, without a version of ours: nothing is made or changed."""
    quoted = '"' + schema.replace('"', '""') + '"'
    ask(f"CREATE SCHEMA {quoted}")
    ask(f"CREATE TABLE {quoted}.{name} (theirs text)")
    said = await refused(StoreError, url=server.url, schema=schema, search=True)
    assert f"table {name!r}" in said
    assert ask(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'") == [(1,)]
    ask(f"DROP SCHEMA {quoted} CASCADE")


async def test_without_the_right_to_make_tables_it_says_what_to_run(server, ask, schema):
    """A user who may only log in gets StoreError with the command that prints the DDL."""
    ask("DROP ROLE IF EXISTS weak")
    ask(f"CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'")
    url = server.url.replace(f"//{USER}:", "//weak:")
    said = await refused(StoreError, url=url, schema=schema)
    assert "python -m turnkeep_session_postgres ddl" in said
    said = await refused(StoreError, url=url, schema=schema, create_schema=False)
    assert "create_schema = false" in said


async def test_a_user_needs_no_more_than_the_rights_to_the_rows(server, ask, away, begin, schema):
    """With the tables there, SELECT, INSERT, UPDATE and DELETE are enough."""
    async with away():
        pass
    quoted = '"' + schema.replace('"', '""') + '"'
    ask("DROP ROLE IF EXISTS user_of_rows")
    ask(f"CREATE ROLE user_of_rows LOGIN PASSWORD '{PASSWORD}'")
    ask(f"GRANT USAGE ON SCHEMA {quoted} TO user_of_rows")
    ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {quoted} TO user_of_rows")
    url = server.url.replace(f"//{USER}:", "//user_of_rows:")
    async with away(url=url) as store:
        head = await begin(store, records=2)
        assert (await store.load("s")).head == head
        assert await store.delete("s")
    ask(f"REVOKE UPDATE ON ALL TABLES IN SCHEMA {quoted} FROM user_of_rows")
    async with away(url=url) as store:
        with pytest.raises(StoreError, match="GRANT"):
            await begin(store, records=2)
    ask("DROP OWNED BY user_of_rows")
    ask("DROP ROLE user_of_rows")


async def test_a_server_that_may_lose_acknowledged_appends_is_named(server, away, caplog):
    """fsync, full_page_writes and synchronous_commit decide the durability, and are warned of."""
    async with away() as store:
        assert store.durability == "power"
    server.stop()
    server.config = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    server.start()
    with caplog.at_level(logging.WARNING):
        async with away() as store:
            assert store.durability == "process"
    for name in server.config:
        assert f"{name} is off" in caplog.text


async def test_options_show_no_password():
    """Neither their repr nor their dump."""
    options = PostgresOptions(url="postgresql://u:hidden@h/x")
    assert "hidden" not in repr(options) + str(options.model_dump()) + options.model_dump_json()


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_a_schema_that_is_no_name_is_refused(name):
    """Empty, too long, or with NUL."""
    with pytest.raises(ValueError, match="schema"):
        PostgresOptions(schema=name)


CHILD = """
import asyncio, sys
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore
{more}
async def main():
    sys.stdin.readline()
    store = await PostgresStore.open(PostgresOptions(url=sys.argv[1], schema=sys.argv[2]))
    head = await store.create(sys.argv[3], commit_id=b"x")
    await store.close()
asyncio.run(main())
"""


@pytest.mark.prove
@pytest.mark.parametrize("more", ["", "WITHOUT_LOCKS"])
def test_eight_processes_that_start_at_once_all_succeed(postgres_url, schema, sql, more):
    """Also on a database that has no advisory locks: there they try again."""
    if more:
        more = """
from turnkeep_session_postgres import versions
async def no_locks(link): return False
versions._has_locks = no_locks
"""
    command = [sys.executable, "-c", CHILD.format(more=more), postgres_url, schema]
    started = [
        subprocess.Popen(
            [*command, f"s{number}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert sql("SELECT count(*) FROM {}.session") == [(8,)]
    assert sql("SELECT * FROM {}.schema_version") == [
        (versions.SESSIONS, versions.VERSIONS[versions.SESSIONS])
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_store_of_the_parent_is_refused_after_a_fork(opened, begin):
    """The child gets StoreError with what to do, and the parent's connections go on."""
    async with opened() as store:
        await begin(store)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            said = b"nothing"
            try:
                store.load("s").send(None)
            except StoreError as error:
                said = str(error).encode()
            finally:
                os.write(write, said)
                os._exit(0)
        os.waitpid(child, 0)
        said = os.read(read, 10_000).decode()
        os.close(read)
        os.close(write)
        assert "forked" in said
        assert (await store.load("s")).head.seq == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_store_of_the_parent_can_be_closed_after_a_fork(opened, begin):
    """The child does not wait for calls of the parent, which go on there, nor ends connections."""
    async with opened() as store:
        head = await begin(store)
        appending = asyncio.create_task(
            store.append("s", [Record(b"1")], expected=head.revision, commit_id=new_commit_id())
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if (child := os.fork()) == 0:
            ended = 1
            try:
                store.close().send(None)
            except StopIteration:
                ended = 0
            finally:
                os._exit(ended)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert (await appending).seq == 1
        assert (await store.load("s")).records == [b"1"]


async def test_a_limit_for_statements_is_one_however_short(server):
    """What rounds to no millisecond is a millisecond at the server, for which 0 is no limit."""
    options = PostgresOptions(url=server.url, statement_timeout=0.0004, pgbouncer=False)
    link = await Connector(options).connect()
    try:
        with pytest.raises(ServerError) as caught:
            await link.run(Statement("SELECT pg_sleep(0.5)"), ())
    finally:
        link.close()
    assert caught.value.sqlstate == TOO_LONG
