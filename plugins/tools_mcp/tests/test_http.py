"""Servers at a URL."""

import asyncio

import pytest

from turnkeep.errors import ToolError
from turnkeep_tools_mcp import McpError, McpServer


async def test_tools_are_called_over_streamable_http(http, protocol):
    """Listing, calling, several at once and large results work as over pipes."""
    async with McpServer.http(http.url, protocol=protocol) as server:
        tools = {tool.name: tool for tool in await server.tools()}
        assert await tools["add"].execute(None, a=1, b=2) == "3"
        sums = await asyncio.gather(*(server.call("add", {"a": n, "b": n}) for n in range(20)))
        assert sums == [str(2 * n) for n in range(20)]
        assert len(await server.call("large", {"characters": 2_000_000})) == 2_000_000


@pytest.mark.prove
async def test_tools_are_called_over_sse(sse):
    """The older form of HTTP is spoken, too."""
    async with McpServer.sse(sse.url) as server:
        assert await server.call("add", {"a": 1, "b": 2}) == "3"
        with pytest.raises(ToolError, match="no such city"):
            await server.call("fail", {"why": "no such city"})


@pytest.mark.prove
async def test_a_server_that_was_started_again_is_found_again(http, protocol):
    """A call that certainly did not reach the old server is made at the new one."""
    async with McpServer.http(http.url, protocol=protocol) as server:
        before = await server.call("process", {})
        http.kill()
        http.start()
        assert await server.call("process", {}) != before


@pytest.mark.prove
async def test_a_server_that_is_gone_is_an_error_of_the_call(http, protocol):
    """The call fails with a sentence, and one that comes after the server's return succeeds."""
    async with McpServer.http(http.url, protocol=protocol, attempts=1) as server:
        http.kill()
        with pytest.raises(ToolError, match=r"MCP server 127\.0\.0\.1:\d+ cannot be opened"):
            await server.call("process", {})
        http.start()
        assert await server.call("add", {"a": 1, "b": 1}) == "2"


@pytest.mark.prove
async def test_a_server_that_dies_in_a_call_says_so(http, protocol):
    """Whether such a call had an effect is not known, so it is not made again by itself."""
    async with McpServer.http(http.url, protocol=protocol) as server:
        with pytest.raises(ToolError, match="ended in the middle of die"):
            await server.call("die", {})
        http.kill()
        http.start()
        assert await server.call("add", {"a": 1, "b": 1}) == "2"


@pytest.mark.prove
async def test_a_cancelled_call_is_cancelled_at_the_server(http, protocol, tmp_path, until):
    """By the notification, or by closing the request's stream, as the protocol's version wants."""
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    async with McpServer.http(http.url, protocol=protocol) as server:
        call = server.call("hang", {"started": str(started), "cancelled": str(cancelled)})
        waiting = asyncio.create_task(call)
        await until(started.exists)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(cancelled.exists)
        assert await server.call("add", {"a": 1, "b": 1}) == "2"


async def test_a_wrong_key_is_told_by_its_status_alone():
    """The sentence has the status, and nothing of the URL or the headers."""

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        url = f"http://user:pass@127.0.0.1:{port}/mcp/0123456789abcdef0123?key=k-123456"
        for make in (McpServer.http, McpServer.sse):
            server = make(url, headers={"Authorization": "Bearer t-123456"})
            with pytest.raises(McpError, match="HTTP 401") as raised:
                await server.open()
            for secret in ("pass", "0123456789", "k-123456", "t-123456", "Bearer"):
                assert secret not in str(raised.value)


async def test_no_server_at_all_is_told():
    """A refused connection is a sentence with the server's host and port."""
    with pytest.raises(McpError, match=r"MCP server 127\.0\.0\.1:1 cannot be opened: Connect"):
        await McpServer.http("http://127.0.0.1:1/mcp").open()
