"""What goes wrong between us and a server, before a sentence for the model is made of it."""

from __future__ import annotations

from turnkeep.errors import TurnkeepError


class McpError(TurnkeepError):
    """A server cannot be opened, reached or understood; the message says which and what to do."""


class Unsent(McpError):
    """The server has certainly not seen the call, so it may be made again."""
