"""One exchange with a provider: a request out, and a body or a stream of events back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from turnkeep_model_litellm.dressing import Body


class Cut(Exception):
    """A stream ended without the provider's word that the answer is whole."""


class Reply(Protocol):
    """What came back, and is not yet read."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""

    async def body(self) -> dict[str, Any]:
        """Read a plain answer, in the provider's form."""

    def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Read a streamed answer, event by event. Raises Cut where it ends before its end."""


class Carrier(Protocol):
    """Carries requests of one form to one provider; errors come out as `ModelError`s."""

    def exchange(
        self, body: Body, *, stream: bool, timeout: float
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a body and give the reply; leaving ends the connection if it is still used."""

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
