"""Anthropic Messages: requests out, requests and responses in.

Rules and fields are those of the API documentation (platform.claude.com/docs, "Messages", "Handle
tool calls", "Extended thinking", "Prompt caching") and of error texts that the API answers with;
what is normalised on the way is in `docs/formats.md`.
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
from turnkeep.formats import anthropic_check, anthropic_read
from turnkeep.formats.anthropic_render import BLOCK, NAME, THINKING, MessageWriter, replays
from turnkeep.formats.media import text_only
from turnkeep.formats.profile import (
    Countable,
    ParsedResponse,
    Violation,
    Wire,
    WireMessage,
    definition_texts,
    is_blank,
)

REQUEST: Final = 3
TOOL: Final = 16
TOOL_USE_SYSTEM: Final = 346
"""The system text that the API adds where tools are given ["Tool use", pricing table]."""
MAX_OUTPUT: Final = 4_096
"""Stands for `max_tokens`, which the API requires, where the caller names none."""
MARKER: Final = {"type": "ephemeral"}
LOOKBACK: Final = 20
"""From a marker the API looks for an earlier entry over at most 20 blocks ["Prompt caching"]."""

_ID_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
MAX_NAME: Final = 128


class Anthropic:
    """The profile of the Anthropic Messages API."""

    name = NAME
    request_overhead = REQUEST

    def render(self, items: Iterable[Item]) -> list[WireMessage]:
        """Render items in their order, one message for each run of one role (see `Profile`)."""
        writer = MessageWriter()
        for item in items:
            writer.add(item)
        writer.close()
        return writer.messages

    def system(
        self, instructions: str, leading: Sequence[Message]
    ) -> tuple[list[Wire] | None, list[WireMessage]]:
        """Render instructions and leading system messages as blocks; None if there are none."""
        texts = [] if is_blank(instructions) else [instructions]
        texts += [text_only(message.content) for message in leading]
        return [{"type": "text", "text": text} for text in texts] or None, []

    def system_texts(self, system: list[Wire] | None) -> Countable:
        """Give what to count of the system field."""
        texts = tuple(block["text"] for block in system or ())
        return Countable(texts, BLOCK * len(texts))

    def tools(self, definitions: Sequence[ToolDefinition]) -> list[Wire]:
        """Render tool definitions."""
        tools: list[Wire] = []
        for definition in definitions:
            own = (definition.__pydantic_extra__ or {}).get("anthropic")
            if isinstance(own, dict):  # a tool that the provider runs, as our parser kept it
                tools.append(own)
                continue
            schema = definition.parameters
            if "type" not in schema:
                schema = {"type": "object", **schema}
            tools.append(
                {
                    "name": definition.name,
                    "description": definition.description,
                    "input_schema": schema,
                }
            )
        return tools

    def tool_texts(self, definitions: Sequence[ToolDefinition]) -> Countable:
        """Give names, descriptions and schemas as JSON, and the system text that tools bring."""
        overhead = TOOL * len(definitions) + TOOL_USE_SYSTEM if definitions else 0
        return Countable(definition_texts(definitions), overhead)

    def inferred_tools(self, messages: Sequence[WireMessage]) -> list[Wire]:
        """Define the tools that the messages call, by name only, in order of first use.

        The API refuses requests that hold calls and define no tools.
        """
        names: dict[str, None] = {}
        for message in messages:
            if message.body["role"] == "assistant":
                for block in message.body["content"]:
                    if block["type"] == "tool_use":
                        names[block["name"]] = None
        return [
            {"name": name, "description": "", "input_schema": {"type": "object"}} for name in names
        ]

    def breakpoints(
        self,
        tools: Sequence[Wire],
        system: Sequence[Wire] | None,
        messages: Sequence[WireMessage],
        *,
        stable: int = 0,
    ) -> tuple[int, ...]:
        """Say after which blocks the request asks to cache (see `Profile`).

        The end of system (or of tools), the end of a checkpoint, the latest message; and where the
        latest step brought more than 20 blocks, the end of the request before, which the API would
        not find by looking back.
        """
        head = len(tools) + len(system or ())
        ends: list[int] = []
        position = head - 1
        for message in messages:
            position += message.blocks
            ends.append(position)
        chosen = {head - 1} if head else set()
        if 0 < stable <= len(messages):
            chosen.add(ends[stable - 1])
        if messages:
            chosen.add(ends[-1])
        # The request before ended with the user message that the latest answer follows.
        if len(messages) >= 3 and ends[-1] - ends[-3] > LOOKBACK:
            chosen.add(ends[-3])
        return tuple(sorted(chosen))

    def payload(
        self,
        *,
        messages: Sequence[WireMessage],
        system: list[Wire] | None = None,
        tools: Sequence[Wire] = (),
        tool_choice: JsonValue = None,
        model_id: str | None = None,
        max_output: int | None = None,
        session_id: str | None = None,  # noqa: ARG002  # the API has no use for it
        stable: int = 0,
        cache: bool = True,
    ) -> Wire:
        """Assemble a request body (see `Profile`).

        Calls without declared tools bring the definitions of `inferred_tools`, and the choice
        "none". `session_id` is not sent: the API finds its cache by content.
        """
        bodies = [message.body for message in messages]
        tool_list, blocks = list(tools), list(system or ())
        choice = _tool_choice(tool_choice) if tool_list else None
        if not tool_list:
            tool_list = self.inferred_tools(messages)
            choice = {"type": "none"} if tool_list else None
        if cache:
            marks = self.breakpoints(tool_list, blocks, messages, stable=stable)
            _mark(marks, tool_list, blocks, bodies, messages)
        body: Wire = {} if model_id is None else {"model": model_id}
        body["max_tokens"] = MAX_OUTPUT if max_output is None else max_output
        if blocks:
            body["system"] = blocks
        if tool_list:
            body["tools"] = tool_list
        if choice is not None:
            body["tool_choice"] = choice
        body["messages"] = bodies
        return body

    def check(self, body: Mapping[str, Any]) -> list[Violation]:
        """Check a request body (see `Profile`)."""
        return anthropic_check.check(body)

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say True for this provider's own blocks, as far as they are whole."""
        return replays(item)

    def allowed_id(self, call_id: str, suffix: str = "") -> str:
        """Put _ for what an id may not hold: the API takes [a-zA-Z0-9_-] only."""
        return (_ID_CHARACTERS.sub("_", call_id) or "call") + suffix

    def allowed_name(self, name: str) -> str:
        """Put _ for what a tool's name may not hold, and cut it to 128 characters."""
        return _ID_CHARACTERS.sub("_", name)[:MAX_NAME] or "unknown"

    def parse_request(self, body: object) -> Request:
        """Read a request body (see `Profile`)."""
        return anthropic_read.parse_request(body)

    def parse_response(self, body: object) -> ParsedResponse:
        """Read a response body (see `Profile`)."""
        return anthropic_read.parse_response(body)


def _mark(
    marks: Iterable[int],
    tools: list[Wire],
    system: list[Wire],
    bodies: list[Wire],
    messages: Sequence[WireMessage],
) -> None:
    """Put a cache marker on copies of the blocks at these positions."""
    ends: dict[int, int] = {}
    position = len(tools) + len(system) - 1
    for index, message in enumerate(messages):
        position += message.blocks
        ends[position] = index
    for mark in marks:
        if mark in ends:
            body = bodies[ends[mark]]
            last = body["content"][-1]
            if last["type"] in THINKING:
                continue  # these cannot be marked ["Prompt caching"]
            content = [*body["content"][:-1], {**last, "cache_control": MARKER}]
            bodies[ends[mark]] = {**body, "content": content}
        elif system:
            system[-1] = {**system[-1], "cache_control": MARKER}
        else:
            tools[-1] = {**tools[-1], "cache_control": MARKER}


def _tool_choice(choice: JsonValue) -> JsonValue:
    words: dict[str, JsonValue] = {"auto": "auto", "none": "none", "required": "any"}
    if isinstance(choice, str) and choice in words:
        return {"type": words[choice]}
    if isinstance(choice, dict) and set(choice) == {"name"}:
        return {"type": "tool", "name": choice["name"]}
    return choice


PROFILE: Final = Anthropic()
