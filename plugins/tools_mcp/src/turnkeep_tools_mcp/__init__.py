"""Tools of MCP servers for turnkeep agents.

`McpServer` is one server, `McpTool` one of its tools, and `load_mcp_tools` opens the servers of a
table such as other clients keep in a JSON file.
"""

from turnkeep_tools_mcp.errors import McpError
from turnkeep_tools_mcp.loading import McpTools, close_mcp_tools, load_mcp_tools
from turnkeep_tools_mcp.server import McpServer
from turnkeep_tools_mcp.tool import McpTool

__all__ = ["McpError", "McpServer", "McpTool", "McpTools", "close_mcp_tools", "load_mcp_tools"]
