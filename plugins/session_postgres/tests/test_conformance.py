"""The conformance suite of core on PostgreSQL: by default, by plain statements, by PgBouncer."""

from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

import pytest

from turnkeep.testing.conformance import StoreConformance
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.statements import CLOCK
from turnkeep_session_postgres.store import PostgresStore
from turnkeep_session_postgres.versions import SESSIONS, VERSIONS

pytest_plugins = ["turnkeep.testing.plugin"]

TABLES = ("session", "state", "record")


@asynccontextmanager
async def open_store(url, schema, clock=CLOCK, **options):
    store = await PostgresStore.open(
        PostgresOptions(url=url, schema=schema, **options), clock=clock
    )
    try:
        yield store
    finally:
        await store.close()


class PostgresConformance(StoreConformance):
    """What the store shows however it is set up."""

    OPTIONS: ClassVar[dict] = {}
    TABLES = TABLES

    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url

    @pytest.fixture
    def opener(self, url, schema, sql):
        return partial(open_store, url, schema, **self.OPTIONS)

    @pytest.fixture
    def skewed_opener(self, url, schema, sql):
        return partial(open_store, url, schema, clock=f"({CLOCK} - 3600000)", **self.OPTIONS)

    @pytest.fixture
    def count_stored(self, sql):
        counts = " + ".join(f"(SELECT count(*) FROM {{}}.{table})" for table in self.TABLES)
        return lambda: sql(f"SELECT {counts}")[0][0]

    @pytest.fixture
    def read_raw(self, sql):
        """All values, as any statement could see them; what files keep, the README says."""

        def read():
            rows = [sql(f"SELECT * FROM {{}}.{table}") for table in self.TABLES]
            values = [value for table in rows for row in table for value in row]
            return b"\0".join(
                value if isinstance(value, bytes) else str(value).encode() for value in values
            )

        return read

    @pytest.fixture
    def make_newer(self, sql):
        version = VERSIONS[SESSIONS] + 1
        return lambda: sql(f"UPDATE {{}}.schema_version SET version = {version}")

    @pytest.fixture
    def make_older(self, sql):
        # What a schema of version 0 lacks.
        return lambda: sql(
            "DROP INDEX {}.session_by_age", "UPDATE {}.schema_version SET version = 0"
        )

    @pytest.fixture
    def damage(self, sql):
        delete = "DELETE FROM {}.record WHERE session_id = %s AND seq = %s"
        return lambda session_id, seq: sql((delete, (session_id, seq)))


class TestPostgres(PostgresConformance):
    """One statement a write."""


@pytest.mark.prove
class TestSearching(PostgresConformance):
    """Texts are kept, too."""

    OPTIONS: ClassVar[dict] = {"search": True}
    TABLES = (*TABLES, "record_text")


@pytest.mark.prove
class TestSearchingPlain(TestSearching):
    """The same in transactions of simple statements."""

    OPTIONS: ClassVar[dict] = {"search": True, "statements": "plain"}


@pytest.mark.prove
class TestPlainStatements(PostgresConformance):
    """A transaction of simple statements a write."""

    OPTIONS: ClassVar[dict] = {"statements": "plain"}


class ThroughPgBouncer(PostgresConformance):
    """Connections to the server change from transaction to transaction."""

    @pytest.fixture
    def url(self, bouncer_url):
        return bouncer_url


@pytest.mark.prove
class TestPgBouncer(ThroughPgBouncer):
    """It is found out."""


@pytest.mark.prove
class TestPgBouncerPlain(ThroughPgBouncer):
    """It is told, and each write is a transaction."""

    OPTIONS: ClassVar[dict] = {"statements": "plain", "pgbouncer": True}
