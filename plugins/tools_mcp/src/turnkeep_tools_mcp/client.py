"""The HTTP client under the MCP client, which takes one broken request for the end of all.

An error of the network, raised in the MCP client's task group, would end every other request on
the connection. Given as an answer it costs only its own, and tells whether that was ever sent.
"""

from __future__ import annotations

import json
from typing import Any, Final

import httpx2
from mcp_types import CONNECTION_CLOSED

from turnkeep_tools_mcp.transports import Clue

UNSENT: Final = {"turnkeep_tools_mcp": "unsent"}
BROKEN: Final = {"turnkeep_tools_mcp": "broken"}
"""What errors that are ours have as their data."""


class CalmClient(httpx2.AsyncClient):
    """A client that answers for a server that does not, and notes what is worth a sentence."""

    def __init__(self, clue: Clue, *, calm: bool, **options: Any) -> None:
        super().__init__(**options)
        self._clue = clue
        self._calm = calm

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request; an error of the network becomes an answer that says so."""
        try:
            response = await super().send(request, **options)
        except httpx2.TransportError as error:
            self._clue.fault = f"{type(error).__name__}: {error or 'no more is known'}"
            if not self._calm:
                raise
            unsent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
            return _answer(request, UNSENT if unsent else BROKEN)
        status = response.status_code
        self._clue.fault = None
        self._clue.status = status if status >= 400 else None
        if status == 404 and request.method == "POST" and "mcp-session-id" in request.headers:
            self._clue.forgotten = True
        return response


def _answer(request: httpx2.Request, data: dict[str, str]) -> httpx2.Response:
    error = {"code": CONNECTION_CLOSED, "message": "no answer", "data": data}
    return httpx2.Response(
        503,
        headers={"content-type": "application/json"},
        content=json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(),
        request=request,
    )
