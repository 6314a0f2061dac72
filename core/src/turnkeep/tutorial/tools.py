"""The tutorial's way to tools of MCP servers, through the plugin that speaks to them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from turnkeep.errors import PluginError

__all__ = ["load_mcp_tools"]


async def load_mcp_tools(connection: Any, **options: Any) -> Any:
    """Connect to an MCP server, or several, and give their tools for an agent.

    Parameters: `connection` as `turnkeep_tools_mcp.load_mcp_tools` takes it, such as
    `{"command": "uvx", "args": ["some-server"]}`; options are that function's. The connection lives
    as long as the list that is given: `await tools.aclose()`, or `async with`. Raises PluginError
    where `turnkeep-tools-mcp` is not installed.
    """
    try:
        plugin = import_module("turnkeep_tools_mcp")
    except ModuleNotFoundError as error:
        raise PluginError(
            f"tools of MCP servers come from a package of their own ({error.name} is missing). "
            "Run: pip install turnkeep-tools-mcp"
        ) from error
    return await plugin.load_mcp_tools(connection, **options)
