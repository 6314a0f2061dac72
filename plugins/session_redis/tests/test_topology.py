"""Finding the owners of slots: shared, side by side, and not for longer than wanted."""

import asyncio

import pytest
from redis.exceptions import AuthenticationError

from turnkeep.errors import StoreUnavailable
from turnkeep_session_redis import topology
from turnkeep_session_redis.faults import NotConnected
from turnkeep_session_redis.link import Link
from turnkeep_session_redis.place import Address, parse_place
from turnkeep_session_redis.topology import Cluster

SLOTS = [[0, 16_383, [b"owner", 7000, b"id"]]]


class Nodes:
    """Stands for servers: each says nothing, or what it is told to."""

    def __init__(self):
        self.asked = []
        self.said = {}

    def __getitem__(self, address):
        return _Node(self, address.host)


class _Node:
    def __init__(self, nodes, host):
        self._nodes = nodes
        self._host = host

    async def ask(self, *command):
        self._nodes.asked.append(self._host)
        said = self._nodes.said.get(self._host)
        if said is None:
            await asyncio.Event().wait()
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def cluster(nodes, monkeypatch):
    monkeypatch.setattr(topology, "STAGGER", 0.001)
    return Cluster(parse_place("redis+cluster://a,b,c"), nodes, 0.05)


async def test_many_looks_at_once_share_one_and_its_failure(nodes, cluster):
    """Twenty calls while all nodes are frozen: each node is asked once, and all hear of it."""
    found = await asyncio.gather(*(cluster.look() for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in found} == {NotConnected}
    assert "a:6379: no answer within 0.05 s" in str(found[0])
    assert nodes.asked == ["a", "b", "c"]
    nodes.said["a"] = SLOTS
    await asyncio.gather(*(cluster.look() for _ in range(20)))
    assert nodes.asked == ["a", "b", "c", "a"]
    assert cluster.of_key(b"any") == Address("owner", 7000)


async def test_a_node_that_says_nothing_holds_up_nobody(nodes, cluster, monkeypatch):
    """The next is asked soon after, at once where one has failed."""
    nodes.said = {"c": SLOTS}
    await cluster.look()
    assert cluster.primaries() == [Address("owner", 7000)]
    monkeypatch.setattr(topology, "STAGGER", 3600)
    nodes.said = {"owner": NotConnected("refused"), "a": [], "b": SLOTS}
    await cluster.look()
    assert nodes.asked == ["a", "b", "c", "owner", "a", "b"]


async def test_who_told_the_owners_last_is_asked_last(nodes, cluster, monkeypatch):
    """A node that is cut off from the others tells what was: its word leads back to it."""
    monkeypatch.setattr(topology, "STAGGER", 3600)
    nodes.said = {
        "a": [[0, 16_383, [b"a", 6379, b"id"]]],
        "b": [[0, 16_383, [b"b", 6379, b"id"]]],
    }
    await cluster.look()
    assert cluster.of_key(b"any") == Address("a", 6379)
    await cluster.look()
    assert cluster.of_key(b"any") == Address("b", 6379)


async def test_nodes_that_all_fail_are_named(nodes, cluster):
    """Each with its fault; a login that is refused is told as that."""
    nodes.said = {"a": NotConnected("refused"), "b": [], "c": OSError("broken")}
    with pytest.raises(NotConnected, match=r"a:6379: refused; b:6379: knows no slots; c:.*broken"):
        await cluster.look()
    nodes.said["b"] = AuthenticationError("WRONGPASS")
    with pytest.raises(AuthenticationError):
        await cluster.look()


async def test_who_stops_waiting_does_not_end_the_look_of_others(nodes, cluster):
    """A cancelled call leaves it to the rest."""
    first, second = (asyncio.create_task(cluster.look()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    nodes.said = dict.fromkeys("bc", SLOTS)
    await second
    assert cluster.of_key(b"any") == Address("owner", 7000)


async def test_a_call_looks_no_longer_than_it_may_be_repeated(nodes, monkeypatch):
    """Its deadline holds for the look, too, however long a server may take for an answer."""
    made = Cluster(parse_place("redis+cluster://a,b"), nodes, 3600)
    made._owners = [Address("a", 6379)] * topology.SLOTS
    link = Link(made, nodes, retry_for=0.1, timeout=3600, connections=1)
    calls = []

    async def broken(*given, **more):
        calls.append(given)
        raise NotConnected("refused")

    monkeypatch.setattr(link, "_once", broken)
    with pytest.raises(StoreUnavailable):
        await link.call(b"key", ("GET", b"key"))
    assert len(calls) == 2
    await made.close()
