"""What OpenAI's two dialects share: the key, the model, and how a request is refused."""

from __future__ import annotations

from collections.abc import Mapping

from turnkeep.formats.profile import Wire
from turnkeep.testing.provider import openai_errors as errors
from turnkeep.testing.provider.dialect import bearer
from turnkeep.testing.provider.refusal import Refusal


class OpenAI:
    """The part of a dialect that does not depend on the endpoint."""

    def model(self, body: Wire) -> str:
        """Give the model."""
        return str(body.get("model") or "")

    def streamed(self, body: Wire) -> bool:
        """Say whether a stream is asked for."""
        return body.get("stream") is True

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG002  # in the header only
        """Give the bearer's key."""
        return bearer(headers)

    def unauthorized(self, *, shown: bool) -> Refusal:
        """Refuse a key, or that there is none."""
        return errors.unauthorized(shown=shown)

    def limited(self) -> Refusal:
        """Refuse by the rate."""
        return errors.limited()

    def overloaded(self) -> Refusal:
        """Refuse by the load."""
        return errors.overloaded()

    def error(self, refusal: Refusal) -> Wire:
        """Give the body of an error."""
        return errors.error(refusal)
