"""The tools that a server's list becomes."""

import logging

import pytest

from turnkeep.agent.tools import BaseTool
from turnkeep_tools_mcp import McpError


async def by_name(server, **options):
    return {tool.name: tool for tool in await server.tools(**options)}


async def test_each_tool_of_the_server_is_a_tool_for_an_agent(demo):
    """A tool has the server's description and schema, and a name by which the server knows it."""
    async with demo() as server:
        add = (await by_name(server))["add"]
    assert isinstance(add, BaseTool)
    assert (add.description, add.remote_name) == ("Add two numbers.", "add")
    assert add.parameters["required"] == ["a", "b"]
    assert add.parameters["properties"]["a"]["type"] == "integer"
    assert add.definition.name == "add"


async def test_tools_come_in_the_order_of_their_names(raw):
    """All pages are read, and the order does not depend on the server's."""
    async with raw("pages") as server:
        names = [tool.name for tool in await server.tools()]
    assert names == ["t5", "t6", "t7", "t8", "t9", "u0", "u1", "u2", "u3", "u4"]


async def test_a_list_without_an_end_is_refused(raw):
    """A server that gives one page again and again does not hold us for ever."""
    async with raw("endless") as server:
        with pytest.raises(McpError, match="without an end"):
            await server.tools()


async def test_names_are_those_that_providers_allow(raw):
    """What is not allowed is replaced, what becomes the same or too long is marked, each time alike."""
    async with raw("") as server:
        first = {tool.remote_name: tool.name for tool in await server.tools()}
        second = {tool.remote_name: tool.name for tool in await server.tools(exclude={"call/it"})}
    assert first["call"] == "call"
    assert first["call.it"].startswith("call_it_")
    assert first["call/it"].startswith("call_it_")
    assert len(set(first.values())) == 4
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in first.values())
    assert second.items() <= first.items()


async def test_a_prefix_stands_before_each_name(demo):
    """The server is still called by its own names."""
    async with demo() as server:
        tools = await by_name(server, prefix="calc.", include=["add"])
        assert list(tools) == ["calc_add"]
        assert await tools["calc_add"].execute(None, a=1, b=2) == "3"


async def test_only_wanted_tools_are_given(demo):
    """`include` and `exclude` go by the server's names; a name that is not there is refused."""
    async with demo() as server:
        assert list(await by_name(server, include=["add", "files/read.all"])) == [
            "add",
            "files_read_all",
        ]
        assert "die" not in await by_name(server, exclude=["die"])
        for option in ("include", "exclude", "requires_confirmation", "idempotent"):
            with pytest.raises(McpError, match=f"no tool ad, which {option} names"):
                await server.tools(**{option: ["ad"]})


async def test_what_may_do_harm_is_confirmed_by_default(demo):
    """A person is asked unless the server says that a tool only reads or only adds."""
    async with demo() as server:
        tools = await by_name(server)
    asked = {name: tool.needs_confirmation({}) for name, tool in tools.items()}
    assert asked["add"] is False
    assert asked["remember"] is False
    assert asked["forget"] is True
    assert asked["person"] is True
    assert "forget" in tools["forget"].question({})
    assert "MCP server" in tools["forget"].question({})


async def test_the_user_says_what_is_confirmed(demo):
    """All, none, the named ones, or as a function of name and arguments says."""
    async with demo() as server:

        async def asked(wish, name, **arguments):
            tools = await by_name(server, requires_confirmation=wish)
            return tools[name].needs_confirmation(arguments)

        assert await asked(True, "add")
        assert not await asked(False, "forget")
        assert await asked({"add"}, "add")
        assert not await asked({"add"}, "forget")

        def large(name, arguments):
            return name == "add" and arguments["a"] > 100

        assert await asked(large, "add", a=101)
        assert not await asked(large, "add", a=99)


async def test_idempotence_is_what_the_server_says(demo):
    """Reading and what is marked so may run twice, nothing else; the user may say otherwise."""
    async with demo() as server:
        tools = await by_name(server)
        named = await by_name(server, idempotent=["forget"])
    assert [tools[name].idempotent for name in ("add", "remember", "forget", "person")] == [
        True,
        True,
        False,
        False,
    ]
    assert [named[name].idempotent for name in ("add", "forget")] == [False, True]


async def test_schemas_that_are_not_of_objects_become_ones(raw):
    """One wrong schema costs neither the tool nor its neighbours."""
    async with raw("schemas") as server:
        found = {tool.name: tool.parameters for tool in await server.tools()}
    empty = {"type": "object", "properties": {}}
    assert found["good"] == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert found["any"] == found["list"] == found["none"] == found["true"] == found["null"] == empty
    assert found["either"] == {**empty, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert found["twice"]["properties"] == {"a": {"type": "string"}}


async def test_changes_are_heard_of_in_both_generations(demo, protocol, caplog, until):
    """The new tool is there when the list is asked for again."""
    async with demo(protocol=protocol) as server:
        with caplog.at_level(logging.WARNING, "turnkeep_tools_mcp"):
            await server.call("change", {})
            await until(lambda: "has changed its tools" in caplog.text)
        assert "added" in await by_name(server)


async def test_changed_tools_are_logged_and_nothing_else(raw, caplog, until):
    """What was declared stays, as a request's beginning must not change between two steps."""
    async with raw("changed") as server:
        tool, *_ = await server.tools()
        declared = tool.tool_definition
        with caplog.at_level(logging.WARNING, "turnkeep_tools_mcp"):
            await tool.execute(None)
            await until(lambda: "has changed its tools" in caplog.text)
        assert tool.tool_definition == declared
