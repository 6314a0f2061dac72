"""A Cluster: the conformance suite, slots that move, a node that is replaced by its replica."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis import Redis
from redis.crc import key_slot

from turnkeep.testing.conformance import StoreConformance
from turnkeep.testing.servers.redis import RedisCluster
from turnkeep_session_redis.keys import Keys
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

pytestmark = pytest.mark.prove
pytest_plugins = ["turnkeep.testing.plugin"]


@asynccontextmanager
async def open_redis(url, prefix):
    store = await open_store(RedisOptions(url=url, prefix=prefix))
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="module")
def cluster(redis_url):
    """Three nodes."""
    group = RedisCluster()
    group.start()
    yield group
    group.kill()


class TestCluster(StoreConformance):
    @pytest.fixture
    def opener(self, cluster, prefix):
        return partial(open_redis, cluster.url, prefix)

    @pytest.fixture
    def count_stored(self, cluster, prefix):
        def count():
            total = 0
            for port in cluster.ports:
                with Redis(port=port) as client:
                    for key in client.scan_iter(f"{prefix}:[saux]*", count=1000):
                        total += client.llen(key) if b":s:" in key else client.zcard(key)
            return total

        return count


async def test_a_cluster_is_noticed_behind_a_plain_url(cluster, prefix):
    """redis:// of one of its nodes is enough."""
    async with open_redis(cluster.nodes[1].url, prefix) as store:
        for number in range(30):
            await store.create(f"s{number}", commit_id=b"c", ttl=60)
        assert len((await store.list()).heads) == 30
        for number in range(30):
            assert await store.delete(f"s{number}")


async def test_a_slot_that_moves_loses_and_doubles_nothing(started, under_load):
    """There and back, with writers on it: sessions, indexes and new sessions go on."""
    group = started("cluster")
    slot = key_slot(Keys("{one}").session("s0"))  # all keys of the prefix are in one slot

    async def hurt():
        home = group.owner(slot)
        for to in (1, 2, 0, 1, 2, 0):
            # Rests amid the move, so that writers meet every state of it.
            await asyncio.to_thread(group.move_slot, slot, (home + to) % 3, between=_rest, keys=1)
            await asyncio.sleep(0.1)

    assert await under_load(group.url, hurt, prefix="{one}") > 100


def _rest():
    import time

    time.sleep(0.05)


async def test_sessions_begin_in_a_slot_that_is_on_the_move(started):
    """One key holds a session whole, so nothing waits for the end of the move."""
    group = started("cluster")
    slot = key_slot(Keys("{one}").session("s"))
    store = await open_store(RedisOptions(url=group.url, prefix="{one}", retry_for=0))
    try:
        await store.create("before", commit_id=b"c")
        source, target = group.owner(slot), (group.owner(slot) + 1) % 3
        group.nodes[target].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", group._id(source))
        group.nodes[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", group._id(target))
        for number in range(20):
            head = await store.create(f"s{number}", commit_id=b"c", user_id="u")
            head = await store.append(
                f"s{number}", [], expected=head.revision, commit_id=b"a", state=b"s"
            )
        assert (await store.load("before")).head.seq == 0
        assert len((await store.list(user_id="u")).heads) == 20
    finally:
        await store.close()


async def test_a_store_opens_while_a_node_is_away(started, caplog):
    """Sessions of the others are at hand; what the one away keeps could not be asked, and is told."""
    group = started("cluster")
    away = next(
        number
        for number in range(3)
        if number not in {group.owner(0), group.owner(key_slot(Keys("p").format))}
    )
    store = await open_store(RedisOptions(url=group.url, prefix="p"))
    await store.close()
    for node in group.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    group.nodes[away].kill()
    here = next(
        name
        for name in map(str, range(100))
        if group.owner(key_slot(Keys("p").session(name))) != away
    )
    store = await open_store(RedisOptions(url=group.url, prefix="p"))
    try:
        await store.create(here, commit_id=b"c")
        assert store.durability == "process"
        assert "cannot be asked" in caplog.text
    finally:
        await store.close()


async def test_a_node_is_replaced_by_its_replica(started, under_load):
    """With wait_replicas = 1 nothing acknowledged is lost; the other nodes' sessions go on."""
    group = started("cluster", replicas=1)
    slot = key_slot(Keys("turnkeep").session("s0"))
    victim = group.nodes[group.owner(slot)]

    async def hurt():
        await asyncio.to_thread(victim.kill)
        replica = group.replicas[group.owner(slot)]
        while replica.info("replication")["role"] != "master":
            await asyncio.sleep(0.1)
        await asyncio.to_thread(victim.start)

    assert await under_load(group.url, hurt, wait_replicas=1) > 100
