"""What an opened server is asked about itself: whether it will do, and what it keeps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from turnkeep.errors import StoreError
from turnkeep.store import Durability
from turnkeep_session_redis.faults import Connection, is_passing, reason
from turnkeep_session_redis.keys import FORMAT, Keys
from turnkeep_session_redis.link import Link
from turnkeep_session_redis.place import Address

OLDEST: Final = (6, 2)
"""Redis, or what a server says it is compatible with."""

_logger = logging.getLogger("turnkeep.session_redis")


async def is_cluster(link: Link, address: Address) -> bool:
    """Tell whether a server is a node of a Cluster, and refuse one that is too old."""
    try:
        text: bytes = (await link.call(b"", ("INFO", "server"))).value
    except StoreError as error:
        if not isinstance(error.__cause__, RedisError) or is_passing(error.__cause__):
            raise
        if "info" not in str(error.__cause__).lower():
            raise
        _logger.info("%s does not say its version (INFO is not allowed)", address)
        return False
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    said = {name: value for name, _, value in lines}
    version = said.get("redis_version", "")
    if (numbers := _numbers(version)) and numbers < OLDEST:
        raise StoreError(
            f"{link.topology.place} is version {version}; this store needs Redis 6.2 or newer, or "
            "a server that is compatible with it, such as Valkey"
        )
    return said.get("redis_mode") == "cluster"


async def check_format(link: Link, keys: Keys) -> None:
    """Refuse sessions that a newer version has written, and mark the prefix as ours."""
    found = (await link.call(keys.format, ("GET", keys.format))).value
    if found is None:  # not at once: a server that takes no writes can be read, and deleted from
        await link.call(keys.format, ("SETNX", keys.format, FORMAT))
        found = (await link.call(keys.format, ("GET", keys.format))).value
    if found is None or not found.isdigit():
        raise StoreError(
            f"the prefix {keys.prefix!r} in {link.topology.place} belongs to another program: "
            "choose another one in [session.redis]"
        )
    if int(found) > FORMAT:
        raise StoreError(
            f"the sessions under the prefix {keys.prefix!r} in {link.topology.place} have format "
            f"{int(found)}, and this version of turnkeep-session-redis knows up to {FORMAT}: "
            "upgrade it, or choose another prefix"
        )


async def durability(link: Link) -> Durability:
    """Ask all primaries what they keep, warn of what loses sessions; the weakest counts.

    One that does not answer now is no reason not to open: others may have all that is wanted.
    """
    order: Sequence[Durability] = ("none", "process", "power")
    found = [await _of_one(link, address) for address in link.topology.primaries()]
    return min(found, key=order.index, default="process")


async def _of_one(link: Link, address: Address) -> Durability:
    try:
        said = {
            name: await _setting(link, address, name)
            for name in ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
        }
    except (RedisError, *Connection) as error:
        if is_passing(error):
            _logger.warning(
                "%s cannot be asked whether it keeps sessions over a restart: %s",
                address,
                reason(error),
            )
            return "process"
        _logger.info(
            "%s does not tell its settings (%s): that it keeps sessions over a restart, and evicts "
            "none, is for its operator to see to (appendonly, maxmemory-policy)",
            address,
            reason(error),
        )
        return "process"
    policy = said["maxmemory-policy"]
    if policy.startswith(("allkeys", "volatile")):
        _logger.warning(
            "%s evicts keys when its memory is full (maxmemory-policy %s, maxmemory %s), and with "
            "them sessions: set maxmemory-policy noeviction",
            address,
            policy,
            said["maxmemory"] if said["maxmemory"] != "0" else "not set",
        )
    if said["appendonly"] == "yes":
        return "power" if said["appendfsync"] == "always" else "process"
    if said["save"]:
        _logger.warning(
            "%s keeps snapshots only (save %s): its end, or the machine's, loses what came after "
            "the last one; set appendonly yes",
            address,
            said["save"],
        )
        return "process"
    _logger.warning(
        "%s keeps nothing on disk: its end loses all sessions; set appendonly yes", address
    )
    return "none"


async def _setting(link: Link, address: Address, name: str) -> str:
    found: Sequence[bytes] = await link.nodes[address].ask("CONFIG", "GET", name)
    return found[1].decode() if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
