"""Calls while the server is slow, away, cut off or odd; cancelled calls; hostile values."""

import asyncio
import contextlib
import logging
import os

import psycopg
import pytest

from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    StoreClosed,
    StoreError,
    StoreUnavailable,
)
from turnkeep.store import Head, Record, Revision, new_commit_id
from turnkeep.testing.servers.proxy import Proxy
from turnkeep_session_postgres import store as store_module

WAYS = ["single", "plain"]


def append(store, head, *data, **more):
    fields = {"expected": head.revision, "commit_id": new_commit_id(), **more}
    return store.append(head.session_id, [Record(each) for each in data], **fields)


@contextlib.contextmanager
def locked(url, schema, name="s"):
    """Hold the lock of a session's head, as a slow writer would."""
    with psycopg.connect(url) as connection:
        quoted = '"' + schema.replace('"', '""') + '"'
        connection.execute(f"SELECT FROM {quoted}.session WHERE id = %s FOR UPDATE", (name,))
        yield


# The pool


async def test_a_pool_in_use_makes_calls_wait_and_then_says_which_option(
    opened, begin, postgres_url, schema
):
    """With one connection busy for longer than pool_timeout the next call is StoreUnavailable."""
    async with opened(pool_size=1, pool_timeout=0.3) as store:
        head = await begin(store)
        with locked(postgres_url, schema):
            first = asyncio.create_task(append(store, head, b"1"))
            await asyncio.sleep(0.05)
            with pytest.raises(StoreUnavailable, match="pool_size") as caught:
                await store.load("s")
            assert "pool_timeout" in str(caught.value)
        assert (await first).seq == 1
        assert len((await store.load("s")).records) == 1


async def test_calls_that_wait_get_their_turn(opened, begin):
    """Forty calls share two connections."""
    async with opened(pool_size=2) as store:
        heads = [await begin(store, f"s{number}") for number in range(40)]
        after = await asyncio.gather(*[append(store, head, b"1") for head in heads])
        assert {head.seq for head in after} == {1}


async def test_idle_connections_are_closed(opened, begin, sql):
    """After pool_idle nothing of the store is connected, and the next call connects."""
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'turnkeep'"
        " AND query LIKE '%{}%'"
    )
    async with opened(pool_idle=0.2) as store:
        await begin(store)
        assert sql(count)[0][0] >= 1
        while sql(count)[0][0]:
            await asyncio.sleep(0.05)
        assert (await store.load("s")).head.seq == 0


# Connections that end


@pytest.mark.parametrize("statements", WAYS)
async def test_an_append_whose_answer_is_lost_is_written_once(away, server, begin, statements):
    """The connection is cut in the answer, at any byte: it is repeated, and kept once."""
    async with Proxy(server.port) as proxy, away(proxy.port, statements=statements) as store:
        head = await begin(store, state=b"0")
        for number in range(12):
            proxy.cut_answer(after=number * 7)
            head = await append(store, head, b"%d" % number, state=b"%d" % number)
            assert head.seq == head.revision.version == number + 1
        assert proxy.cuts == 12
        found = await store.load("s")
        assert list(found.records) == [b"%d" % number for number in range(12)]


@pytest.mark.parametrize("statements", WAYS)
async def test_other_writes_whose_answer_is_lost_are_done_once(away, server, begin, statements):
    """Create, fork, erase, delete and purge: repeated, with the same answer."""
    async with Proxy(server.port) as proxy, away(proxy.port, statements=statements) as store:
        for number in range(8):
            name = f"s{number}"
            proxy.cut_answer(after=number)
            head = await store.create(name, commit_id=new_commit_id())
            head = await append(store, head, b"1", b"2")
            proxy.cut_answer(after=number)
            fork = await store.fork(
                name,
                f"f{number}",
                upto=1,
                incarnation=head.revision.incarnation,
                commit_id=new_commit_id(),
            )
            assert (fork.seq, fork.revision.version) == (1, 0)
            proxy.cut_answer(after=number)
            head = await store.erase(
                name, {1: b"x"}, expected=head.revision, commit_id=new_commit_id()
            )
            assert head.revision.version == 2
            assert (await store.load(name)).records == [b"x", b"2"]
            proxy.cut_answer(after=number)
            assert await store.delete(name, expected=head.revision)
            assert await store.load(name) is None
        assert proxy.cuts == 32


async def test_a_delete_whose_answer_is_lost_spares_a_session_begun_anew(away, server, begin):
    """Repeating it removes only the life that it began to remove."""
    async with (
        Proxy(server.port) as proxy,
        away() as other,
        away(proxy.port, pgbouncer=True, pool_size=1) as store,
    ):  # COMMIT is sent as such
        await begin(store)
        proxy.cut_answer(after=0, of=b"\0COMMIT\0")
        proxy.refuse()
        deleting = asyncio.create_task(store.delete("s"))
        while await other.load("s") is not None:
            await asyncio.sleep(0.01)
        new = await begin(other)
        proxy.refuse(False)
        assert await deleting
        assert (await other.load("s")).head == new


async def test_a_lost_answer_and_another_writer_is_no_conflict(away, server, begin):
    """Whether it was kept cannot be told from the head any more: StoreUnavailable says so."""
    async with (
        Proxy(server.port) as proxy,
        away() as other,
        away(proxy.port, pgbouncer=True, pool_size=1) as store,
    ):  # in one round trip
        head = await begin(store)
        proxy.cut_answer(after=0)
        proxy.refuse()
        appending = asyncio.create_task(append(store, head, b"mine"))
        while (found := await other.load("s")).head.seq == 0:
            await asyncio.sleep(0.01)
        await append(other, found.head, b"theirs")
        proxy.refuse(False)
        with pytest.raises(StoreUnavailable, match="unknown"):
            await appending
        assert (await store.load("s")).records == [b"mine", b"theirs"]


async def test_a_server_that_stays_away_is_given_up(away, server, begin):
    """After retry_for it is StoreUnavailable, with what is known of the outcome."""
    async with Proxy(server.port) as proxy, away(proxy.port, retry_for=0.3) as store:
        head = await begin(store)
        proxy.refuse()
        proxy.cut_all()
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable, match="nothing was kept"):
            await append(store, head, b"1")
        proxy.refuse(False)
        assert (await append(store, head, b"1")).seq == 1


async def test_a_server_that_says_nothing_is_given_up(away, server, begin):
    """After statement_timeout the connection is cut; a thawed server has kept it once."""
    async with away(statement_timeout=0.3, connect_timeout=0.3, retry_for=0.3) as store:
        head = await begin(store)
        server.freeze()
        try:
            key = new_commit_id()
            with pytest.raises(StoreUnavailable, match="unknown"):
                await append(store, head, b"1", commit_id=key)
        finally:
            server.thaw()
        assert (await append(store, head, b"1", commit_id=key)).seq == 1
        assert (await store.load("s")).records == [b"1"]


async def test_a_statement_that_takes_too_long_is_undone(opened, begin, postgres_url, schema):
    """The server's own limit comes first: StoreUnavailable names the option, nothing is kept."""
    async with opened(statement_timeout=0.2) as store:
        head = await begin(store)
        with (
            locked(postgres_url, schema),
            pytest.raises(StoreUnavailable, match="statement_timeout"),
        ):
            await append(store, head, b"1")
        assert (await append(store, head, b"1")).seq == 1


async def test_prepared_statements_that_a_pooler_loses_are_done_without(
    opened, begin, bouncer_url, schema, sql, caplog
):
    """Told wrongly that there is no pooler, the store finds out, says so and goes on."""
    async with opened(url=bouncer_url, pgbouncer=False) as store:
        head = await begin(store)
        with caplog.at_level(logging.WARNING):
            for number in range(40):
                others = [store.load("s") for _ in range(6)]
                head, *_ = await asyncio.gather(append(store, head, b"%d" % number), *others)
        assert head.seq == 40
        assert store._calls._connector.pooled
        assert "pgbouncer = true" in caplog.text


# Cancelled calls


async def test_a_cancelled_append_has_settled_when_it_leaves(opened, begin, postgres_url, schema):
    """It waits for the end, however often it is cancelled; then all of it is there."""
    async with opened() as store:
        head = await begin(store)
        with locked(postgres_url, schema):
            appending = asyncio.create_task(append(store, head, b"1"))
            for _ in range(3):
                await asyncio.sleep(0.03)
                appending.cancel()
            assert not appending.done()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert (await store.load("s")).records == [b"1"]


async def test_a_cancelled_load_leaves_at_once(opened, begin, sql):
    """It ends by itself, and close waits for it."""
    async with opened() as store:
        await begin(store)
        sql("BEGIN", "LOCK TABLE {}.session IN ACCESS EXCLUSIVE MODE")
        loading = asyncio.create_task(store.load("s"))
        await asyncio.sleep(0.05)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        sql("ROLLBACK")
        await closing
        with pytest.raises(StoreClosed):
            await store.load("s")


# Values


async def test_numbers_that_no_session_has_are_refused_as_such(opened, begin):
    """However large they are."""
    async with opened() as store:
        head = await begin(store, records=2)
        huge = 2**80
        ahead = head._replace(revision=Revision(head.revision.incarnation, huge))
        with pytest.raises(SessionConflict):
            await append(store, ahead, b"x")
        for base in (huge, -huge, 3):
            with pytest.raises(ValueError, match="base"):
                await append(store, head, base=base)
        fields = {"expected": head.revision, "commit_id": new_commit_id()}
        with pytest.raises(ValueError, match="record"):
            await store.erase("s", {huge: b"x"}, **fields)
        assert (await store.load("s", after=huge)).records == []
        assert len((await store.load("s", after=0, limit=huge)).records) == 2
        assert (await store.load("s", known=ahead.revision)).head == head
        with pytest.raises(SessionConflict):
            await store.fork(
                "s",
                "t",
                upto=huge,
                incarnation=head.revision.incarnation,
                commit_id=new_commit_id(),
            )


async def test_a_write_larger_than_a_message_is_refused(opened, begin, monkeypatch):
    """With a sentence, before anything is sent."""
    monkeypatch.setattr(store_module, "MAX_BYTES", 1000)
    async with opened() as store:
        head = await begin(store)
        with pytest.raises(StoreError, match="in parts"):
            await append(store, head, b"x" * 1001)
        for wrong in ({"state": b"x" * 600, "meta": b"x" * 600}, {"state": b"x" * 1001}):
            with pytest.raises(StoreError, match="in parts"):
                await append(store, head, **wrong)
        with pytest.raises(StoreError, match="in parts"):
            await begin(store, "t", state=b"x" * 1001)
        with pytest.raises(StoreError, match="in parts"):
            await store.fork(
                "s",
                "t",
                upto=0,
                incarnation=head.revision.incarnation,
                meta=b"x" * 1001,
                commit_id=new_commit_id(),
            )
        with pytest.raises(StoreError, match="in parts"):
            fields = {"expected": head.revision, "commit_id": new_commit_id()}
            await store.erase("s", {}, state=b"x" * 1001, **fields)
        assert (await store.load("s")).head == head


async def test_what_each_record_takes_besides_its_bytes_counts(opened, begin, monkeypatch):
    """Many small ones are more than their bytes: in the message, and as the server unpacks them."""
    monkeypatch.setattr(store_module, "MAX_BYTES", 1000)
    async with opened(search=True) as store:
        head = await append(store, await begin(store), *[b""] * 200)
        assert head.seq == 200
        fields = {"expected": head.revision, "commit_id": new_commit_id()}
        with pytest.raises(StoreError, match="in parts"):
            await append(store, head, *[b"x"] * 200)
        with pytest.raises(StoreError, match="in parts"):
            await append(store, head, *[b""] * 251)
        with pytest.raises(StoreError, match="in parts"):
            await store.append("s", [Record(b"", "x")] * 200, **fields)
        with pytest.raises(StoreError, match="in parts"):
            await store.erase("s", dict.fromkeys(range(1, 101), b""), **fields)
        assert (await store.load("s")).head == head


async def test_records_come_in_order_whatever_the_plan(opened, begin, postgres_url):
    """Also where the server reads them in the order in which they lie on the disk."""
    url = f"{postgres_url}?options=-c%20enable_indexscan%3Doff%20-c%20enable_indexonlyscan%3Doff"
    async with opened(url=url) as store:
        head = await begin(store, records=300)
        fields = {"expected": head.revision, "commit_id": new_commit_id()}
        await store.erase("s", {7: b"moved"}, **fields)
        records = (await store.load("s", after=0)).records
        assert list(records) == [b"moved" if n == 7 else b"%d" % n for n in range(1, 301)]


async def test_a_record_that_the_server_cannot_read_is_named(away, server, begin, ask, schema):
    """Damage in the server's own files is CorruptSession with the seq, not a failed call."""
    async with away() as store:
        head = await begin(store, records=2)
        await append(store, head, os.urandom(20_000), b"4")
        quoted = '"' + schema.replace('"', '""') + '"'
        [(path,)] = ask(
            "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class"
            f" WHERE oid = '{quoted}.record'::regclass"
        )
    server.stop()
    file = server.data / path
    file.write_bytes(bytes(file.stat().st_size))
    server.start()
    async with away() as store:
        with pytest.raises(CorruptSession) as caught:
            await store.load("s", after=0)
        assert (caught.value.session_id, caught.value.seq) == ("s", 3)
        assert (await store.load("s", after=3)).records == [b"4"]


async def test_a_state_that_is_missing_is_named(opened, begin, sql):
    """Seq 0 stands for what is no record; a known revision needs no state."""
    async with opened() as store:
        head = await begin(store)
        sql("DELETE FROM {}.state")
        with pytest.raises(CorruptSession) as caught:
            await store.load("s")
        assert caught.value.seq == 0
        assert isinstance((await store.load("s", known=head.revision)).head, Head)


async def test_tables_that_were_dropped_meanwhile_are_said(opened, begin, sql):
    """StoreError with what is missing, not an error of the driver."""
    async with opened() as store:
        head = await begin(store)
        sql("DROP TABLE {}.record")
        with pytest.raises(StoreError, match="dropped"):
            await append(store, head, b"1")


async def test_ids_are_bytes_even_where_the_database_sorts_by_a_language(server, away, begin, ask):
    """Forms of one letter are different ids; of one moment, a list has them by their bytes."""
    names = ["é", "e\u0301", "E", "e", "ß", "ss", "İ", "i", "f", "z", "Z"]
    ask("DROP DATABASE IF EXISTS german")
    ask(
        "CREATE DATABASE german LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C' ENCODING 'UTF8'"
        " TEMPLATE template0"
    )
    url = server.url_of(server.port, database="german")
    with psycopg.connect(url, autocommit=True) as connection:
        in_german = "SELECT n FROM unnest(%s::text[]) AS u (n) ORDER BY n"
        rows = connection.execute(in_german, (names,)).fetchall()
        assert [name for (name,) in rows] != sorted(names, key=str.encode)
        async with away(url=url, schema="s") as store:
            for name in names:
                await begin(store, name, user_id="u")
            connection.execute("UPDATE s.session SET created_ms = 1000")
            for user in ("u", None):
                pages, cursor = [], None
                while True:
                    page = await store.list(user_id=user, limit=4, cursor=cursor)
                    pages += [head.session_id for head in page.heads]
                    if (cursor := page.cursor) is None:
                        break
                assert pages == sorted(names, key=str.encode)
