"""Opening a store: which kind of servers there are, and whether they will do."""

from __future__ import annotations

from turnkeep_session_redis.health import check_format, durability, is_cluster
from turnkeep_session_redis.keys import Keys
from turnkeep_session_redis.link import Link
from turnkeep_session_redis.nodes import Login, Nodes
from turnkeep_session_redis.options import RedisOptions
from turnkeep_session_redis.place import Place
from turnkeep_session_redis.store import RedisStore
from turnkeep_session_redis.topology import Cluster, Sentinel, Single, Topology


async def open_store(options: RedisOptions) -> RedisStore:
    """Open a store. Raises StoreUnavailable, and StoreError for what is not ours to use."""
    place = options.place()
    link = _link(options, place)
    try:
        if await is_cluster(link, place.addresses[0]) and place.kind == "single":
            await link.close()
            link = _link(options, place._replace(kind="cluster"))
        keys = Keys(options.prefix)
        await check_format(link, keys)
        return RedisStore(
            link,
            keys,
            durability=await durability(link),
            list_all=options.list_all,
            wait_replicas=options.wait_replicas,
            rewrite_after_erase=options.rewrite_after_erase,
        )
    except BaseException:
        await link.close()
        raise


def _link(options: RedisOptions, place: Place) -> Link:
    login = Login(
        username=place.username,
        password=place.password,
        database=place.database,
        tls=place.tls,
        tls_ca=options.tls_ca,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        timeout=options.timeout,
        connections=options.max_connections,
    )
    nodes = Nodes(login)
    topology: Topology
    if place.kind == "sentinel":
        secret = options.sentinel_password
        watcher = Login(
            username=options.sentinel_username,
            password=None if secret is None else secret.get_secret_value(),
            tls=place.tls,
            tls_ca=options.tls_ca,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            timeout=min(options.timeout, 1.0),
        )
        topology = Sentinel(place, nodes, Nodes(watcher))
    elif place.kind == "cluster":
        topology = Cluster(place, nodes, options.timeout)
    else:
        topology = Single(place, nodes)
    return Link(
        topology,
        nodes,
        retry_for=options.retry_for,
        timeout=options.timeout,
        connections=options.max_connections,
    )
