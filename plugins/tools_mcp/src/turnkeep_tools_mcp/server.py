"""A server, however often it has to be connected to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, Unpack

from turnkeep.errors import ToolError
from turnkeep_tools_mcp.errors import McpError, Unsent
from turnkeep_tools_mcp.names import unique
from turnkeep_tools_mcp.policy import Confirmation, Idempotence, confirmation, idempotence
from turnkeep_tools_mcp.results import Piece, returned
from turnkeep_tools_mcp.tool import McpTool
from turnkeep_tools_mcp.transports import Stdio, Transport, Url

if TYPE_CHECKING:
    from mcp_types import Tool

    from turnkeep_tools_mcp.connection import Connection

logger = logging.getLogger("turnkeep_tools_mcp")

TIMEOUT: Final = 60.0
MAX_CHARACTERS: Final = 10_000_000
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class ServerOptions(TypedDict, total=False):
    """Options of a server, whichever way leads to it.

    `name` is what messages call it. `protocol` "legacy" does not ask which version it speaks
    first. `connect_timeout` is in seconds; `attempts` is how often a call tries to connect again.
    """

    name: str
    protocol: Literal["auto", "legacy"]
    connect_timeout: float
    attempts: int


class McpServer:
    """An MCP server and the connection to it: `async with McpServer.stdio("command") as server`.

    A connection that ends is made again at the next call. Parameters: `transport` the way to it,
    and those of `ServerOptions`.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name: str | None = None,
        protocol: Literal["auto", "legacy"] = "auto",
        connect_timeout: float = 30.0,
        attempts: int = 3,
    ) -> None:
        if attempts < 1 or connect_timeout <= 0:
            raise ValueError("attempts must be 1 or more, and connect_timeout over 0 seconds")
        self.name = name or transport.name
        self._transport = transport
        self._redact = transport.redaction()
        self._protocol = protocol
        self._connect_timeout = connect_timeout
        self._attempts = attempts
        self._open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None

    @classmethod
    def stdio(
        cls,
        command: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str | PathLike[str] | None = None,
        **options: Unpack[ServerOptions],
    ) -> Self:
        """Make one of a command that is run as a child process.

        It sees PATH, HOME and a few more of our environment, and the variables of `env`.
        """
        folder = None if cwd is None else fspath(cwd)
        return cls(Stdio(command, tuple(args), dict(env or {}), folder), **options)

    @classmethod
    def http(
        cls, url: str, *, headers: Mapping[str, str] | None = None, **options: Unpack[ServerOptions]
    ) -> Self:
        """Make one of a URL that speaks streamable HTTP; `headers` go with every request."""
        return cls(Url(url, dict(headers or {}), "http"), **options)

    @classmethod
    def sse(
        cls, url: str, *, headers: Mapping[str, str] | None = None, **options: Unpack[ServerOptions]
    ) -> Self:
        """Make one of a URL that speaks HTTP with SSE, the form before streamable HTTP."""
        return cls(Url(url, dict(headers or {}), "sse"), **options)

    async def open(self) -> Self:
        """Connect, once. Raises McpError, with the reason, when that is not possible."""
        if self._open:
            raise McpError(f"MCP server {self.name} is open already")
        self._open, self._loop = True, asyncio.get_running_loop()
        try:
            await self._connected(attempts=1)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """End the connection, and the process if there is one. Twice does no harm."""
        self._open = False
        opening, self._opening = self._opening, None
        connection, self._connection = self._connection, None
        if self._loop is not asyncio.get_running_loop():
            return  # it ended with the loop that it was on
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
        if opening is not None and not opening.cancelled() and opening.exception() is None:
            connection = connection or opening.result()
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def tools(
        self,
        *,
        prefix: str = "",
        include: Collection[str] | None = None,
        exclude: Collection[str] = (),
        requires_confirmation: Confirmation = None,
        idempotent: Idempotence = None,
        timeout: float | None = TIMEOUT,  # noqa: ASYNC109  # of each call, not of this one
        max_characters: int | None = MAX_CHARACTERS,
    ) -> list[McpTool]:
        """Give the server's tools, by the order of their names, which is the same in every run.

        Parameters: `prefix` is put before each name. `include`, `exclude` and names elsewhere are
        the server's own. `requires_confirmation`: all, none, the named ones, or a function of name
        and arguments; without it, all but those whose annotations say that they only read
        (readOnlyHint) or only add (destructiveHint false). `idempotent`: without it, as
        annotations say. `timeout` in seconds for each call. Results of more than `max_characters`
        are left out with a sentence.

        Raises McpError for names that the server does not have.
        """
        found = await self._offered()
        declared = unique([f"{prefix}{name}" for name in found])
        self._check("include", include, found)
        self._check("exclude", exclude, found)
        self._check("requires_confirmation", requires_confirmation, found)
        self._check("idempotent", idempotent, found)
        return [
            McpTool(
                self,
                each.name,
                name=name,
                description=each.description or each.title or "",
                parameters=each.input_schema,
                requires_confirmation=confirmation(each, requires_confirmation),
                idempotent=idempotence(each, idempotent),
                timeout=timeout,
                max_characters=max_characters,
            )
            for each, name in zip(found.values(), declared, strict=True)
            if (include is None or each.name in include) and each.name not in exclude
        ]

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout: float | None = TIMEOUT,  # noqa: ASYNC109  # what the protocol calls it
        max_characters: int | None = MAX_CHARACTERS,
    ) -> Piece | list[Piece]:
        """Call a tool by the server's name: one text or JSON value, or a list of both and parts.

        Raises ToolError with a sentence for the model when the call fails, takes longer than
        `timeout` seconds, gives too much, or the server ends meanwhile.
        """
        try:
            async with asyncio.timeout(timeout) as limit:
                result = await self._call(tool, dict(arguments))
            return returned(result, max_characters)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ToolError(
                f"{tool} on the MCP server {self.name} was given up after {timeout:g} s; whether "
                f"it had an effect is not known{self._garbage()}"
            ) from None
        except ToolError as error:
            raise ToolError(self._redact(str(error), limit=_LONGEST_ERROR)) from None
        except McpError as error:
            raise ToolError(str(error)) from None

    def __repr__(self) -> str:
        return f"<McpServer {self.name}>"

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        connection = await self._connected()
        try:
            return await connection.call(tool, arguments)
        except Unsent:
            return await (await self._connected()).call(tool, arguments)

    async def _offered(self) -> dict[str, Tool]:
        """Give what the server offers, by name and in the order of names."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(self._connect_timeout):
                tools = await connection.list_tools()
        except TimeoutError:
            raise McpError(
                f"MCP server {self.name} did not list its tools within {self._connect_timeout:g} s"
            ) from None
        except ToolError as error:
            raise McpError(f"the tools of MCP server {self.name} cannot be had: {error}") from None
        found: dict[str, Tool] = {}
        for each in sorted(tools, key=lambda tool: tool.name):
            if found.setdefault(each.name, each) is not each:
                logger.warning("MCP server %s lists %s twice", self.name, each.name)
        return found

    def _check(self, option: str, names: object, found: Mapping[str, object]) -> None:
        """Refuse names that are not there: a slip must not leave a tool unconfirmed or shown."""
        if names is None or isinstance(names, bool) or callable(names):
            return
        if isinstance(names, str) or not isinstance(names, Collection):
            raise McpError(f"{option} takes names of tools, as a set or a list")
        if unknown := sorted(set(names) - set(found)):
            raise McpError(
                f"MCP server {self.name} has no tool {', '.join(unknown)}, which {option} names; "
                f"it has {', '.join(found) or 'none'}"
            )

    async def _connected(self, attempts: int | None = None) -> Connection:
        """Give a connection that is alive; all who come while it is made share the attempt."""
        self._check_loop()
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect(attempts or self._attempts))
            self._opening.add_done_callback(_retrieved)
        return await asyncio.shield(self._opening)

    def _check_loop(self) -> None:
        if not self._open:
            raise McpError(f"MCP server {self.name} is not open; use it inside its `async with`")
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise McpError(
                f"MCP server {self.name} was opened on another event loop; open one on each"
            )
        self._loop, self._connection, self._opening = loop, None, None

    async def _connect(self, attempts: int) -> Connection:
        from turnkeep_tools_mcp.connection import Connection  # the client, only when opened

        if self._connection is not None:
            await self._connection.close()
            self._connection = None
            logger.info("MCP server %s is connected to again", self.name)
        pause = _FIRST_PAUSE
        for attempt in range(1, attempts + 1):
            connection = Connection(
                self._transport, self.name, self._protocol, self._connect_timeout
            )
            try:
                await connection.open()
            except McpError:
                if attempt == attempts:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._connection = connection
                return connection
        raise AssertionError  # the last attempt returns or raises

    def _garbage(self) -> str:
        count = self._connection.garbage if self._connection is not None else 0
        return f" (it has also said {count} things that are no messages)" if count else ""


_LONGEST_ERROR: Final = 20_000


def _retrieved(task: asyncio.Task[Connection]) -> None:
    """Look at a failure that nobody waits for any more, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()
