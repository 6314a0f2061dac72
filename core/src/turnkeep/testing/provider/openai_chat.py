"""OpenAI Chat Completions: answers, streams, and what a request may hold.

Shapes are those of the API reference ("Chat Completions", "Streaming").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider import openai_errors as errors
from turnkeep.testing.provider.dialect import (
    Event,
    Made,
    Prompt,
    arguments_text,
    as_limit,
    as_list,
    pieces,
    words,
)
from turnkeep.testing.provider.openai import OpenAI
from turnkeep.testing.provider.refusal import Refusal

PARAMETERS: Final = words(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
    max_tokens messages metadata modalities model moderation n parallel_tool_calls prediction
    presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention
    reasoning_effort response_format safety_identifier seed service_tier stop store stream
    stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    web_search_options
    """
)


class OpenAIChat(OpenAI):
    """The dialect of `/v1/chat/completions`."""

    name = "openai-chat"

    def normal(self, body: Wire, model: str) -> Wire:  # noqa: ARG002  # the body names it
        """Give the body as it is: it has one spelling."""
        return body

    def max_output(self, body: Wire) -> int:
        """Give the limit, by its new name or its old one."""
        return as_limit(body.get("max_completion_tokens")) or as_limit(body.get("max_tokens"))

    def prompt(self, body: Wire) -> Prompt:
        """Give tools and messages; system text is among these."""
        return Prompt(as_list(body.get("tools")), [], as_list(body.get("messages")))

    def unusual(self, body: Wire, headers: Mapping[str, str]) -> Refusal | None:  # noqa: ARG002  # none is needed
        """Refuse parameters that are missing or not known."""
        for name in ("model", "messages"):
            if body.get(name) is None:
                return errors.missing(name)
        for name in body:
            if name not in PARAMETERS:
                said = f"Unrecognized request argument supplied: {name}"
                return Refusal("parameter", said)
        if body.get("stream_options") is not None and not self.streamed(body):
            said = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return Refusal("parameter", said, param="stream_options")
        if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
            said = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
            return Refusal("parameter", f"{said}supported.", code="invalid_parameter_combination")
        return None

    def refusal(self, violation: Violation, body: Wire) -> Refusal:
        """Say it in the API's words."""
        return errors.chat_refusal(violation, body)

    def unsealed(self, body: Wire) -> Refusal | None:  # noqa: ARG002  # no reasoning comes back
        """Refuse nothing: reasoning is not given."""
        return None

    def too_long(self, body: Wire, tokens: int, window: int) -> Refusal | None:
        """Refuse what does not fit with the room that is asked for the answer."""
        room = self.max_output(body)
        if tokens + room <= window:
            return None
        said = f"your messages resulted in {tokens} tokens. Please reduce the length of the "
        if room:
            said = f"you requested {tokens + room} tokens ({tokens} in the messages, {room} in the "
            said += "completion). Please reduce the length of the "
        said = f"This model's maximum context length is {window} tokens. However, {said}"
        said += "messages or completion." if room else "messages."
        return Refusal("context", said, code="context_length_exceeded", param="messages")

    def broken(self, refusal: Refusal) -> Event:
        """Give an error in place of a chunk."""
        return Event(None, errors.error(refusal))

    def answer(self, made: Made) -> Wire:
        """Give a `chat.completion`."""
        message: Wire = {"role": "assistant", "content": made.say.text or None, "refusal": None}
        message["annotations"] = []
        if made.say.calls:
            message["tool_calls"] = [_call(made, index) for index in range(len(made.say.calls))]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(made)}
        return _frame(made, "chat.completion") | {"choices": [choice], "usage": _usage(made)}

    def events(self, made: Made) -> Iterator[Event]:
        """Give the chunks: role, pieces of text, calls, the reason to stop, and usage if asked."""
        options = made.body.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        yield _chunk(made, counted, {"role": "assistant", "content": "", "refusal": None})
        for piece in pieces(made.say.text):
            yield _chunk(made, counted, {"content": piece})
        for index, call in enumerate(made.say.calls):
            first = _call(made, index) | {"index": index}
            first["function"] = {"name": call.name, "arguments": ""}
            yield _chunk(made, counted, {"tool_calls": [first]})
            for piece in pieces(arguments_text(call)):
                part = {"index": index, "function": {"arguments": piece}}
                yield _chunk(made, counted, {"tool_calls": [part]})
        yield _chunk(made, counted, {}, _finish(made))
        if counted:
            frame = _frame(made, "chat.completion.chunk")
            yield Event(None, frame | {"choices": [], "usage": _usage(made)})


def _frame(made: Made, kind: str) -> Wire:
    return {
        "id": f"chatcmpl-{made.token}",
        "object": kind,
        "created": made.created,
        "model": made.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _chunk(made: Made, counted: bool, delta: Wire, finish: str | None = None) -> Event:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage: dict[str, Any] = {"usage": None} if counted else {}
    return Event(None, _frame(made, "chat.completion.chunk") | {"choices": [choice]} | usage)


def _call(made: Made, index: int) -> Wire:
    call = made.say.calls[index]
    function = {"name": call.name, "arguments": arguments_text(call)}
    return {"id": made.call_id(index, "call_"), "type": "function", "function": function}


def _finish(made: Made) -> str:
    return made.say.finish or ("tool_calls" if made.say.calls else "stop")


def _usage(made: Made) -> Wire:
    usage = made.usage
    read = {"cached_tokens": usage.cached_tokens, "audio_tokens": 0}
    if usage.cache_write_tokens:  # of models whose writes are billed
        read["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": read,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


DIALECT: Final = OpenAIChat()
