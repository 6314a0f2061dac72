"""Calls to whichever server has a key, repeated with patience while that helps.

A call that writes may be repeated after its answer was lost, because each script knows its own
commit, or does no harm twice. A call that is late, behind one that timed out, is fenced by the
revision that it expects.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import AskError, MovedError, NoScriptError, ResponseError

from turnkeep.errors import StoreUnavailable
from turnkeep_session_redis.faults import (
    TooFewReplicas,
    explain,
    is_lost,
    is_moved_on,
    is_passing,
    told,
)
from turnkeep_session_redis.node import Command, Node, Reply
from turnkeep_session_redis.nodes import Nodes, redirected
from turnkeep_session_redis.place import Address
from turnkeep_session_redis.scripts import WRITTEN, Script
from turnkeep_session_redis.topology import Topology

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.5
REDIRECTIONS: Final = 8
"""So often in a row a call follows where it is sent to, before it pauses."""


class Answer(NamedTuple):
    """What a server said; `lost` tells that an earlier try may have been done without an answer."""

    value: Reply
    lost: bool


class Link:
    """Calls of one store. At most `connections` run at a time."""

    def __init__(
        self,
        topology: Topology,
        nodes: Nodes,
        *,
        retry_for: float,
        timeout: float,
        connections: int,
    ) -> None:
        self.topology = topology
        self.nodes = nodes
        self.retry_for = retry_for
        self._timeout = timeout
        self._connections = connections
        self._gate = asyncio.Semaphore(connections)

    async def run(self, script: Script, key: bytes, *arguments: Any, replicas: int = 0) -> Answer:
        """Run a script on the server of its key. Raises StoreUnavailable, StoreError."""
        return await self.call(key, ("EVALSHA", script.sha, 1, key, *arguments), script, replicas)

    async def call(
        self,
        key: bytes,
        command: Command,
        script: Script | None = None,
        replicas: int = 0,
    ) -> Answer:
        """Send a command to the server of a key; repeats it while that may help."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.retry_for
        pause, hops, lost = FIRST_PAUSE, 0, False
        asking: Address | None = None
        while True:
            address = asking or self.topology.of_key(key)
            try:
                if address is None:
                    address = await self._find(key)
                value = await self._once(
                    address, command, script, replicas, deadline, asking=asking is not None
                )
            except MovedError as error:
                asking, hops = None, hops + 1
                fault: Exception = error
                self.topology.moved(key, redirected(error, address))  # type: ignore[arg-type]  # asked
            except AskError as error:
                asking, hops = redirected(error, address), hops + 1  # type: ignore[arg-type]  # asked
                fault = error
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  # told apart below
                asking, hops, fault = None, REDIRECTIONS, error
                lost = lost or is_lost(error)
            else:
                return Answer(value, lost)
            if not is_passing(fault):
                raise explain(fault, self.topology.place, lost=lost) from told(fault)
            if hops < REDIRECTIONS:
                continue
            hops = 0
            wait = random.uniform(pause / 2, pause)  # noqa: S311  # jitter, no secret
            pause = min(2 * pause, LONGEST_PAUSE)
            if loop.time() + wait > deadline:
                raise explain(fault, self.topology.place, lost=lost) from told(fault)
            await asyncio.sleep(wait)
            if is_moved_on(fault):
                await self._look(deadline)

    async def many(self, calls: Sequence[tuple[bytes, Command, Script | None]]) -> list[Reply]:
        """Send commands for many keys, those of one server in one go.

        What was not answered at once is tried by itself. Raises nothing: errors stand among the
        answers.
        """
        answers: list[Reply] = [None] * len(calls)
        groups: dict[Address | None, list[int]] = defaultdict(list)
        for number, (key, _, _) in enumerate(calls):
            groups[self.topology.of_key(key)].append(number)

        async def group(address: Address | None, numbers: list[int]) -> None:
            found: Sequence[Any] = [None] * len(numbers)
            redo = set(numbers)
            away: StoreUnavailable | None = None
            if address is not None:
                try:
                    found = await self._together(address, [calls[number][1] for number in numbers])
                    redo = {
                        number
                        for number, answer in zip(numbers, found, strict=True)
                        if isinstance(answer, Exception)
                    }
                except StoreUnavailable as error:
                    away = error  # all connections are busy, and were waited for
                except Exception:  # noqa: BLE001  # each is tried by itself
                    redo = set(numbers)
            for number, answer in zip(numbers, found, strict=True):
                if number not in redo:
                    answers[number] = answer
                    continue
                key, command, script = calls[number]
                if away is not None:
                    answers[number] = away  # it was waited for already
                    continue
                try:
                    answers[number] = (await self.call(key, command, script)).value
                except StoreUnavailable as error:
                    answers[number] = away = error
                except Exception as error:  # noqa: BLE001  # given to the caller
                    answers[number] = error

        await asyncio.gather(*(group(address, numbers) for address, numbers in groups.items()))
        return answers

    async def once(self, key: bytes, commands: Sequence[Command]) -> list[Reply] | None:
        """Send commands for a key over one connection; None unless all were answered at once."""
        if (address := self.topology.of_key(key)) is None:
            return None
        try:
            answers = await self._together(address, commands)
        except Exception:  # noqa: BLE001  # the caller asks in another way
            return None
        return None if any(isinstance(each, Exception) for each in answers) else answers

    async def close(self) -> None:
        """Close every connection."""
        await self.topology.close()
        await self.nodes.close()

    async def _find(self, key: bytes) -> Address:
        await self.topology.look()
        if (address := self.topology.of_key(key)) is None:
            raise ResponseError("CLUSTERDOWN a slot has no owner")
        return address

    async def _look(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.topology.look()
        except Exception as error:  # noqa: BLE001  # told apart below
            if not is_passing(error):
                raise explain(error, self.topology.place) from told(error)

    async def _once(
        self,
        address: Address,
        command: Command,
        script: Script | None,
        replicas: int,
        deadline: float,
        *,
        asking: bool,
    ) -> Reply:
        node = self.nodes[address]
        await self._turn(deadline)
        try:
            if not asking and not replicas:
                try:
                    return await node.ask(*command)
                except NoScriptError:
                    if script is None:
                        raise
                    return await node.ask("EVAL", script.text, *command[2:])
            try:
                return await self._on_one(node, command, replicas, asking=asking)
            except NoScriptError:
                if script is None:
                    raise
                command = ("EVAL", script.text, *command[2:])
                return await self._on_one(node, command, replicas, asking=asking)
        finally:
            self._gate.release()

    async def _on_one(self, node: Node, command: Command, replicas: int, *, asking: bool) -> Reply:
        """Send a command with what belongs before and behind it on the same connection."""
        commands: list[Command] = [command]
        if asking:
            commands.insert(0, ("ASKING",))
        if replicas:
            # Well below the connection's own limit, so that an answer comes: the server looks at
            # its clock ten times a second.
            commands.append(("WAIT", replicas, max(int(self._timeout * 500), 1)))
        answers = await node.ask_all(commands)
        value = answers[int(asking)]
        if isinstance(value, Exception):
            raise value
        if replicas and value[:1] in WRITTEN:
            have = answers[-1]
            if isinstance(have, Exception):  # as where a failover by hand ends the waiting
                raise TooFewReplicas(0, replicas) from have
            if have < replicas:
                raise TooFewReplicas(have, replicas)
        return value

    async def _together(self, address: Address, commands: Sequence[Command]) -> list[Reply]:
        await self._turn(asyncio.get_running_loop().time() + self.retry_for)
        try:
            return await self.nodes[address].ask_all(commands)
        finally:
            self._gate.release()

    async def _turn(self, deadline: float) -> None:
        """Take one of the connections, if need be when one of the other calls ends."""
        if not self._gate.locked():
            await self._gate.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._gate.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"all {self._connections} connections to {self.topology.place} were busy for "
                "as long as may be waited: raise max_connections or retry_for in [session.redis]"
            ) from None
