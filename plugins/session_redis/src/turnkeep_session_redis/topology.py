"""Which server has a key: the only one, the primary that Sentinel names, or a slot's owner."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from redis.crc import key_slot

from turnkeep_session_redis.faults import NotConnected, is_login, reason
from turnkeep_session_redis.node import Reply
from turnkeep_session_redis.nodes import Nodes
from turnkeep_session_redis.place import Address, Place

SLOTS: Final = 16_384
STAGGER: Final = 0.1
"""Seconds after which the next node of a Cluster is asked, too, for the owners of slots."""

Owners: TypeAlias = list["Address | None"]


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
        raise NotConnected(f"no sentinel names a primary ({'; '.join(faults)})")

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        await self._sentinels.close()


class Cluster:
    """The owner of a key's slot."""

    def __init__(self, place: Place, nodes: Nodes, timeout: float) -> None:
        self.place = place
        self._nodes = nodes
        self._timeout = timeout
        self._owners: Owners = []
        self._told: Address | None = None
        """Who told the owners last."""
        self._looking: asyncio.Task[None] | None = None

    def of_key(self, key: bytes) -> Address | None:
        """Give the owner of the key's slot."""
        return self._owners[key_slot(key)] if self._owners else None

    def primaries(self) -> Sequence[Address]:
        """Give the owners of all slots."""
        return sorted({owner for owner in self._owners if owner is not None})

    async def look(self) -> None:
        """Ask a node, any that answers, for the owners of all slots.

        Many at once ask once, and have its answer or failure; it takes `timeout` at most.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
            self._looking.add_done_callback(_see)
        await asyncio.shield(self._looking)

    def moved(self, key: bytes, to: Address) -> None:
        """Take note that a slot has another owner."""
        if self._owners:
            self._owners[key_slot(key)] = to

    async def close(self) -> None:
        """End a look that nobody waits for any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        """Ask one node after the other, each some time after the last, until one has answered.

        Whose word led here comes last: a node that is cut off from the others tells what was.
        """
        addresses = list(dict.fromkeys([*self.primaries(), *self.place.addresses]))
        addresses.sort(key=lambda address: address == self._told)
        asked: dict[asyncio.Task[Owners], Address] = {}
        faults: dict[Address, str] = {}
        try:
            async with asyncio.timeout(self._timeout):
                for number, address in enumerate(addresses):
                    asked[asyncio.create_task(self._ask(address))] = address
                    last = number == len(addresses) - 1
                    if await self._answered(asked, faults, None if last else STAGGER):
                        return
        except TimeoutError:
            late = f"no answer within {self._timeout:g} s"
            faults |= dict.fromkeys((each for each in addresses if each not in faults), late)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        said = "; ".join(f"{address}: {fault}" for address, fault in faults.items())
        raise NotConnected(f"no node tells the owners of slots ({said})")

    async def _answered(
        self,
        asked: dict[asyncio.Task[Owners], Address],
        faults: dict[Address, str],
        patience: float | None,
    ) -> bool:
        """Wait until a node has told the owners, or a while, or until all have failed.

        With patience, that the last one has failed is enough: the next one is asked at once.
        """
        loop = asyncio.get_running_loop()
        deadline = None if patience is None else loop.time() + patience
        *_, newest = asked
        while waiting := [task for task, address in asked.items() if address not in faults]:
            if deadline is not None and newest not in waiting:
                return False
            limit = None if deadline is None else deadline - loop.time()
            done, _ = await asyncio.wait(
                waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return False
            for task in done:
                if (error := task.exception()) is None:
                    if owners := task.result():
                        self._owners, self._told = owners, asked[task]
                        return True
                    faults[asked[task]] = "knows no slots"
                elif is_login(error):
                    raise error
                else:
                    faults[asked[task]] = reason(error)
        return False

    async def _ask(self, address: Address) -> Owners:
        return _owners(await self._nodes[address].ask("CLUSTER", "SLOTS"), address)


def _see(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # seen, also where all who waited were cancelled


def _owners(found: Reply, asked: Address) -> Owners:
    owners: Owners = [None] * SLOTS
    for first, last, primary, *_ in found:
        # A node that does not know its own name says none, or "?": it is the one that we asked.
        host = (primary[0] or b"").decode()
        owner = Address(asked.host if host in {"", "?"} else host, int(primary[1]))
        owners[first : last + 1] = [owner] * (last - first + 1)
    return owners if found else []
