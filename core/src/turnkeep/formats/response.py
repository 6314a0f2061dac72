"""Reading what a model answered, in whatever shape the caller has it."""

from __future__ import annotations

from typing import Any

from turnkeep import formats
from turnkeep.content import ITEM_TYPES, Message, Model
from turnkeep.errors import ContentError
from turnkeep.formats.profile import ParsedResponse
from turnkeep.model import ModelAnswer


def read_response(response: object) -> ParsedResponse:
    """Read a model's answer.

    It may be what a model client gave, a provider's response body (a dict or an SDK object), the
    list of pieces of a finished stream, items of ours, or a text.

    Raises ContentError, with the path, for anything else.
    """
    if isinstance(response, ParsedResponse):
        return response
    if isinstance(response, ModelAnswer):
        return ParsedResponse(response.items, response.usage, response.finish, response.partial)
    if isinstance(response, str):
        return ParsedResponse([Message(role="assistant", content=response)], None, None)
    if isinstance(response, ITEM_TYPES):
        return ParsedResponse([response], None, None)
    if isinstance(response, list | tuple) and all(
        isinstance(item, ITEM_TYPES) for item in response
    ):
        return ParsedResponse(list(response), None, None)
    if isinstance(response, list | tuple):
        from turnkeep.formats.stream import join_stream  # only for streams: import when used

        if (joined := join_stream(response)) is not None:
            parsed = formats.get_profile(joined.profile).parse_response(joined.body)
            return parsed._replace(partial=parsed.partial or joined.cut)
    if not isinstance(response, Model):
        body: Any = response
        if (kind := formats.detect(body)) is not None:
            return formats.get_profile(kind).parse_response(body)
    raise ContentError(
        f"{type(response).__name__} is no model answer that is known: give the body of a "
        "response of OpenAI Chat, OpenAI Responses, Anthropic Messages or Gemini, items, or a text"
    )
