"""The SQL on real tables: which keys it uses, what an append leaves alone, what is imported when."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from turnkeep.store import Record, new_commit_id
from turnkeep_session_postgres import queries
from turnkeep_session_postgres.statements import CLOCK, Statements

CHANGE = "'s', 1, '\\x00', '\\x01', NULL, NULL"


def plan(sql, schema, statement, values):
    """How the server carries a statement out, once tables are too large to read whole."""
    types = (
        [
            str(each)
            for each in sql(
                (
                    f"SELECT {', '.join(['%s::oid::regtype::text'] * len(statement.types))}",
                    statement.types,
                )
            )[0]
        ]
        if statement.types
        else []
    )
    name = f"p{os.urandom(4).hex()}"
    head = f"PREPARE {name} ({', '.join(types)}) AS" if types else f"PREPARE {name} AS"
    sql(f"{head} {statement.text.decode().replace('{', '{{').replace('}', '}}')}")
    call = f"EXECUTE {name}({values})" if types else f"EXECUTE {name}"
    return json.loads(json.dumps(sql(f"EXPLAIN (FORMAT JSON) {call}")[0][0]))[0]["Plan"]


def nodes(plan):
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


async def fill(opened, begin, sql, **options):
    """Make tables so large that reading one whole is the worst way."""
    async with opened(**options) as store:
        await begin(store, "s", records=1)
    sql(
        "INSERT INTO {}.session SELECT 's' || n, 'u' || n %% 10, '', 0, 50, 0, '', n, n, "
        "CASE WHEN n %% 3 = 0 THEN n END, NULL, '' FROM generate_series(1, 5000) n".replace(
            "%%", "%"
        ),
        "INSERT INTO {}.state SELECT 's' || n, '' FROM generate_series(1, 5000) n",
        "INSERT INTO {}.record SELECT 's' || n % 100, n, 'x' FROM generate_series(1, 50000) n",
        "ANALYZE {}.session, {}.state, {}.record",
    )


HOT_PATH = {
    "load": (lambda sql: sql.load, "'s', NULL, 1000"),
    "load tail": (lambda sql: sql.load_unless, "'s', 20, 1000, 1, '\\x00'"),
    "append": (
        lambda sql: sql.append(state=False, ttl=False, texts=False),
        f"{CHANGE}, ARRAY['\\x01'::bytea]",
    ),
    "append with all": (
        lambda sql: sql.append(state=True, ttl=True, texts=False),
        f"{CHANGE}, ARRAY['\\x01'::bytea], 60000, '\\x02'",
    ),
    "plain append": (lambda sql: sql.append_head(ttl=False), f"{CHANGE}, 1"),
}


@pytest.mark.parametrize("name", list(HOT_PATH))
async def test_the_hot_path_reads_by_primary_keys_only(opened, begin, sql, schema, name):
    """Each table is reached through its primary key; nothing is sorted or read whole."""
    await fill(opened, begin, sql)
    statement, values = HOT_PATH[name]
    sql("SET plan_cache_mode = force_generic_plan")
    found = list(nodes(plan(sql, schema, statement(Statements(schema)), values)))
    kinds = {each["Node Type"] for each in found}
    assert not kinds & {"Seq Scan", "Sort", "Hash Join"}, kinds
    used = {each["Index Name"] for each in found if "Index Name" in each}
    assert used <= {"session_pkey", "state_pkey", "record_pkey"}
    assert "session_pkey" in used


@pytest.mark.parametrize("of_user", [True, False])
@pytest.mark.parametrize("continued", [True, False])
async def test_listing_walks_an_index(opened, begin, sql, schema, of_user, continued):
    """A page is read along an index, whatever the number of sessions; no user's are sorted."""
    await fill(opened, begin, sql)
    statement, names = queries.listing(schema, CLOCK, of_user=of_user, continued=continued)
    values = {"user": "'u1'", "created": "4000", "after": "'s'", "rows": "10"}
    found = list(nodes(plan(sql, schema, statement, ", ".join(values[name] for name in names))))
    used = {each["Index Name"] for each in found if "Index Name" in each}
    assert used == {"session_by_user" if of_user else "session_by_age"}
    assert "Sort" not in {each["Node Type"] for each in found}


async def test_purging_walks_the_expiry_index(opened, begin, sql, schema):
    """What has expired is found without looking at what has not."""
    await fill(opened, begin, sql)
    found = list(nodes(plan(sql, schema, Statements(schema).expired, "10")))
    assert {each["Index Name"] for each in found if "Index Name" in each} == {"session_by_expiry"}


async def test_an_append_without_ttl_touches_no_index_of_heads(opened, begin, sql):
    """The server counts the updates of heads that stayed on their page: all but a few."""
    async with opened() as store:
        heads = [await begin(store, f"s{number}") for number in range(5)]
        for number in range(200):
            head = heads[number % 5]
            heads[number % 5] = await store.append(
                head.session_id,
                [Record(b"x" * 500)],
                expected=head.revision,
                commit_id=new_commit_id(),
                meta=b"m" * (100 + number % 50),
            )
    for _ in range(100):  # the server counts a little later
        [(updates, hot)] = sql(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relid = '{}.session'::regclass"
        )
        if updates == 200:
            break
        await asyncio.sleep(0.1)
    assert updates == 200
    assert hot >= 190


async def test_a_stored_head_holds_no_state(opened, begin, sql):
    """A state of any size is not written again by an append that leaves it as it is."""
    async with opened() as store:
        head = await begin(store, "s", state=b"s" * 1500)
        before = sql("SELECT xmin::text, ctid::text FROM {}.state")
        await store.append("s", [], expected=head.revision, commit_id=new_commit_id())
        assert sql("SELECT xmin::text, ctid::text FROM {}.state") == before


LIGHT = """
import sys, turnkeep_session_postgres.plugin
assert not {'sqlalchemy', 'psycopg', 'asyncio'} & set(sys.modules), set(sys.modules)
""".replace(", 'asyncio'", "")

HOT = """
import asyncio, sys
from turnkeep.store import Record
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore

async def main():
    store = await PostgresStore.open(PostgresOptions(url=sys.argv[1], schema=sys.argv[2]))
    head = (await store.load("s")).head
    await store.append("s", [Record(b"3")], expected=head.revision, commit_id=b"x")
    await store.create("t", commit_id=b"y", ttl=1)
    await store.delete("t")
    await store.purge()
    print(len((await store.load("s")).records))
    await store.close()

asyncio.run(main())
assert "sqlalchemy" not in sys.modules
"""


def test_the_plugin_module_is_light():
    """Importing the plugin's face loads neither SQLAlchemy nor psycopg."""
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


async def test_existing_tables_need_no_sqlalchemy(opened, begin, postgres_url, schema):
    """Opening, creating, appending, loading and deleting import it only where tables are made."""
    async with opened() as store:
        await begin(store, records=2)
    command = [sys.executable, "-c", HOT, postgres_url, schema]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert done.stdout == b"3\n"


def test_the_ddl_is_printed_for_an_administrator(sql, schema):
    """`ddl` prints what makes the tables, and a store that may make none then opens."""
    command = [sys.executable, "-m", "turnkeep_session_postgres", "ddl", "--schema", schema]
    printed = subprocess.run([*command, "--search"], capture_output=True, check=True, text=True)
    sql(printed.stdout.replace("{", "{{"))
    assert sql("SELECT component FROM {}.schema_version ORDER BY 1") == [("search",), ("sessions",)]


PERCENT = ["100%", "a%%b", "%(user)s"]
"""Names that a driver with parameters of the form %s would take for more than names."""


@pytest.mark.parametrize("schema", PERCENT)
async def test_a_schema_may_have_a_percent_sign_in_its_name(opened, begin, sql, schema):
    """Its tables are made, written, read, listed and searched like others."""
    async with opened(search=True) as store:
        head = await begin(store, user_id="u")
        said = [Record(b"1", "hello world")]
        await store.append("s", said, expected=head.revision, commit_id=new_commit_id())
        assert (await store.load("s")).records == [b"1"]
        assert [each.session_id for each in (await store.list(user_id="u")).heads] == ["s"]
        assert [each.seq for each in (await store.search("hello")).hits] == [1]
    assert sql("SELECT seq FROM {}.session") == [(1,)]


@pytest.mark.parametrize("schema", PERCENT)
def test_the_ddl_of_a_schema_with_a_percent_sign_is_for_that_schema(sql, schema):
    """Not for one with two of them."""
    command = [sys.executable, "-m", "turnkeep_session_postgres", "ddl", "--schema", schema]
    printed = subprocess.run([*command, "--search"], capture_output=True, check=True, text=True)
    sql(*printed.stdout.strip().removesuffix(";").split(";\n"))
    assert sql("SELECT count(*) FROM {}.record_text") == [(0,)]
