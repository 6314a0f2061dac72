"""Which server has a key: the only one, the primary that Sentinel names, or a slot's owner."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from turnkeep_session_redis.faults import is_login, reason
from turnkeep_session_redis.node import Reply
from turnkeep_session_redis.nodes import Nodes
from turnkeep_session_redis.place import Address, Place

SLOTS: Final = 16_384


class Topology(Protocol):
    """Answers where to go. Raises what redis-py raises where it cannot be found out."""

    place: Place

    def of_key(self, key: bytes) -> Address | None:
        """Give the server of a key, None before the first `look`."""
        ...

    def primaries(self) -> Sequence[Address]:
        """Give all servers that have keys."""
        ...

    async def look(self) -> None:
        """Find out anew."""
        ...

    def moved(self, key: bytes, to: Address) -> None:
        """Take note of what a server said about a key's place."""
        ...

    async def close(self) -> None:
        """Let go of connections that are for finding out."""
        ...


class Single:
    """One server."""

    def __init__(self, place: Place, nodes: Nodes) -> None:
        self.place = place
        self._nodes = nodes
        [self._address] = place.addresses

    def of_key(self, key: bytes) -> Address:  # noqa: ARG002  # as the protocol has it
        """Give the server."""
        return self._address

    def primaries(self) -> Sequence[Address]:
        """Give the server."""
        return [self._address]

    async def look(self) -> None:
        """Connect anew: the host's name may stand for another server now."""
        await self._nodes[self._address].drop_idle()

    def moved(self, key: bytes, to: Address) -> None:
        """Do nothing: it is said by a Cluster only."""

    async def close(self) -> None:
        """Do nothing."""


class Sentinel:
    """The primary of a service. Each new connection asks the sentinels for it.

    Not only the first one: a primary that failed and came back would be taken for what it was by
    a client that just connects to it again.
    """

    def __init__(self, place: Place, nodes: Nodes, sentinels: Nodes) -> None:
        self.place = place
        self._nodes = nodes
        self._sentinels = sentinels
        self._order = list(place.addresses)
        self._service = Address(place.service, 0)
        nodes.follow(self._service, self)

    def of_key(self, key: bytes) -> Address:  # noqa: ARG002  # as the protocol has it
        """Give the service."""
        return self._service

    def primaries(self) -> Sequence[Address]:
        """Give the service."""
        return [self._service]

    async def look(self) -> None:
        """Connect anew, which asks the sentinels."""
        await self._nodes[self._service].drop_idle()

    def moved(self, key: bytes, to: Address) -> None:
        """Do nothing: it is said by a Cluster only."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Ask the sentinels."""
        faults = []
        for address in list(self._order):
            try:
                found = await self._sentinels[address].ask(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service_name
                )
            except Exception as error:  # another one may answer
                if is_login(error):
                    raise
                faults.append(f"{address}: {reason(error)}")
                continue
            if found is None:
                faults.append(f"{address}: knows no service of this name")
                continue
            self._order.remove(address)
            self._order.insert(0, address)
            return found[0].decode(), int(found[1])
        raise RedisConnectionError(f"no sentinel names a primary ({'; '.join(faults)})")

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        await self._sentinels.close()


class Cluster:
    """The owner of a key's slot."""

    def __init__(self, place: Place, nodes: Nodes) -> None:
        self.place = place
        self._nodes = nodes
        self._owners: list[Address | None] = []
        self._looking = asyncio.Lock()
        self._looks = 0

    def of_key(self, key: bytes) -> Address | None:
        """Give the owner of the key's slot."""
        return self._owners[key_slot(key)] if self._owners else None

    def primaries(self) -> Sequence[Address]:
        """Give the owners of all slots."""
        return sorted({owner for owner in self._owners if owner is not None})

    async def look(self) -> None:
        """Ask a node, any that answers, for the owners of all slots; many at once ask once."""
        looks = self._looks
        async with self._looking:
            if self._looks != looks:
                return
            await self._look()
            self._looks += 1

    def moved(self, key: bytes, to: Address) -> None:
        """Take note that a slot has another owner."""
        if self._owners:
            self._owners[key_slot(key)] = to

    async def close(self) -> None:
        """Do nothing."""

    async def _look(self) -> None:
        faults = []
        for address in dict.fromkeys([*self.primaries(), *self.place.addresses]):
            try:
                found = await self._nodes[address].ask("CLUSTER", "SLOTS")
            except Exception as error:  # another one may answer
                if is_login(error):
                    raise
                faults.append(f"{address}: {reason(error)}")
                continue
            if owners := _owners(found, address):
                self._owners = owners
                return
            faults.append(f"{address}: knows no slots")
        raise RedisConnectionError(f"no node tells the owners of slots ({'; '.join(faults)})")


def _owners(found: Reply, asked: Address) -> list[Address | None]:
    owners: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_ in found:
        # A node that does not know its own name says none, or "?": it is the one that we asked.
        host = (primary[0] or b"").decode()
        owner = Address(asked.host if host in {"", "?"} else host, int(primary[1]))
        owners[first : last + 1] = [owner] * (last - first + 1)
    return owners if found else []
