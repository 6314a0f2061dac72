"""Anthropic Messages: answers, streams, and what a request may hold.

Shapes are those of platform.claude.com/docs ("Messages", "Streaming Messages", "Errors").
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from turnkeep.content import compact_json
from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider import anthropic_errors as errors
from turnkeep.testing.provider.dialect import (
    Event,
    Made,
    Prompt,
    arguments_object,
    as_limit,
    as_list,
    bearer,
    pieces,
    words,
)
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.seals import holds, seal

PARAMETERS: Final = words(
    """
    cache_control container context_management diagnostics inference_geo max_tokens
    mcp_servers messages metadata model output_config service_tier speed stop_sequences stream
    system temperature thinking tool_choice tools top_k top_p user_profile_id workspace_id
    """
)
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_THINKING: Final = ("thinking", "redacted_thinking")


class Anthropic:
    """The dialect of `/v1/messages`."""

    name = "anthropic"

    def normal(self, body: Wire, model: str) -> Wire:  # noqa: ARG002  # the body names it
        """Give the body as it is: it has one spelling."""
        return body

    def model(self, body: Wire) -> str:
        """Give the model."""
        return str(body.get("model") or "")

    def streamed(self, body: Wire) -> bool:
        """Say whether a stream is asked for."""
        return body.get("stream") is True

    def max_output(self, body: Wire) -> int:
        """Give the limit."""
        return as_limit(body.get("max_tokens"))

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG002  # in the header only
        """Give the key of its own header, or the bearer's."""
        return headers.get("x-api-key") or bearer(headers)

    def prompt(self, body: Wire) -> Prompt:
        """Give tools, system blocks and messages; what is a text becomes a block."""
        messages = [
            message | {"content": _blocks(message.get("content"))}
            for message in as_list(body.get("messages"))
        ]
        return Prompt(
            as_list(body.get("tools")),
            _blocks(body.get("system")),
            messages,
            body.get("cache_control"),
        )

    def unusual(self, body: Wire, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse parameters that are missing or not known, and requests without a version."""
        if "anthropic-version" not in headers:
            return Refusal("parameter", "anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if body.get(name) is None:
                return Refusal("parameter", f"{name}: Field required")
        for name in body:
            if name not in PARAMETERS:
                return Refusal("parameter", f"{name}: Extra inputs are not permitted")
        return None

    def refusal(self, violation: Violation, body: Wire) -> Refusal:
        """Say it in the API's words."""
        return errors.refusal(violation, body)

    def unsealed(self, body: Wire) -> Refusal | None:
        """Refuse thinking that is not as it was given, or is missing in the turn at hand."""
        messages = as_list(body.get("messages"))
        for index, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            for place, block in enumerate(as_list(message.get("content"))):
                if block.get("type") == "thinking" and not holds(
                    block.get("signature"), str(block.get("thinking"))
                ):
                    at = f"messages.{index}.content.{place}"
                    return Refusal("seal", f"{at}: Invalid `signature` in `thinking` block")
        asked = body.get("thinking")
        if isinstance(asked, dict) and asked.get("type") == "enabled" and len(messages) > 1:
            return _missing_thinking(messages)
        return None

    def too_long(self, body: Wire, tokens: int, window: int) -> Refusal | None:
        """Refuse what does not fit with the room that is asked for the answer."""
        room = self.max_output(body)
        if tokens > window:
            said = f"prompt is too long: {tokens} tokens > {window} maximum"
            return Refusal("context", said)
        if tokens + room > window:
            said = f"input length and `max_tokens` exceed context limit: {tokens} + {room} > "
            said += f"{window}, decrease input length or `max_tokens` and try again"
            return Refusal("context", said)
        return None

    def unauthorized(self, *, shown: bool) -> Refusal:
        """Refuse a key, or that there is none."""
        return Refusal(
            "auth", "invalid x-api-key" if shown else "x-api-key header is required", 401
        )

    def limited(self) -> Refusal:
        """Refuse by the rate."""
        said = "This request would exceed your organization's rate limit of requests per minute."
        return Refusal("limit", said, 429)

    def overloaded(self) -> Refusal:
        """Refuse by the load."""
        return Refusal("overloaded", "Overloaded", 529)

    def error(self, refusal: Refusal) -> Wire:
        """Give the body of an error."""
        return errors.error(refusal, f"req_{secrets.token_hex(12)}")

    def broken(self, refusal: Refusal) -> Event:
        """Give an `error` event."""
        return Event("error", self.error(refusal))

    def answer(self, made: Made) -> Wire:
        """Give a message."""
        content = [_whole(made, index) for index in range(_count(made))]
        return _message(made, content, _reason(made), _output(made))

    def events(self, made: Made) -> Iterator[Event]:
        """Give the events: the message opens, each block opens, grows and closes, and the end."""
        yield _event("message_start", message=_message(made, [], None, {"output_tokens": 1}))
        for index in range(_count(made)):
            whole = _whole(made, index)
            start, deltas = _opened(whole)
            yield _event("content_block_start", index=index, content_block=start)
            if index == 0:
                yield _event("ping")
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        delta = {"stop_reason": _reason(made), "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=_output(made))
        yield _event("message_stop")


def _event(kind: str, **fields: Any) -> Event:
    return Event(kind, {"type": kind, **fields})


def _message(made: Made, content: list[Wire], reason: str | None, output: Wire) -> Wire:
    usage = made.usage
    read, written = usage.cached_tokens, usage.cache_write_tokens
    counts: Wire = {
        "input_tokens": usage.input_tokens - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - made.hour,
            "ephemeral_1h_input_tokens": made.hour,
        },
    }
    return {
        "id": f"msg_{made.token}",
        "type": "message",
        "role": "assistant",
        "model": made.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": counts | output | {"service_tier": "standard"},
    }


def _output(made: Made) -> Wire:
    """Give the part of the usage that is known at the end."""
    thought = {"thinking_tokens": made.usage.reasoning_tokens}
    return {"output_tokens": made.usage.output_tokens, "output_tokens_details": thought}


def _count(made: Made) -> int:
    say = made.say
    return (say.thinking is not None) + bool(say.text) + len(say.calls)


def _whole(made: Made, index: int) -> Wire:
    """Give the block at an index: thinking, the text, then the calls."""
    say = made.say
    if say.thinking is not None:
        if index == 0:
            return {
                "type": "thinking",
                "thinking": say.thinking,
                "signature": seal(say.thinking),
            }
        index -= 1
    if say.text:
        if index == 0:
            return {"type": "text", "text": say.text}
        index -= 1
    call = say.calls[index]
    name = made.call_id(index, "toolu_")
    return {"type": "tool_use", "id": name, "name": call.name, "input": arguments_object(call)}


def _opened(whole: Wire) -> tuple[Wire, list[Wire]]:
    """Give a block as it opens, and what is added to it."""
    if whole["type"] == "thinking":
        deltas = [
            {"type": "thinking_delta", "thinking": piece} for piece in pieces(whole["thinking"])
        ]
        deltas.append({"type": "signature_delta", "signature": whole["signature"]})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if whole["type"] == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(whole["text"])]
        return {"type": "text", "text": ""}, deltas
    parts = ["", *pieces(compact_json(whole["input"]))]  # the API's first one is empty
    return whole | {"input": {}}, [
        {"type": "input_json_delta", "partial_json": piece} for piece in parts
    ]


def _reason(made: Made) -> str:
    given = made.say.finish or ("tool_calls" if made.say.calls else "stop")
    return _REASONS.get(given, given)


def _blocks(content: object) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return as_list(content)


def _missing_thinking(messages: list[Any]) -> Refusal | None:
    """Refuse a tool loop that goes on without the thinking that it began with."""
    results = [block.get("type") for block in _blocks(messages[-1].get("content"))]
    first = _blocks(messages[-2].get("content"))[:1]
    kind = first[0].get("type") if first else ""
    if "tool_result" not in results or kind in _THINKING:
        return None
    at = f"messages.{len(messages) - 2}.content.0"
    return Refusal("seal", errors.found_instead(at, str(kind)))


DIALECT: Final = Anthropic()
