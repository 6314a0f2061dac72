"""Faults amid a running load: the server killed, frozen, full; connections cut and ended."""

import asyncio
import os
import shutil
import subprocess

import pytest

from turnkeep.errors import StoreUnavailable
from turnkeep.store import Record, new_commit_id
from turnkeep.testing.servers.postgres import PgBouncer
from turnkeep.testing.servers.proxy import Proxy

pytestmark = pytest.mark.prove

WAYS = ["single", "plain"]


@pytest.mark.parametrize("statements", WAYS)
async def test_a_server_that_is_killed_loses_nothing_acknowledged(
    away, server, loads, report, statements
):
    """SIGKILL to all of it and a new start, five times: no error is seen, and nothing is lost."""
    async with away(retry_for=60, statements=statements) as store:
        load = loads(store)
        await load.begin()
        async with load.running():
            for _ in range(5):
                await load.progress()
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.start)
            await load.progress()
        await load.check()
        assert load.unknown == 0
        report(f"5 kills of the server, {statements}: {load.appends} appends, none lost")


async def test_a_server_killed_behind_a_pooler_loses_nothing_acknowledged(
    away, server, loads, report
):
    """PgBouncer stays, and says of a server that is away what it says: it is tried again."""
    if PgBouncer.program() is None:
        pytest.skip("needs pgbouncer (`make servers` installs it)")
    bouncer = PgBouncer(server, pool_size=3)
    bouncer.start()
    try:
        async with away(url=bouncer.url, retry_for=60, statement_timeout=10) as store:
            load = loads(store)
            await load.begin()
            async with load.running():
                for _ in range(3):
                    await load.progress()
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(server.start)
                await load.progress()
            await load.check()
            assert load.unknown == 0
            report(f"3 kills behind PgBouncer: {load.appends} appends, none lost")
    finally:
        bouncer.stop()


async def test_a_failover_to_a_replica_loses_nothing_acknowledged(away, server, loads, report):
    """The primary is killed, its replica promoted: the url's other host goes on with the writes."""
    replica = server.replica()
    url = (
        f"{server.url}?target_session_attrs=read-write"
        # Nothing is acknowledged that the replica has not on its disk.
        "&options=-c%20synchronous_commit%3Don"
    ).replace(f":{server.port}/", f":{server.port},127.0.0.1:{replica.port}/")
    server.stop()
    server.config = {**server.config, "synchronous_standby_names": "*"}
    server.start()
    replica.start()
    try:
        async with away(url=url, retry_for=60, connect_timeout=5) as store:
            load = loads(store)
            await load.begin()
            async with load.running():
                await load.progress()
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(replica.promote)
                await load.progress()
            await load.check()
            assert load.unknown == 0
            report(f"failover to a replica: {load.appends} appends, none lost")
    finally:
        replica.stop()


async def test_a_server_that_stays_down_is_told_and_loses_nothing(away, server, loads):
    """Down for longer than retry_for: StoreUnavailable, and each outcome is one of two."""
    async with away(retry_for=0.2) as store:
        load = loads(store)
        await load.begin()
        async with load.running():
            for _ in range(3):
                await load.progress()
                seen = load.unknown
                await asyncio.to_thread(server.kill)
                while load.unknown == seen:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(server.start)
            await load.progress()
        await load.check()


@pytest.mark.parametrize("statements", WAYS)
async def test_cut_answers_lose_and_double_nothing(away, server, loads, report, statements):
    """Two hundred answers are cut, each at another byte."""
    async with (
        Proxy(server.port) as proxy,
        away(proxy.port, retry_for=60, statements=statements) as store,
    ):
        load = loads(store)
        await load.begin()
        async with load.running():
            for number in range(200):
                proxy.cut_answer(after=number % 90)
                while proxy.cuts <= number:
                    await asyncio.sleep(0.001)
                if number % 20 == 19:
                    proxy.cut_all()
                    await load.progress(20)
        await load.check()
        assert load.unknown == 0
        report(f"200 cut answers, {statements}: {load.appends} appends, none lost or doubled")


async def test_a_server_that_is_frozen_for_five_seconds_is_waited_for(away, server, loads, report):
    """Shorter limits than that: connections are cut and made anew; nothing is lost or doubled."""
    async with away(statement_timeout=0.5, connect_timeout=1, retry_for=60) as store:
        load = loads(store)
        await load.begin()
        async with load.running():
            await load.progress()
            await asyncio.to_thread(server.freeze)
            await asyncio.sleep(5)
            await asyncio.to_thread(server.thaw)
            await load.progress()
        await load.check()
        assert load.unknown == 0
        report(f"frozen for 5 s: {load.appends} appends, none lost or doubled")


async def test_an_administrator_who_ends_all_connections_is_not_noticed(away, loads, ask, report):
    """pg_terminate_backend on every connection, ten times."""
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'turnkeep'"
    )
    async with away(retry_for=60) as store:
        load = loads(store)
        await load.begin()
        ended = 0
        async with load.running():
            for _ in range(10):
                await load.progress(50)
                ended += (await asyncio.to_thread(ask, end))[0][0]
            await load.progress()
        await load.check()
        assert load.unknown == 0
        assert ended >= 10
        report(f"{ended} connections ended by the administrator: {load.appends} appends kept")


async def test_a_server_without_room_for_connections_is_waited_for(away, server, loads, ask):
    """max_connections is reached: the calls wait until there is room."""
    server.stop()
    server.config = {
        **server.config,
        "max_connections": "12",
        "superuser_reserved_connections": "0",
    }
    server.start()
    async with away(retry_for=60, pool_size=8) as store, away(retry_for=60, pool_size=8) as other:
        first, second = loads(store), loads(other, "t")
        await first.begin()
        await second.begin()
        async with first.running(), second.running():
            await first.progress()
            await second.progress()
        await first.check()
        await second.check()
        assert first.unknown == second.unknown == 0
    assert "too many clients" in server.log


async def test_a_standby_is_not_written_to(away, server, loads):
    """A server that has turned read-only is left; when it takes writes again, they go on."""
    async with away(retry_for=60) as store:
        load = loads(store)
        await load.begin()
        async with load.running():
            await load.progress()
            await asyncio.to_thread(server.stop)
            server.config = {**server.config, "default_transaction_read_only": "on"}
            await asyncio.to_thread(server.start)
            before = load.appends
            await asyncio.sleep(1)
            assert load.appends <= before + load.SESSIONS
            await asyncio.to_thread(server.stop)
            del server.config["default_transaction_read_only"]
            await asyncio.to_thread(server.start)
            await load.progress()
        await load.check()
        assert load.unknown == 0


@pytest.fixture
def small_disk(tmp_path, server):
    """A file system of 8 MB that the server may write to; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() != "root" or folder.stat().st_mode & 0o077 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "turnkeep", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system (root)")
    shutil.chown(place, server.data.owner())
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_is_told_and_loses_nothing(away, server, begin, ask, schema, small_disk):
    """StoreUnavailable says what to do, nothing partial is kept, and with room it goes on."""
    quoted = '"' + schema.replace('"', '""') + '"'
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    async with away() as store:
        ask(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        try:
            ask(f"ALTER TABLE {quoted}.record SET TABLESPACE small")
            head = await begin(store, state=b"0")
            refused = 0
            while refused < 3:
                number = head.revision.version + 1
                records = [Record(os.urandom(30_000)) for _ in range(3)]
                fields = {"expected": head.revision, "commit_id": new_commit_id()}
                try:
                    head = await store.append("s", records, state=b"%d" % number, **fields)
                except StoreUnavailable as error:
                    assert "disk is full" in str(error)
                    refused += 1
                    found = await store.load("s", limit=1)
                    assert found.head == head
                    assert found.state == b"%d" % head.revision.version
            assert head.revision.version > 3
            ballast.unlink()
            for number in range(5):
                head = await store.append(
                    "s", [Record(b"%d" % number)], expected=head.revision, commit_id=new_commit_id()
                )
            found = await store.load("s", after=0)
            assert len(found.records) == head.seq
        finally:
            ask(f"DROP SCHEMA {quoted} CASCADE")
            ask("DROP TABLESPACE small")
