"""Fixtures: a schema of its own in a real server for each test, and a look into it past the store.

Coroutine tests are run by the workspace's conftest.py, which starts the server as well.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from turnkeep.store import Head, Record
from turnkeep.testing.servers.postgres import PASSWORD, PgBouncer, PostgresServer
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore

Opener = Callable[..., AbstractAsyncContextManager[PostgresStore]]
Sql = Callable[..., list[tuple]]


@asynccontextmanager
async def open_store(url: str, schema: str, clock: str | None = None, **options: object):
    """Open the store; picklable, for other processes."""
    made = PostgresOptions(**{"url": url, "schema": schema, **options})
    more = {} if clock is None else {"clock": clock}
    store = await PostgresStore.open(made, **more)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="session")
def bouncer_url(postgres_url: str) -> Iterator[str]:
    """Give the URL of a PgBouncer in transaction mode before the server, with three connections."""
    if PASSWORD not in postgres_url:
        pytest.skip("needs a PostgreSQL server that the tests start themselves")
    if PgBouncer.program() is None:
        pytest.skip("needs pgbouncer (`make servers` installs it)")
    bouncer = PgBouncer(urlsplit(postgres_url).port, pool_size=3)
    bouncer.start()
    yield bouncer.url
    bouncer.stop()


@pytest.fixture
def schema() -> str:
    """The name of the test's own schema; it is awkward on purpose."""
    return f'Test "{os.urandom(6).hex()}"'


@pytest.fixture
def sql(postgres_url: str, schema: str) -> Iterator[Sql]:
    """Run statements as an administrator; gives the rows of the last. {} stands for the schema."""
    quoted = '"' + schema.replace('"', '""') + '"'

    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def run(*statements: str | tuple[str, tuple]) -> list[tuple]:
            rows = []
            for each in statements:
                text, values = (each, None) if isinstance(each, str) else each
                done = connection.execute(text.replace("{}", quoted), values)
                rows = done.fetchall() if done.description else []
            return rows

        yield run
        connection.execute(f"DROP SCHEMA IF EXISTS {quoted} CASCADE")


@pytest.fixture
def opened(postgres_url: str, schema: str, sql: Sql) -> Opener:
    """Give a context manager that opens the store in the test's schema."""

    @asynccontextmanager
    async def open_it(**options: object) -> AsyncIterator[PostgresStore]:
        async with open_store(**{"url": postgres_url, "schema": schema, **options}) as store:
            yield store

    return open_it


@pytest.fixture
def begin() -> Callable[..., object]:
    """Create a session and append some records to it, each its own number."""

    async def make(store: PostgresStore, name: str = "s", records: int = 0, **more: object) -> Head:
        head = await store.create(name, commit_id=os.urandom(16), **more)
        if records:
            data = [Record(b"%d" % (number + 1)) for number in range(records)]
            head = await store.append(name, data, expected=head.revision, commit_id=os.urandom(16))
        return head

    return make


@pytest.fixture(scope="session")
def one_server() -> Iterator[PostgresServer]:
    """Give a server for tests that stop it, freeze it and change its settings."""
    if (program := PostgresServer.program()) is None:
        pytest.skip("needs postgres and initdb (`make servers` installs them)")
    server = PostgresServer(program=program)
    yield server
    server.stop()


@pytest.fixture
def server(one_server: PostgresServer) -> Iterator[PostgresServer]:
    """Give that server, running, with the settings of every test."""
    settings = dict(one_server.config)
    if not one_server.running:
        one_server.start()
    yield one_server
    if one_server.config != settings:
        one_server.stop()
        one_server.config = settings


@pytest.fixture
def away(server: PostgresServer, schema: str) -> Opener:
    """Give a context manager that opens the store on that server, or by another port."""

    @asynccontextmanager
    async def open_it(port: int | None = None, **options: object) -> AsyncIterator[PostgresStore]:
        url = server.url_of(port or server.port)
        async with open_store(**{"url": url, "schema": schema, **options}) as store:
            yield store

    return open_it


@pytest.fixture
def ask(server: PostgresServer) -> Sql:
    """Run a statement on that server as an administrator; gives its rows."""

    def run(statement: str, **more: object) -> list[tuple]:
        with psycopg.connect(server.url, autocommit=True, **more) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    return run
