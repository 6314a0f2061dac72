"""The ways to a server: a child process, or a URL. The client is imported when one is opened."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from turnkeep_tools_mcp.redaction import Redaction, of_environment, of_headers, of_url

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger("turnkeep_tools_mcp")

_LARGEST_EVENT: Final = 64 * 1024 * 1024
"""Bytes of one message over HTTP. The client's own limit, 1 MiB, is less than one photograph."""
_LINES: Final = 20
_LINE: Final = 2_000


class Transport(Protocol):
    """A way to a server."""

    @property
    def name(self) -> str:
        """What it is called where the user gives no name."""
        ...

    def redaction(self) -> Redaction:
        """Give what keeps this transport's secrets out of texts."""
        ...

    def open(self, clue: Clue) -> AbstractAsyncContextManager[Any]:
        """Open it: a pair of streams of messages. What it says beside them goes into the clue."""
        ...


@dataclass
class Clue:
    """What a server said beside the protocol: why it failed, and that it knows us no more.

    `status` is an HTTP status that is an error, `fault` an error of the network. `forgotten`: it
    answered 404 within a session, so the session is over. `lines` are of its standard error.
    `starting`: its process is being started, which must not be cancelled: asyncio leaves a process
    behind, with its pipes, whose start is cut in two.
    """

    status: int | None = None
    fault: str | None = None
    forgotten: bool = False
    starting: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    reader: threading.Thread | None = None

    def settle(self) -> None:
        """Wait, briefly, until all that a dead server wrote has been read. Blocks."""
        if self.reader is not None:
            self.reader.join(0.5)


@dataclass(frozen=True, repr=False)
class Stdio:
    """A child process that speaks over its standard input and output.

    It gets the variables that the MCP client holds safe (PATH, HOME and such) and those of `env`.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None

    @property
    def name(self) -> str:
        """The command without its folder."""
        return PurePath(self.command).name or self.command

    def redaction(self) -> Redaction:
        """Give what blanks the values of `env`."""
        return Redaction(of_environment(self.env))

    @asynccontextmanager
    async def open(self, clue: Clue) -> AsyncIterator[Any]:
        """Start the process; leaving ends it, with all that it has started."""
        from mcp.client.stdio import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=self.command,
            args=list(self.args),
            env=dict(self.env),
            cwd=self.cwd,
            # A stray byte costs the line that it is in, not the connection.
            encoding_error_handler="replace",
        )
        reading, writing = os.pipe()
        clue.reader = threading.Thread(
            target=_read, args=(reading, clue, self.name, self.redaction()), daemon=True
        )
        clue.reader.start()
        async with AsyncExitStack() as stack:
            with os.fdopen(writing, "w") as errors:  # the child has its own copy from here on
                clue.starting = True
                try:
                    streams = await stack.enter_async_context(stdio_client(parameters, errors))
                finally:
                    clue.starting = False
            yield streams


def _read(descriptor: int, clue: Clue, name: str, redaction: Redaction) -> None:
    """Read what a server writes to its standard error until all who could write are gone."""
    with os.fdopen(descriptor, "rb") as source:
        while raw := source.readline(_LINE):
            if line := redaction(raw.decode("utf-8", "replace").strip()):
                clue.lines.append(line)
                logger.debug("MCP server %s: %s", name, line)


@dataclass(frozen=True, repr=False)
class Url:
    """A server at a URL, over streamable HTTP or its older form, SSE."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["http", "sse"] = "http"

    @property
    def name(self) -> str:
        """The host and port, without the rest of the URL, which may hold keys."""
        split = urlsplit(self.url)
        host = split.hostname or "server"
        return host if split.port is None else f"{host}:{split.port}"

    def redaction(self) -> Redaction:
        """Give what blanks the values of headers, and the telling parts of the URL."""
        return Redaction([*of_headers(self.headers), *of_url(self.url)])

    @asynccontextmanager
    async def open(self, clue: Clue) -> AsyncIterator[Any]:
        """Open a client of its own; requests are made when messages are sent."""
        import httpx2

        from turnkeep_tools_mcp.client import CalmClient

        def client(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,  # noqa: ARG001  # see below
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            # Reading has no limit here: a tool's own timeout decides how long it may take.
            limits = httpx2.Timeout(30, read=None)
            calm = self.kind == "http"
            return CalmClient(clue, calm=calm, headers=headers, auth=auth, timeout=limits)

        headers = dict(self.headers)
        if self.kind == "sse":
            from mcp.client.sse import sse_client

            async with sse_client(self.url, headers, httpx_client_factory=client) as streams:
                yield streams
            return
        from mcp.client.streamable_http import streamable_http_client

        async with (
            client(headers) as http_client,
            streamable_http_client(
                self.url, http_client=http_client, max_sse_event_size=_LARGEST_EVENT
            ) as streams,
        ):
            yield streams
