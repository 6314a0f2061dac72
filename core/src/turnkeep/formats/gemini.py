"""Gemini generateContent: requests out, requests and responses in.

Rules and fields are those of the API documentation (ai.google.dev/api/caching for Content, Part,
FunctionCall, FunctionResponse, Tool, ToolConfig and Schema; ai.google.dev/gemini-api/docs/
thought-signatures and function-calling) and of error texts that the API answers with; what is
normalised on the way is in `docs/formats.md`.
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
from turnkeep.formats import gemini_check, gemini_read
from turnkeep.formats.gemini_render import NAME, OWN, PLACEHOLDER, SIGNATURE, ContentWriter, replays
from turnkeep.formats.gemini_schema import parameters_of
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
SYSTEM: Final = 4
TOOL: Final = 16

_OLDER: Final = re.compile(r"gemini-[12]\b")
"""Models before Gemini 3."""
_NAME_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_.-]")
MAX_NAME: Final = 64
"""The API answers "Must start with a letter or an underscore. Must be a-z, A-Z, 0-9, or contain
underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64"; older versions
of it took no colons (github.com/kaitranntt/ccs/issues/25, google-gemini/gemini-cli#2966)."""


class Gemini:
    """The profile of Gemini's generateContent. The model is named in the URL, not in the body."""

    name = NAME
    request_overhead = REQUEST

    def render(self, items: Iterable[Item]) -> list[WireMessage]:
        """Render items in their order (see `Profile`)."""
        writer = ContentWriter()
        for item in items:
            writer.add(item)
        writer.close()
        return writer.messages

    def system(
        self, instructions: str, leading: Sequence[Message]
    ) -> tuple[list[Wire] | None, list[WireMessage]]:
        """Render instructions and leading system messages as parts of `systemInstruction`."""
        texts = [] if is_blank(instructions) else [instructions]
        texts += [text_only(message.content) for message in leading]
        return [{"text": text} for text in texts] or None, []

    def system_texts(self, system: list[Wire] | None) -> Countable:
        """Give what to count of `systemInstruction`."""
        texts = tuple(part["text"] for part in system or ())
        return Countable(texts, SYSTEM * len(texts))

    def tools(self, definitions: Sequence[ToolDefinition]) -> list[Wire]:
        """Render tool definitions: all functions in one tool, then tools that the provider runs."""
        declared: list[Wire] = []
        whole: list[Wire] = []
        for definition in definitions:
            kept = (definition.__pydantic_extra__ or {}).get(OWN)
            if isinstance(kept, dict):
                whole.append(kept)
                continue
            function: Wire = {"name": definition.name}
            if definition.description:
                function["description"] = definition.description
            declared.append({**function, **parameters_of(definition.parameters)})
        return [*([{"functionDeclarations": declared}] if declared else []), *whole]

    def tool_texts(self, definitions: Sequence[ToolDefinition]) -> Countable:
        """Give names, descriptions and schemas as JSON."""
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
        """Give none: Gemini caches prefixes by itself (implicit caching)."""
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
        session_id: str | None = None,  # noqa: ARG002  # the API has no use for it
        stable: int = 0,  # noqa: ARG002  # no use for it here
        cache: bool = True,  # noqa: ARG002  # there is nothing to ask for
    ) -> Wire:
        """Assemble a request body (see `Profile`).

        `model_id` is not sent. For a model before Gemini 3 it takes away what is documented for
        Gemini 3 only: the placeholder for missing signatures, and media in responses ("Multimodal
        function responses are not supported for this model"), which follow in a content instead.
        """
        bodies = [message.body for message in messages]
        if model_id is not None and _OLDER.search(model_id.lower()):
            bodies = [made for body in bodies for made in _for_older(body)]
        body: Wire = {}
        if system:
            body["systemInstruction"] = {"parts": system}
        body["contents"] = bodies
        if tools:
            body["tools"] = list(tools)
            if tool_choice is not None:
                body["toolConfig"] = _tool_config(tool_choice)
        if max_output is not None:
            body["generationConfig"] = {"maxOutputTokens": max_output}
        return body

    def check(self, body: Mapping[str, Any]) -> list[Violation]:
        """Check a request body (see `Profile`), as for Gemini 3 unless it names another model."""
        return gemini_check.check(body)

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say True for this provider's own parts, as far as they are whole."""
        return replays(item)

    def allowed_id(self, call_id: str, suffix: str = "") -> str:
        """Give any id but an empty one, which becomes "call"."""
        return ("call" if is_blank(call_id) else call_id) + suffix

    def allowed_name(self, name: str) -> str:
        """Put _ for what a function's name may not hold, and before what it may not begin with."""
        made = _NAME_CHARACTERS.sub("_", name) or "unknown"
        return (made if made[0].isalpha() or made[0] == "_" else f"_{made}")[:MAX_NAME]

    def parse_request(self, body: object) -> Request:
        """Read a request body (see `Profile`)."""
        return gemini_read.parse_request(body)

    def parse_response(self, body: object) -> ParsedResponse:
        """Read a response body, its first candidate, or a bare content of the model."""
        return gemini_read.parse_response(body)


def _for_older(body: Wire) -> list[Wire]:
    """Give a content as models before Gemini 3 take it: copies where something differs."""
    below: list[Wire] = []
    parts: list[Wire] = []
    for part in body["parts"]:
        response = part.get("functionResponse")
        if part.get(SIGNATURE) == PLACEHOLDER:
            parts.append({key: value for key, value in part.items() if key != SIGNATURE})
        elif response is not None and "parts" in response:
            below += response["parts"]
            bare = {key: value for key, value in response.items() if key != "parts"}
            parts.append({**part, "functionResponse": bare})
        else:
            parts.append(part)
    changed = any(new is not old for new, old in zip(parts, body["parts"], strict=True))
    first = {**body, "parts": parts} if changed else body
    return [first, {"role": "user", "parts": below}] if below else [first]


def _tool_config(choice: JsonValue) -> JsonValue:
    words: dict[str, JsonValue] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if isinstance(choice, str) and choice in words:
        return {"functionCallingConfig": {"mode": words[choice]}}
    if isinstance(choice, dict) and set(choice) == {"name"}:
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [choice["name"]]}}
    return choice


PROFILE: Final = Gemini()
