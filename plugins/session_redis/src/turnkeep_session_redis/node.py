"""One server: connections to it that redis-py makes, each for one exchange at a time.

redis-py's client and pool are left out. They took half of an append's time: for hooks, for a lock,
and for a limit of time on each write and read, where one on both is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

from redis.asyncio import Connection
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from turnkeep_session_redis.faults import Connection as Faults
from turnkeep_session_redis.faults import NotConnected, is_login, reason

Command: TypeAlias = tuple[Any, ...]
"""Words of bytes, text or whole numbers."""
Reply: TypeAlias = Any
"""What a server answers; it is looked at where the command is known."""
Finding: TypeAlias = Callable[[], Awaitable[tuple[str, int]]]
"""Asks where the server is."""


class Wire(Protocol):
    """What is used of redis-py's connections, which have no types there."""

    host: str
    port: int

    @property
    def is_connected(self) -> bool:
        """Tell whether it was connected, and not disconnected by us."""
        ...

    async def connect(self) -> None:
        """Connect, log in, choose the database."""
        ...

    async def disconnect(self, nowait: bool = False) -> None:  # theirs
        """Close; connecting again is possible."""
        ...

    async def can_read(self) -> bool:
        """Tell whether it was closed by the server, or holds what nobody asked for."""
        ...

    async def send_packed_command(self, command: bytes, check_health: bool) -> None:  # theirs
        """Send bytes."""
        ...

    async def read_response(self) -> Reply:
        """Read one answer; raises what the server says is an error."""
        ...


_CAN_READ: Final = "can_read" if hasattr(Connection, "can_read") else "can_read_destructive"
"""Older versions of redis-py have it by the other name."""


class Node:
    """A server. With `find` it is asked anew, for each connection, where that is."""

    def __init__(
        self, make: Callable[[], Wire], timeout: float, find: Finding | None = None
    ) -> None:
        self._make = make
        self._timeout = timeout
        self._find = find
        self._found: tuple[str, int] | None = None
        self._idle: list[Wire] = []

    async def ask(self, *command: Any) -> Reply:
        """Send one command."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(self._timeout):
                await connection.send_packed_command(pack(command), check_health=False)
                answer = await connection.read_response()
        except BaseException as error:
            await self._failed(connection, error)
            raise
        self._idle.append(connection)
        return answer

    async def ask_all(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands over one connection in one go; the server's errors stand among answers."""
        connection = await self._connected()
        answers: list[Reply] = []
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._timeout) as limit:
                packed = b"".join(map(pack, commands))
                await connection.send_packed_command(packed, check_health=False)
                for _ in commands:
                    limit.reschedule(now() + self._timeout)  # it is for one answer
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
        except BaseException as error:
            await self._failed(connection, error)
            raise
        self._idle.append(connection)
        return answers

    async def drop_idle(self) -> None:
        """Close what is not in use, so that the next call connects anew, by a fresh look-up."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await _drop(connection)

    async def close(self) -> None:
        """Close every connection."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(each.disconnect() for each in idle), return_exceptions=True)

    async def _connected(self) -> Wire:
        """Take a connection that nothing is known against."""
        connection = self._idle.pop() if self._idle else self._make()
        try:
            if connection.is_connected:
                if not await getattr(connection, _CAN_READ)():
                    return connection
                await _drop(connection)
            await self._connect(connection)
        except BaseException as error:
            await _drop(connection)
            if isinstance(error, Faults) and not is_login(error):
                raise NotConnected(reason(error)) from error
            raise
        return connection

    async def _connect(self, connection: Wire) -> None:
        if self._find is not None:
            found = await self._find()
            if found != self._found:
                self._found = found
                await self.drop_idle()  # they lead to another one
            connection.host, connection.port = found
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()
        except TimeoutError:
            raise RedisTimeoutError(f"no connection within {self._timeout:g} s") from None

    async def _failed(self, connection: Wire, error: BaseException) -> None:
        """Let go of a connection after an error; what is left to answer goes with it."""
        if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError):
            self._idle.append(connection)
            return
        await _drop(connection)
        if isinstance(error, TimeoutError):
            raise RedisTimeoutError(f"no answer within {self._timeout:g} s") from None


async def _drop(connection: Wire) -> None:
    with suppress(Exception):
        await connection.disconnect(nowait=True)


def pack(command: Iterable[Any]) -> bytes:
    """Write a command as it is sent."""
    pieces: list[bytes] = []
    count = 0
    for word in command:
        count += 1
        data = word if isinstance(word, bytes) else _encode(word)
        pieces += b"\r\n$%d\r\n" % len(data), data
    pieces.append(b"\r\n")
    return b"*%d" % count + b"".join(pieces)


def _encode(word: Any) -> bytes:
    return str(word).encode() if isinstance(word, str | int) else bytes(word)
