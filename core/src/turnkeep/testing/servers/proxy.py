"""A TCP proxy between a server and its clients, on the caller's loop: it cuts, holds and refuses.

async with Proxy(port_of_the_server) as proxy:
    connect("127.0.0.1", proxy.port)
    proxy.cut_answer(after=0)     # the next answer's connection breaks before its first byte
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 65_536


class Proxy:
    """Passes bytes both ways until told otherwise. `target` is a port of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        """May be changed: connections made after that go there."""
        self.port = 0
        self.connections = 0
        """How many have been accepted."""
        self.cuts = 0
        """How many answers have been cut."""
        self._cut_after: int | None = None
        self._only_after: bytes | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def cut_answer(self, *, after: int, of: bytes | None = None) -> None:
        """Break the connection once, `after` so many bytes of the next answer: it is lost.

        `of`: of the next answer to a request that holds these bytes. The server has got the
        request whole and does what it asks.
        """
        self._cut_after, self._only_after = after, of

    def cut_all(self) -> None:
        """Break every connection now."""
        for writer in list(self._open):
            writer.transport.abort()

    def hold(self) -> None:
        """Pass nothing on any more, until `release`: connections stay, and say nothing."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass on what was held."""
        self._flowing.set()

    def refuse(self, refusing: bool = True) -> None:  # a switch
        """Break new connections at once, as a port does where nothing listens; or stop that."""
        self._refusing = refusing

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.release()
        self.cut_all()
        await asyncio.sleep(0)  # the connections' own tasks see it

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(answer)
        request = None
        try:
            if self._refusing:
                return
            server, request = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(request)
            seen = _Seen()
            await asyncio.wait(
                [
                    asyncio.create_task(self._ask(client, request, seen)),
                    asyncio.create_task(self._answer(server, answer, seen)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except OSError:
            pass  # the server is away: so is the connection
        finally:
            for writer in (answer, request):
                if writer is not None:
                    writer.transport.abort()
                    self._open.discard(writer)

    async def _ask(
        self, client: asyncio.StreamReader, request: asyncio.StreamWriter, seen: _Seen
    ) -> None:
        with suppress(OSError):
            while data := await client.read(CHUNK):
                await self._flowing.wait()
                if self._cut_after is not None and (
                    self._only_after is None or self._only_after in data
                ):
                    seen.marked = True
                request.write(data)
                await request.drain()

    async def _answer(
        self, server: asyncio.StreamReader, answer: asyncio.StreamWriter, seen: _Seen
    ) -> None:
        with suppress(OSError):
            while data := await server.read(CHUNK):
                await self._flowing.wait()
                if seen.marked and self._cut_after is not None:
                    answer.write(data[: self._cut_after])
                    await answer.drain()
                    self._cut_after = None
                    self.cuts += 1
                    return
                answer.write(data)
                await answer.drain()


class _Seen:
    """Whether the request that is to lose its answer went through this connection."""

    marked = False
