"""A tool of a server, as an agent has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from turnkeep.agent.tools import BaseTool
from turnkeep_tools_mcp.results import Piece

if TYPE_CHECKING:
    from turnkeep.agent.context import ExecutionContext
    from turnkeep_tools_mcp.server import McpServer


class McpTool(BaseTool):
    """A tool of an MCP server. `remote_name` is the server's own name of it.

    What it declares stays as it was when it was made, whatever the server does later. Made by
    `McpServer.tools`.
    """

    def __init__(
        self,
        server: McpServer,
        remote_name: str,
        *,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        requires_confirmation: bool | Callable[[dict[str, Any]], bool],
        idempotent: bool,
        timeout: float | None,
        max_characters: int | None,
    ) -> None:
        asked = f"Run {remote_name} on the MCP server {server.name}?"
        super().__init__(
            name,
            description,
            parameters,
            requires_confirmation=requires_confirmation,
            confirmation_message=asked.replace("{", "{{").replace("}", "}}"),
            idempotent=idempotent,
            timeout=timeout,
        )
        self.server = server
        self.remote_name = remote_name
        self.max_characters = max_characters

    # By position only: servers may well have a parameter called `context`.
    async def execute(self, _context: ExecutionContext, /, **arguments: Any) -> Piece | list[Piece]:
        """Call it: its one text or JSON value is returned, or a list of texts, parts and JSON.

        Raises ToolError, with the server's words, when the call fails.
        """
        return await self.server.call(
            self.remote_name,
            arguments,
            timeout=self.timeout,
            max_characters=self.max_characters,
        )

    async def __call__(self, context: ExecutionContext, /, **arguments: Any) -> Piece | list[Piece]:
        """Call it, as `execute` does."""
        return await self.execute(context, **arguments)

    def __repr__(self) -> str:
        return f"<McpTool {self.name} of {self.server.name}>"
