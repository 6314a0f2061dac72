"""OpenAI Responses: requests out, requests and responses in.

Rules and fields are those of the API reference (platform.openai.com/docs/api-reference/responses;
the same types are in openai/openai-python, `types/responses`), of the cookbook's "Better
performance from reasoning models using the Responses API" (cookbook.openai.com/examples/
responses_api/reasoning_items), and of error texts that the API answers with; what is normalised on
the way is in `docs/formats.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import (
    Item,
    Message,
    Opaque,
    Reasoning,
    Request,
    ToolDefinition,
)
from turnkeep.formats import openai_responses_check, openai_responses_read
from turnkeep.formats.media import text_only
from turnkeep.formats.openai_responses_render import NAME, OWN, InputWriter, replays
from turnkeep.formats.profile import (
    Countable,
    ParsedResponse,
    Violation,
    Wire,
    WireMessage,
    cache_key,
    definition_texts,
    is_blank,
)

REQUEST: Final = 3
SYSTEM: Final = 4
TOOL: Final = 16
"""As for OpenAI Chat, whose sources are named there."""

BETWEEN: Final = "\n\n"
"""Stands between instructions and leading system messages: the API has one text for them."""
SEALED: Final = "reasoning.encrypted_content"
_REASONING_MODELS: Final = re.compile(r"(?:o[1-9]|gpt-[5-9](?!.*-chat)|codex|computer-use)")
"""Models that give sealed reasoning. Others answer "Encrypted content is not supported with this
model" (github.com/pydantic/pydantic-ai/issues/2865), and so do the chat variants of GPT-5 (the
same, pull 3331)."""

MAX_ID: Final = 64
"""The API answers "Expected a string with maximum length 64" to longer call ids
(github.com/AnswerDotAI/fastllm/issues/45)."""
_NAME_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
MAX_NAME: Final = 64


class OpenAIResponses:
    """The profile of the OpenAI Responses API, without state at the provider."""

    name = NAME
    request_overhead = REQUEST

    def render(self, items: Iterable[Item]) -> list[WireMessage]:
        """Render items in their order, one input item each (see `Profile`)."""
        writer = InputWriter()
        for item in items:
            writer.add(item)
        writer.close()
        return writer.messages

    def system(
        self, instructions: str, leading: Sequence[Message]
    ) -> tuple[list[Wire] | None, list[WireMessage]]:
        """Render instructions and leading system messages as texts of `instructions`."""
        texts = [] if is_blank(instructions) else [instructions]
        texts += [text_only(message.content) for message in leading]
        return [{"type": "input_text", "text": text} for text in texts] or None, []

    def system_texts(self, system: list[Wire] | None) -> Countable:
        """Give what to count of the instructions."""
        texts = tuple(part["text"] for part in system or ())
        return Countable(texts, SYSTEM * len(texts))

    def tools(self, definitions: Sequence[ToolDefinition]) -> list[Wire]:
        """Render tool definitions; tools that our parser kept whole go out as they came.

        `strict` is always said: the API takes definitions for strict ones where nothing is said
        (platform.openai.com/docs/guides/migrate-to-responses), and most schemas are not.
        """
        return [_tool(definition) for definition in definitions]

    def tool_texts(self, definitions: Sequence[ToolDefinition]) -> Countable:
        """Give names, descriptions and schemas as JSON, which is more than the API counts."""
        return Countable(definition_texts(definitions), TOOL * len(definitions))

    def inferred_tools(self, messages: Sequence[WireMessage]) -> list[Wire]:  # noqa: ARG002  # no use for it here
        """Give none: the API takes calls of tools that are not declared."""
        return []

    def breakpoints(
        self,
        tools: Sequence[Wire],  # noqa: ARG002  # no use for it here
        system: Sequence[Wire] | None,  # noqa: ARG002  # no use for it here
        messages: Sequence[WireMessage],  # noqa: ARG002  # no use for it here
        *,
        stable: int = 0,  # noqa: ARG002  # no use for it here
    ) -> tuple[int, ...]:
        """Give none: OpenAI caches prefixes by itself."""
        return ()

    def payload(
        self,
        *,
        messages: Sequence[WireMessage],
        system: list[Wire] | None = None,
        tools: Sequence[Wire] = (),
        tool_choice: JsonValue = None,
        model_id: str | None = None,
        max_output: int | None = None,
        session_id: str | None = None,
        stable: int = 0,  # noqa: ARG002  # no use for it here
        cache: bool = True,
    ) -> Wire:
        """Assemble a request body (see `Profile`).

        The provider keeps nothing (`store: false`): sessions are kept here. Sealed reasoning is
        asked for where it is sent back or the model is known to give it.
        """
        body: Wire = {} if model_id is None else {"model": model_id}
        if system:
            body["instructions"] = BETWEEN.join(part["text"] for part in system)
        body["input"] = [message.body for message in messages]
        if tools:
            body["tools"] = list(tools)
            if tool_choice is not None:
                body["tool_choice"] = _tool_choice(tool_choice)
        if max_output is not None:
            body["max_output_tokens"] = max_output
        body["store"] = False
        reasons = any(message.body.get("type") == "reasoning" for message in messages)
        if reasons or (model_id is not None and _reasons(model_id)):
            body["include"] = [SEALED]
        if cache and session_id is not None:
            body["prompt_cache_key"] = cache_key(session_id)
        return body

    def check(self, body: Mapping[str, Any]) -> list[Violation]:
        """Check a request body (see `Profile`)."""
        return openai_responses_check.check(body)

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say True for this provider's own items, as far as they are whole."""
        return replays(item)

    def allowed_id(self, call_id: str, suffix: str = "") -> str:
        """Cut ids to the 64 characters that the API takes; an empty one becomes "call"."""
        base = "call" if is_blank(call_id) else call_id
        return base[: MAX_ID - len(suffix)] + suffix

    def allowed_name(self, name: str) -> str:
        """Put _ for what a function name may not hold."""
        return _NAME_CHARACTERS.sub("_", name)[:MAX_NAME] or "unknown"

    def parse_request(self, body: object) -> Request:
        """Read a request body (see `Profile`)."""
        return openai_responses_read.parse_request(body)

    def parse_response(self, body: object) -> ParsedResponse:
        """Read a response body (see `Profile`)."""
        return openai_responses_read.parse_response(body)


def _tool(definition: ToolDefinition) -> Wire:
    extra = definition.__pydantic_extra__ or {}
    whole = extra.get(OWN)
    if isinstance(whole, dict):
        return whole
    tool: Wire = {"type": "function", "name": definition.name}
    if definition.description:
        tool["description"] = definition.description
    tool["parameters"] = definition.parameters
    tool["strict"] = extra.get("strict") is True
    return tool


def _tool_choice(choice: JsonValue) -> JsonValue:
    if isinstance(choice, dict) and set(choice) == {"name"}:
        return {"type": "function", "name": choice["name"]}
    return choice


def _reasons(model_id: str) -> bool:
    name = model_id.rpartition("/")[2].removeprefix("ft:").lower()
    return _REASONING_MODELS.match(name) is not None


PROFILE: Final = OpenAIResponses()
