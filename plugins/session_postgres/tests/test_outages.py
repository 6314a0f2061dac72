"""Outages and cancelled calls: silent hosts, a pool in use, values of a wrong type."""

import asyncio
import contextlib
import logging

import psycopg
import pytest

from turnkeep.errors import SessionNotFound, StoreUnavailable
from turnkeep.store import Record, Revision, new_commit_id
from turnkeep.testing.servers.proxy import Proxy
from turnkeep_session_postgres import outcomes
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore

WAYS = ["single", "plain"]


def append(store, head, *data, **more):
    fields = {"expected": head.revision, "commit_id": new_commit_id(), **more}
    return store.append(head.session_id, [Record(each) for each in data], **fields)


@contextlib.contextmanager
def all_locked(url, schema, names=None):
    """Hold the locks of some heads, or that of their table."""
    quoted = '"' + schema.replace('"', '""') + '"'
    with psycopg.connect(url) as connection:
        if names is None:
            connection.execute(f"LOCK TABLE {quoted}.session IN ACCESS EXCLUSIVE MODE")
        else:
            where = "WHERE id = ANY(%s) FOR UPDATE"
            connection.execute(f"SELECT FROM {quoted}.session {where}", (list(names),))
        yield


# Connections


@pytest.mark.parametrize("statements", WAYS)
async def test_a_value_of_a_wrong_type_spoils_no_connection(opened, begin, statements):
    """It is a TypeError, and the next call, by the only connection there may be, is fine."""
    async with opened(pool_size=1, statements=statements) as store:
        head = await begin(store)
        for wrong in ({"state": "text"}, {"meta": "text"}, {"commit_id": "text"}):
            with pytest.raises(TypeError):
                await append(store, head, b"1", **wrong)
            assert (await store.load("s")).head == head
        assert (await append(store, head, b"1")).seq == 1


async def test_a_connection_that_two_calls_use_is_closed_and_both_are_repeated(opened, begin):
    """Their answers could not be told apart."""
    async with opened(pool_size=2) as store:
        head = await begin(store)
        link = await store._calls.pool.take()
        store._calls.pool.give(link)
        store._calls.pool._idle.append(link)  # as a fault of the pool would
        loads = await asyncio.gather(store.load("s"), store.load("s"))
        assert [found.head for found in loads] == [head, head]
        assert not link.alive
        store._calls.pool._count += 1


async def test_a_silent_first_host_is_passed_over(away, server):
    """Each host of the url has connect_timeout for itself."""
    async with Proxy(server.port) as proxy:
        proxy.hold()
        hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{server.port}"
        url = server.url.replace(f"127.0.0.1:{server.port}", hosts)
        async with away(url=url, connect_timeout=2, retry_for=0) as store:
            assert await store.load("s") is None
        assert proxy.connections >= 1


# The pool


async def test_an_append_in_doubt_says_so_where_no_connection_comes_free(
    away, server, begin, ask, schema
):
    """Its answer was lost, and another call has the only connection: the outcome is unknown."""
    async with (
        Proxy(server.port) as proxy,
        away(proxy.port, pool_size=1, pool_timeout=0.1, retry_for=1, pgbouncer=True) as store,
    ):
        mine, other = await begin(store, "mine"), await begin(store, "other")
        with all_locked(server.url, schema, ["other"]):
            proxy.cut_answer(after=0)
            appending = asyncio.create_task(append(store, mine, b"1"))
            await asyncio.sleep(0)
            blocking = asyncio.create_task(append(store, other, b"1"))
            retrying = store._calls
            retrying.pool.wait = 60  # the second call gets its turn
            with pytest.raises(StoreUnavailable, match="unknown") as caught:
                await appending
            assert "retry_for" in str(caught.value)
            assert "pool_size" not in str(caught.value)
        assert (await blocking).seq == 1


async def test_a_full_pool_amid_an_outage_is_not_called_too_small(away, server, begin):
    """No call has had an answer while this one waited: the server is what it names first."""
    async with (
        Proxy(server.port) as proxy,
        away(proxy.port, pool_size=1, pool_timeout=0.2) as store,
    ):
        head = await begin(store)
        proxy.hold()
        appending = asyncio.create_task(append(store, head, b"1"))
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable, match="the server is slow or away"):
            await store.load("s")
        proxy.release()
        assert (await appending).seq == 1


# Cancelled calls


async def test_cancelled_calls_leave_the_queue_for_a_connection(
    opened, begin, postgres_url, schema
):
    """A live call behind a hundred cancelled ones waits for none of them."""
    async with opened(pool_size=1, pool_timeout=3600) as store:
        head = await begin(store)
        with all_locked(postgres_url, schema, ["s"]):
            first = asyncio.create_task(append(store, head, b"1"))
            await asyncio.sleep(0.05)
            loads = [asyncio.create_task(store.load("s")) for _ in range(100)]
            loads += [asyncio.create_task(append(store, head, b"x")) for _ in range(100)]
            await asyncio.sleep(0.05)
            for each in loads:
                each.cancel()
            await asyncio.wait(loads)
            assert all(each.cancelled() for each in loads)
            await asyncio.sleep(0)
            assert len(store._calls._tasks) == 1
            assert not store._calls.pool._queue
        assert (await first).seq == 1
        assert (await store.load("s")).records == [b"1"]


@pytest.mark.parametrize("way", ["refuse", "hold"])
async def test_a_cancelled_load_does_not_wait_for_a_server_that_is_away(away, server, begin, way):
    """In a pause between two tries, or while it connects, it ends at once; so does closing."""
    async with (
        Proxy(server.port) as proxy,
        away(proxy.port, retry_for=3600, connect_timeout=60 if way == "hold" else 2) as store,
    ):
        await begin(store)
        getattr(proxy, way)()
        proxy.cut_all()
        loading = asyncio.create_task(store.load("s"))
        while proxy.connections < (3 if way == "refuse" else 2):
            await asyncio.sleep(0.01)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        await store.close()


async def test_opening_can_be_cancelled(server):
    """While it waits for a server that is away, and while another makes the tables."""
    waiting = PostgresOptions(url=server.url_of(1), retry_for=3600)
    opening = asyncio.create_task(PostgresStore.open(waiting))
    await asyncio.sleep(0.1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (0x7475726E_6B656570,))
        opening = asyncio.create_task(
            PostgresStore.open(PostgresOptions(url=server.url, schema="never made"))
        )
        find = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while connection.execute(find).fetchone() == (0,):
            await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    with psycopg.connect(server.url) as connection:
        find = "SELECT count(*) FROM pg_namespace WHERE nspname = 'never made'"
        assert connection.execute(find).fetchone() == (0,)


async def test_a_cancelled_append_whose_outcome_stays_unknown_is_logged(
    away, server, begin, caplog
):
    """The caller gets CancelledError; the log tells which session it was."""
    async with (
        Proxy(server.port) as proxy,
        away(proxy.port, statement_timeout=0.2, retry_for=0, pgbouncer=True) as store,
    ):
        head = await begin(store)
        proxy.hold()
        appending = asyncio.create_task(append(store, head, b"1"))
        await asyncio.sleep(0.05)
        with caplog.at_level(logging.WARNING):
            appending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await appending
        proxy.release()
    assert "appending to session 's'" in caplog.text
    assert "unknown" in caplog.text


# Sessions that go meanwhile


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("way", ["fork", "erase"])
async def test_a_session_deleted_meanwhile_is_not_called_damaged(
    opened, begin, monkeypatch, way, again
):
    """Between the reads of its head and of its records it goes: it is not found, or another."""
    async with opened() as store, opened() as other:
        head = await begin(store, records=2)
        find, reads = outcomes.find, []

        async def find_and_go(*args):
            found = await find(*args)
            if args[2] == "s" and not reads:
                reads.append(1)
                await other.delete("s")
                if again:
                    await begin(other)
            return found

        async def refuse(*_):
            return None

        monkeypatch.setattr(outcomes, "find", find_and_go)
        monkeypatch.setattr(store._dialect, way, refuse)
        fields = {"commit_id": new_commit_id()}
        with pytest.raises(outcomes.SessionConflict if again else SessionNotFound):
            if way == "fork":
                of = head.revision.incarnation
                await store.fork("s", "t", upto=2, incarnation=of, **fields)
            else:
                expected = Revision(*head.revision)
                await store.erase("s", {1: b"x"}, expected=expected, **fields)
        assert reads
