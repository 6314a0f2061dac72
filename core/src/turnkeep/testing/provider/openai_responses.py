"""OpenAI Responses: answers, and what a request may hold. Nothing is stored from call to call.

Shapes are those of the API reference ("Responses").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider import openai_errors as errors
from turnkeep.testing.provider.dialect import (
    Event,
    Made,
    Prompt,
    arguments_text,
    as_limit,
    as_list,
    words,
)
from turnkeep.testing.provider.openai import OpenAI
from turnkeep.testing.provider.openai_responses_stream import events
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.seals import holds, seal

PARAMETERS: Final = words(
    """
    access_programs background background_options context_management conversation image
    include input instructions max_output_tokens max_tool_calls metadata model moderation
    parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning safety_identifier service_tier store stream
    stream_options temperature text tool_choice tools top_logprobs top_p truncation user
    """
)
SEALED: Final = "reasoning.encrypted_content"
REASONING: Final = re.compile(r"(?:o[1-9]|gpt-[5-9](?!.*-chat)|codex|computer-use)")
"""Models that reason; others refuse to seal reasoning."""
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses(OpenAI):
    """The dialect of `/v1/responses`."""

    name = "openai-responses"

    def normal(self, body: Wire, model: str) -> Wire:  # noqa: ARG002  # the body names it
        """Give the body with an input that is a text as the user message that it stands for."""
        if isinstance(body.get("input"), str):
            return body | {"input": [{"role": "user", "content": body["input"]}]}
        return body

    def max_output(self, body: Wire) -> int:
        """Give the limit."""
        return as_limit(body.get("max_output_tokens"))

    def prompt(self, body: Wire) -> Prompt:
        """Give tools, instructions and input items."""
        instructions = body.get("instructions")
        system = [instructions] if instructions is not None else []
        return Prompt(as_list(body.get("tools")), system, as_list(body.get("input")))

    def unusual(self, body: Wire, headers: Mapping[str, str]) -> Refusal | None:  # noqa: ARG002  # none is needed
        """Refuse parameters that are missing, not known, or that lead to what is not stored."""
        for name in ("model", "input"):
            if body.get(name) is None:
                return errors.missing(name)
        for name in body:
            if name not in PARAMETERS:
                return errors.unknown(name)
        before = body.get("previous_response_id")
        if before is not None:
            said = f"Previous response with id '{before}' not found."
            return Refusal(
                "parameter",
                said,
                code="previous_response_not_found",
                param="previous_response_id",
            )
        if SEALED in as_list(body.get("include")) and not reasons(self.model(body)):
            said = "Encrypted content is not supported with this model."
            return Refusal("parameter", said, param="include")
        return None

    def refusal(self, violation: Violation, body: Wire) -> Refusal:
        """Say it in the API's words."""
        return errors.responses_refusal(violation, body)

    def unsealed(self, body: Wire) -> Refusal | None:
        """Refuse sealed reasoning that is not as it was given, and references to nothing."""
        for item in as_list(body.get("input")):
            name = str(item.get("id") or "")
            if item.get("type") == "item_reference":
                return errors.gone(name, "seal")
            sealed = item.get("encrypted_content")
            if item.get("type") != "reasoning" or sealed is None:
                continue
            parts = [part.get("text", "") for part in as_list(item.get("summary"))]
            if not holds(sealed, name, *parts):
                said = f"The encrypted content for item {name} could not be verified."
                return Refusal("seal", said, code="invalid_encrypted_content")
        return None

    def too_long(self, body: Wire, tokens: int, window: int) -> Refusal | None:  # noqa: ARG002  # the answer's room does not count
        """Refuse input that does not fit."""
        if tokens <= window:
            return None
        said = "Your input exceeds the context window of this model. Please adjust your input and "
        return Refusal(
            "context", f"{said}try again.", code="context_length_exceeded", param="input"
        )

    def broken(self, refusal: Refusal) -> Event:
        """Give an `error` event."""
        inner = {"code": refusal.code or "server_error", "message": refusal.message, "param": None}
        return Event("error", {"type": "error", "sequence_number": 0, **inner})

    def answer(self, made: Made) -> Wire:
        """Give a response."""
        reason = _INCOMPLETE.get(made.say.finish or "")
        status = "incomplete" if reason else "completed"
        return response(made, status, output(made), reason)

    def events(self, made: Made) -> Iterator[Event]:
        """Give the events (see `openai_responses_stream`)."""
        return events(self.answer(made))


def reasons(model: str) -> bool:
    """Say whether a model's name is one of those that reason."""
    return REASONING.match(model.rpartition("/")[2].removeprefix("ft:")) is not None


def response(made: Made, status: str, items: list[Wire], reason: str | None) -> Wire:
    """Give the object around the items of an answer."""
    body, usage = made.body, made.usage
    return {
        "id": f"resp_{made.token}",
        "object": "response",
        "created_at": made.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": made.model,
        "output": items,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
            },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
        "user": None,
        "metadata": body.get("metadata") or {},
    }


def output(made: Made) -> list[Wire]:
    """Give the items: reasoning (sealed if asked for), the message, then the calls."""
    say, items = made.say, []
    status = "incomplete" if say.finish in _INCOMPLETE else "completed"
    if say.thinking is not None:
        name = f"rs_{made.token}"
        item: Wire = {"id": name, "type": "reasoning", "summary": []}
        if say.thinking:
            item["summary"] = [{"type": "summary_text", "text": say.thinking}]
        if SEALED in as_list(made.body.get("include")):
            parts = [part["text"] for part in item["summary"]]
            item["encrypted_content"] = seal(name, *parts)
        items.append(item)
    if say.text:
        part = {"type": "output_text", "text": say.text, "annotations": [], "logprobs": []}
        item = {"id": f"msg_{made.token}", "type": "message", "status": status}
        items.append(item | {"role": "assistant", "content": [part]})
    for index, call in enumerate(say.calls):
        item = {"id": f"fc_{made.token}{index:02d}", "type": "function_call", "status": status}
        item["call_id"] = made.call_id(index, "call_")
        items.append(item | {"name": call.name, "arguments": arguments_text(call)})
    return items


DIALECT: Final = OpenAIResponses()
