"""One life of a connection, from its start to its end; a new one is made to connect again.

The client's context managers hold cancel scopes, which must be left by the task that entered them,
in reverse order. Callers come and go in any task, so one task of our own, the owner, enters them,
waits and leaves them. Calls do not go through it: the client lets any task send, and a caller
that is cancelled in its own task makes the client tell the server so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any, Final, Literal, Self, TypeAlias

import anyio
from mcp import Client, MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolResult,
    Implementation,
    JSONRPCResponse,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from turnkeep.errors import ToolError
from turnkeep_tools_mcp.client import BROKEN, UNSENT
from turnkeep_tools_mcp.errors import McpError, Unsent
from turnkeep_tools_mcp.redaction import Redaction
from turnkeep_tools_mcp.schemas import mend_tools
from turnkeep_tools_mcp.transports import Clue, Transport

logger = logging.getLogger("turnkeep_tools_mcp")

Protocol: TypeAlias = Literal["auto", "legacy"]

_PAGES: Final = 1_000
_SENTENCE: Final = 300
# There is nothing else to know it by: the connection goes on without the stream of one answer.
_BROKEN_STREAM: Final = "SSE stream"


class Connection:
    """A server that was connected to, until it ends or is closed.

    Parameters: `transport` the way to it; `name` what sentences call it; `protocol` "auto", or
    "legacy" for servers that cannot bear the question which version they speak; `limit` seconds
    to connect in.
    """

    def __init__(self, transport: Transport, name: str, protocol: Protocol, limit: float) -> None:
        self.name = name
        self.garbage = 0
        self._transport = transport
        self._redact: Redaction = transport.redaction()
        self._limit = limit
        self._clue = Clue()
        self._client = Client(
            self._streams(),
            mode=protocol,
            cache=None,
            client_info=Implementation(name="turnkeep", version=version("turnkeep")),
            message_handler=self._heard,
        )
        self._scope = anyio.CancelScope()
        self._given_up = False
        self._leave = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._stale = False

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return (
            self._owner is not None
            and not self._owner.done()
            and not self._leave.is_set()
            and not self._stale
        )

    async def open(self) -> None:
        """Connect. Raises McpError, with the reason, when that is not possible."""
        self._owner = asyncio.create_task(self._own(), name=f"MCP server {self.name}")
        try:
            await asyncio.wait({self._ready, self._owner}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close()
            raise
        if not self._ready.done():
            await asyncio.to_thread(self._clue.settle)
            raise McpError(f"MCP server {self.name} cannot be opened: {self._reason()}")

    async def close(self) -> None:
        """Leave the connection and wait until it is gone, with its process."""
        self._leave.set()
        if not self._ready.done():
            self._give_up()
        if self._owner is not None:
            await asyncio.wait({self._owner})

    async def list_tools(self) -> list[Tool]:
        """Give all tools that the server offers, page by page, in its order."""
        found: list[Tool] = []
        cursor: str | None = None
        seen: set[str | None] = set()
        while cursor not in seen and len(seen) < _PAGES:
            seen.add(cursor)
            with self._asking("tools/list"):
                page = await self._client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found
        raise McpError(
            f"MCP server {self.name} lists its tools without an end: page after page, "
            f"{len(found)} tools"
        )

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool.

        Raises ToolError where the server refuses the call or ends during it, and Unsent where it
        has certainly not seen it.
        """
        with self._asking(tool):
            return await self._client.call_tool(tool, arguments)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what a request raises into sentences."""
        try:
            yield
        except MCPError as error:
            raise self._refused(error, what) from None
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            where = ".".join(str(step) for step in faults[0]["loc"])
            raise ToolError(
                f"MCP server {self.name} answered {what} in a way that the protocol does not "
                f"allow: {where}: {faults[0]['msg']}"
            ) from None
        except (RuntimeError, ValueError) as error:
            # The client's own checks of a result, and its refusal to ask a person on our behalf.
            raise ToolError(f"MCP server {self.name}, {what}: {self._line(error)}") from None

    def _refused(self, error: MCPError, what: str) -> Exception:
        ended = error.code == CONNECTION_CLOSED
        if error.data == UNSENT or (self._clue.forgotten and not ended):
            self._stale = True
            return Unsent(f"MCP server {self.name} cannot be reached: {self._reason()}")
        broken = error.data == BROKEN or error.message.startswith(_BROKEN_STREAM)
        if ended and (broken or not self.alive):
            return ToolError(
                f"MCP server {self.name} ended in the middle of {what}; whether the call had an "
                "effect is not known. It is connected to again at the next call"
            )
        return ToolError(self._redact(error.message) or f"{what} failed without a reason")

    def _give_up(self) -> None:
        """End the attempt to connect; a process that is just being started is ended then."""
        self._given_up = True
        if not self._clue.starting:
            self._scope.cancel()

    async def _own(self) -> None:
        """Hold the connection, in one task from its start to its end."""
        late = asyncio.get_running_loop().call_later(self._limit, self._give_up)
        try:
            with self._scope:
                async with self._client, anyio.create_task_group() as group:
                    late.cancel()
                    self._ready.set_result(None)
                    group.start_soon(self._listen)
                    await self._leave.wait()
                    group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001  # all that a server can do to its client
            self._fault = _leaf(error)
        finally:
            late.cancel()
            self._leave.set()
        if self._ready.done() and self._fault is not None:
            logger.info("MCP server %s: the connection ended: %s", self.name, self._reason())

    async def _listen(self) -> None:
        """Ask to be told when the tools change; before 2026-07-28 servers do so unasked."""
        capabilities = self._client.server_capabilities.tools
        if (
            self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS
            or capabilities is None
            or not capabilities.list_changed
        ):
            return
        try:
            async with self._client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    pass  # `_heard` is told as well
        except Exception as error:  # noqa: BLE001  # a server without news is still good
            logger.debug("MCP server %s gives no news: %s", self.name, self._line(error))

    async def _heard(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            logger.warning(
                "MCP server %s has changed its tools; agents keep those that they were given, "
                "as requests must begin alike. Ask it for its tools again to have the new ones",
                self.name,
            )
        elif isinstance(message, Exception):
            self.garbage += 1
            if self.garbage == 1:
                logger.warning("MCP server %s says what is no message; it is left out", self.name)

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        async with self._transport.open(self._clue) as (reading, writing):
            if self._given_up:
                self._scope.cancel()
            yield _Watched(reading, self._leave.set), writing

    def _reason(self) -> str:
        """Say why the connection could not be made, or ended, without anybody's secret."""
        said = f"; it said: {self._clue.lines[-1]}" if self._clue.lines else ""
        fault = self._fault
        if self._clue.fault:
            return self._redact(self._clue.fault, _SENTENCE)
        if isinstance(fault, OSError) and fault.filename is not None:
            return f"{self._redact(str(fault.filename))}: {fault.strerror}"
        if self._clue.status:
            return f"it answered HTTP {self._clue.status}"
        if isinstance(fault, MCPError) and fault.code == CONNECTION_CLOSED:
            return f"it ended before it answered{said}"
        if fault is None:
            return f"it took longer than {self._limit:g} s{said}"
        return f"{self._line(fault) or type(fault).__name__}{said}"

    def _line(self, error: BaseException) -> str:
        text = str(error).strip()
        return self._redact(text.splitlines()[0], _SENTENCE) if text else ""


class _Watched:
    """A stream of messages that says when it ends, and mends what the client would refuse."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            item: SessionMessage | Exception = await self._stream.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._ended()
            raise
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
            mend_tools(item.message.result)
        return item

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> bool | None:
        self._ended()
        left: bool | None = await self._stream.__aexit__(*raised)
        return left


def _leaf(error: BaseException) -> BaseException:
    """Give the first error in a group of groups that is one itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
