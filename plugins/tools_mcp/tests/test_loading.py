"""Servers from a table."""

import json
import os
import sys
from pathlib import Path

import pytest

from turnkeep.errors import ToolError
from turnkeep_tools_mcp import McpError, close_mcp_tools, load_mcp_tools

SERVERS = Path(__file__).resolve().parent / "servers"
DEMO = {"command": sys.executable, "args": [str(SERVERS / "demo.py"), "stdio"]}
RAW = {"command": sys.executable, "args": [str(SERVERS / "raw.py"), ""]}


async def test_one_server_is_loaded_and_closed():
    """The connection lasts as long as the tools are wanted."""
    tools = await load_mcp_tools(DEMO)
    add = next(tool for tool in tools if tool.name == "add")
    assert await add.execute(None, a=1, b=2) == "3"
    await close_mcp_tools(list(tools))
    with pytest.raises(ToolError, match="not open"):
        await add.execute(None, a=1, b=2)


async def test_a_table_of_servers_as_other_clients_keep_it(tmp_path):
    """Several servers from a JSON file; names that clash have the server's in front."""
    path = tmp_path / "mcp.json"
    off = {"command": "no-such-command", "disabled": True}
    path.write_text(json.dumps({"mcpServers": {"one": DEMO, "two": DEMO, "raw": RAW, "off": off}}))
    async with await load_mcp_tools(path, requires_confirmation={"one_add"}) as tools:
        names = [tool.name for tool in tools]
        assert len(names) == len(set(names))
        assert {"one_add", "two_add", "call", "one_files_read_all"} <= set(names)
        assert names.index("one_add") < names.index("two_add") < names.index("call")
        asked = [tool.name for tool in tools if tool.needs_confirmation({})]
        assert asked == ["one_add"]
        by_name = {tool.name: tool for tool in tools}
        one = await by_name["one_process"].execute(None)
        assert one != await by_name["two_process"].execute(None)


async def test_a_prefix_for_all_and_a_choice():
    """`prefix` puts the server's name before each tool; choices go by those names."""
    async with await load_mcp_tools(
        {"calc": DEMO},
        prefix=True,
        include=["calc_add", "calc_forget"],
        exclude=["calc_forget"],
        requires_confirmation=lambda name, arguments: name == "calc_add",
    ) as tools:
        assert [(tool.name, tool.needs_confirmation({})) for tool in tools] == [("calc_add", True)]
    with pytest.raises(McpError, match="no tool nothing, which include names"):
        await load_mcp_tools(DEMO, include=["nothing"])


async def test_one_server_that_fails_closes_the_others(until):
    """Nothing is left running when loading fails."""
    import asyncio

    with pytest.raises(McpError, match="MCP server bad cannot be opened: no-such-command"):
        await load_mcp_tools({"good": DEMO, "bad": {"command": "no-such-command"}})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_variables_are_filled_in(monkeypatch):
    """`${NAME}` is an environment variable, with or without something to fall back on."""
    monkeypatch.setenv("TOKEN_OF_OURS", "t-1")
    env = {"A": "${TOKEN_OF_OURS}", "B": "${MISSING_ONE:-b}"}
    async with await load_mcp_tools({**DEMO, "env": env}) as tools:
        environment = next(tool for tool in tools if tool.name == "environment")
        assert await environment.execute(None, name="A") == "t-1"
        assert await environment.execute(None, name="B") == "b"
    with pytest.raises(McpError, match="needs the environment variable MISSING_ONE"):
        await load_mcp_tools({**DEMO, "env": {"A": "${MISSING_ONE}"}})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "no MCP server is named"),
        ({"a": 1}, "MCP server a: a table was expected"),
        ({"a": {"args": []}}, 'MCP server a: give either "command" or "url"'),
        ({"command": "x", "url": "http://x"}, 'either "command" or "url"'),
        ({"command": "x", "args": "y"}, '"args" must be a list'),
        ({"url": "http://x", "type": "carrier pigeon"}, '"type" must be'),
        ("no/such/file.json", "cannot be read"),
        (os.devnull, "is not JSON"),
    ],
)
async def test_a_table_that_cannot_be_used_is_told(table, said):
    """The sentence says where and what."""
    with pytest.raises(McpError, match=said):
        await load_mcp_tools(table)
