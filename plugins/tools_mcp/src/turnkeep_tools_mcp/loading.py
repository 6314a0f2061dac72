"""Servers from a table, such as other clients keep under `mcpServers` in a JSON file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from turnkeep_tools_mcp.errors import McpError
from turnkeep_tools_mcp.names import unique
from turnkeep_tools_mcp.policy import Confirmation
from turnkeep_tools_mcp.server import MAX_CHARACTERS, TIMEOUT, McpServer, ServerOptions
from turnkeep_tools_mcp.tool import McpTool

logger = logging.getLogger("turnkeep_tools_mcp")

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_KINDS: Final = {
    "http": "http", "streamable-http": "http", "streamableHttp": "http", "sse": "sse",
}  # fmt: skip


class McpTools(list[McpTool]):
    """Tools, and the servers that they need: a list to give to an agent, to be closed after it."""

    def __init__(self, tools: Iterable[McpTool] = (), *, servers: Iterable[McpServer] = ()) -> None:
        super().__init__(tools)
        self.servers = tuple(servers)

    async def aclose(self) -> None:
        """Close the servers. Twice does no harm."""
        await asyncio.gather(*(server.close() for server in self.servers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


async def load_mcp_tools(
    connection: Mapping[str, Any] | str | os.PathLike[str],
    *,
    prefix: bool = False,
    include: Collection[str] | None = None,
    exclude: Collection[str] = (),
    requires_confirmation: Confirmation = None,
    timeout: float | None = TIMEOUT,  # noqa: ASYNC109  # of each call, not of this one
    max_characters: int | None = MAX_CHARACTERS,
    **options: Any,
) -> McpTools:
    """Connect to servers and give their tools.

    Parameters: `connection` is a server (`{"command": …, "args": …, "env": …, "cwd": …}` or
    `{"url": …, "headers": …, "type": "http" or "sse"}`), a table of them by name, such a table
    under the key `mcpServers`, or the path of a JSON file that holds one. `${NAME}` and
    `${NAME:-otherwise}` in its strings stand for environment variables. `prefix` puts the server's
    name before the names of its tools; tools of several servers with one name get it anyway. Names
    in `include`, `exclude` and `requires_confirmation` are those that tools have here; what they
    mean is told by `McpServer.tools`, like `timeout` and `max_characters`. Other `options` are
    those of `ServerOptions`.

    The servers stay connected until `close_mcp_tools(tools)`, or the end of `async with tools`, or
    the end of the event loop. Raises McpError, with no server left open, when one cannot be opened.
    """
    tables = _tables(connection)
    servers = {name: _server(name, table, options) for name, table in tables.items()}
    opened = McpTools(servers=servers.values())
    try:
        outcomes = await asyncio.gather(
            *(
                _tools(server, requires_confirmation, timeout, max_characters)
                for server in opened.servers
            ),
            return_exceptions=True,
        )
        found = _good(outcomes)
        _name(dict(zip(servers, found, strict=True)), always=prefix)
        tools = {tool.name: tool for each in found for tool in each}
        _check(tools, include=include, exclude=exclude, confirm=requires_confirmation)
        for name, tool in tools.items():
            # Here the names are those after clashes, which the servers do not know.
            if _is_names(requires_confirmation):
                tool.requires_confirmation = name in cast("Collection[str]", requires_confirmation)
            elif callable(requires_confirmation):
                tool.requires_confirmation = partial(requires_confirmation, name)
            if (include is None or name in include) and name not in exclude:
                opened.append(tool)
    except BaseException:
        await opened.aclose()
        raise
    return opened


async def close_mcp_tools(tools: Iterable[object]) -> None:
    """Close the servers of tools, and their processes; other tools in the list are left alone."""
    servers = {tool.server for tool in tools if isinstance(tool, McpTool)}
    if isinstance(tools, McpTools):
        servers.update(tools.servers)
    await asyncio.gather(*(server.close() for server in servers))


def _good(outcomes: Iterable[list[McpTool] | BaseException]) -> list[list[McpTool]]:
    """Give what went well; raise the first of what did not."""
    found = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return found


async def _tools(
    server: McpServer, confirm: Confirmation, limit: float | None, most: int | None
) -> list[McpTool]:
    await server.open()
    return await server.tools(
        requires_confirmation=None if _is_names(confirm) else confirm,
        timeout=limit,
        max_characters=most,
    )


def _name(found: Mapping[str, list[McpTool]], *, always: bool) -> None:
    """Put the server's name before the tool's where that is wished, or where names clash."""
    often = Counter(tool.name for tools in found.values() for tool in tools)
    everything = [(server, tool) for server, tools in found.items() for tool in tools]
    wanted = [
        f"{server}_{tool.remote_name}"
        if server and (always or often[tool.name] > 1)
        else tool.remote_name
        for server, tool in everything
    ]
    for (_, tool), name in zip(everything, unique(wanted), strict=True):
        tool.name = name


def _check(
    tools: Mapping[str, McpTool],
    *,
    include: Collection[str] | None,
    exclude: Collection[str],
    confirm: Confirmation,
) -> None:
    wishes = {"include": include, "exclude": exclude}
    if _is_names(confirm):
        wishes["requires_confirmation"] = cast("Collection[str]", confirm)
    for option, names in wishes.items():
        if unknown := sorted(set(names or ()) - set(tools)):
            raise McpError(
                f"there is no tool {', '.join(unknown)}, which {option} names; there are "
                f"{', '.join(tools) or 'none'}"
            )


def _is_names(confirm: Confirmation) -> bool:
    return not (confirm is None or isinstance(confirm, bool) or callable(confirm))


def _tables(connection: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """Give the tables of servers by name; the name of one that stands alone is empty."""
    if not isinstance(connection, Mapping):
        path = Path(connection)
        try:
            connection = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise McpError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            where = getattr(error, "lineno", None)
            raise McpError(f"{path} is not JSON{f' (line {where})' if where else ''}") from None
    if not isinstance(connection, Mapping):
        raise McpError("a table of MCP servers was expected: a JSON object")
    if isinstance(connection.get("command"), str) or isinstance(connection.get("url"), str):
        return {"": connection}
    servers = connection.get("mcpServers", connection)
    if not isinstance(servers, Mapping) or not servers:
        raise McpError('no MCP server is named: give "command" or "url", or a table of servers')
    return {
        str(name): table
        for name, table in servers.items()
        if not (isinstance(table, Mapping) and table.get("disabled") is True)
    }


def _server(name: str, table: object, options: Mapping[str, Any]) -> McpServer:
    called = f"MCP server {name}" if name else "the MCP server"
    if not isinstance(table, Mapping):
        raise McpError(f"{called}: a table was expected")
    read = _expanded(dict(table), called)
    more = cast("ServerOptions", {**({"name": name} if name else {}), **options})
    command, url = read.get("command"), read.get("url")
    if isinstance(command, str) and url is None:
        args = _typed(read, "args", list, called)
        env = _typed(read, "env", dict, called)
        return McpServer.stdio(
            command,
            *(str(each) for each in args),
            env={str(key): str(value) for key, value in env.items()},
            cwd=read.get("cwd"),
            **more,
        )
    if isinstance(url, str) and command is None:
        kind = _KINDS.get(str(read.get("type", read.get("transport", "http"))))
        if kind is None:
            raise McpError(f'{called}: "type" must be "http" or "sse"')
        headers = _typed(read, "headers", dict, called)
        make = McpServer.http if kind == "http" else McpServer.sse
        return make(url, headers={str(k): str(v) for k, v in headers.items()}, **more)
    raise McpError(f'{called}: give either "command" or "url", as a string')


def _typed(table: Mapping[str, Any], key: str, kind: type, called: str) -> Any:
    value = table.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise McpError(f'{called}: "{key}" must be {"a list" if kind is list else "a table"}')
    return value


def _expanded(value: Any, called: str) -> Any:
    """Put environment variables where a table names them."""
    if isinstance(value, str):

        def variable(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], match[2])
            if found is None:
                raise McpError(
                    f"{called} needs the environment variable {match[1]}, which is not set"
                )
            return found

        return _VARIABLE.sub(variable, value)
    if isinstance(value, Mapping):
        return {key: _expanded(each, called) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, called) for each in value]
    return value
