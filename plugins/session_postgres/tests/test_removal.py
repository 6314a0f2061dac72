"""Removing sessions that have expired: large ones in parts, however short a statement may be."""

import pytest

from turnkeep.store import new_commit_id
from turnkeep_session_postgres import removal

COUNT = "SELECT (SELECT count(*) FROM {}.session), (SELECT count(*) FROM {}.record)"


async def fill(store, begin, sql, sessions, records):
    """Make sessions that have expired."""
    for number in range(sessions):
        await begin(store, f"s{number}", ttl=3600)
    sql(
        f"INSERT INTO {{}}.record SELECT 's' || s, n, 'x' FROM generate_series(0, {sessions - 1}) s,"
        f" generate_series(1, {records}) n",
        f"UPDATE {{}}.session SET seq = {records}, expires_ms = 1",
    )


async def test_a_large_expired_session_goes_in_parts(opened, begin, sql, monkeypatch):
    """Each part is a transaction; an interrupted purge is continued by the next one."""
    monkeypatch.setattr(removal, "MOST_RECORDS", 100)
    async with opened(search=True) as store:
        await fill(store, begin, sql, 2, 1050)
        gone = await store._calls.write("", lambda link, _: store._remover.purge(link, 10))
        assert gone == (0, True)
        assert sql(COUNT) == [(2, 2000)]
        assert await store.load("s0") is None
        assert await store.purge() == 2
        assert sql(COUNT) == [(0, 0)]


async def test_an_id_whose_large_session_has_expired_is_free(opened, begin, sql, monkeypatch):
    """A create removes what is left of it, in parts too."""
    monkeypatch.setattr(removal, "MOST_RECORDS", 100)
    async with opened() as store:
        await fill(store, begin, sql, 1, 450)
        assert (await begin(store, "s0")).seq == 0
        assert sql(COUNT) == [(1, 0)]


async def test_what_is_purged_in_part_has_expired_for_every_clock(opened, begin, sql, monkeypatch):
    """A server whose clock is behind takes over: what has lost records must not come to life."""
    monkeypatch.setattr(removal, "MOST_RECORDS", 100)
    async with opened() as store:
        await fill(store, begin, sql, 1, 450)
        sql("UPDATE {}.session SET expires_ms = 1000")
        await store._calls.write("", lambda link, _: store._remover.purge(link, 10))
        assert sql(COUNT) == [(1, 350)]
    async with opened(clock="500::bigint") as store:
        assert await store.load("s0") is None
        assert (await store.list()).heads == []
        assert await store.purge() == 1
        assert sql(COUNT) == [(0, 0)]


@pytest.mark.prove
@pytest.mark.parametrize("statements", ["single", "plain"])
async def test_a_purge_gets_on_however_short_a_statement_may_be(opened, begin, sql, statements):
    """Parts that take longer than statement_timeout become smaller until they fit."""
    async with opened(statements=statements) as store:
        await fill(store, begin, sql, 3, 2000)
    sql(
        "CREATE FUNCTION {}.slowly() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.0005); RETURN OLD; END'",
        "CREATE TRIGGER slowly BEFORE DELETE ON {}.record"
        " FOR EACH ROW EXECUTE FUNCTION {}.slowly()",
    )
    async with opened(statement_timeout=0.5, statements=statements) as store:
        assert await store.purge() == 3
        assert sql(COUNT) == [(0, 0)]
        assert (await store.create("s0", commit_id=new_commit_id())).seq == 0
