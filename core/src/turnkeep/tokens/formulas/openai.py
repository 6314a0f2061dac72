"""What OpenAI's Chat Completions count beside texts.

Sources: "How to count tokens with tiktoken" in the OpenAI cookbook (cookbook.openai.com) for
messages, names and tool definitions; "Images and vision" for pictures (see `openai_images`);
"Strange token cost calculation for tool_calls" (community.openai.com/t/538914), a measurement on
gpt-3.5-turbo, and recorded Codex sessions for calls: no figure of them is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import ToolDefinition, compact_json
from turnkeep.formats.images import dimensions
from turnkeep.tokens.formulas.base import Count, bare, document, inner, mappings, name_tokens
from turnkeep.tokens.formulas.openai_images import picture

MESSAGE: Final = 4
"""Three tokens frame a message, and its role is one ["How to count tokens"]."""
NAME: Final = 1
"""A participant's name, beside the name itself [the same]."""


class Frames(NamedTuple):
    """Tokens of calls and results beside their texts, and beside the message of the calls.

    Ids cost nothing: in the recorded sessions they are long.
    """

    call: int
    result: int
    parallel: int
    """What several calls of one message cost once."""
    further: int
    """And each call after the first."""


OLDER: Final = Frames(4, 4, 24, 5)
"""Measured on gpt-3.5-turbo: a call with its result makes 40 tokens of a request where the texts
are 21, two of them 89, three 114. Taken for all models before the o-series."""
NEWER: Final = Frames(14, 9, 0, 0)
"""The o-series and GPT-5 on. Measured on recorded Codex sessions with GPT-5.4 and 5.5 (the same
models, by the Responses API): each result adds 9 beside its text, in 31 of 33 requests to the
token. Calls are within the reported output, with the reasoning: three are 41 tokens at most beside
their texts, so 14 errs upward."""
UNKNOWN: Final = Frames(14, 9, 24, 5)
"""The larger of both."""

TOOL: Final = 7
TOOL_CL100K: Final = 10
"""For GPT-4 and GPT-3.5 ["How to count tokens", as all figures of definitions]."""
PROPERTIES: Final = 3
PROPERTY: Final = 3
ENUM: Final = -3
ENUM_VALUE: Final = 3
TOOLS_END: Final = 12
LEFT_OUT: Final = frozenset(
    {
        *("type", "description", "enum", "properties", "items", "required", "title", "$schema"),
        *("additionalProperties", "$defs", "definitions"),
    }
)
"""Keywords of a schema that are rendered otherwise or, by all that is known, not at all."""
DEEPEST: Final = 8
"""Objects within objects that are rendered one by one; deeper ones are counted as JSON."""


class OpenAIFormula:
    """The formula of OpenAI Chat Completions."""

    name: str = "openai-chat"
    priming: int = 3  # each answer is primed with three tokens ["How to count tokens"]

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of a message beside its texts (see `Formula`)."""
        frames = frames_for(model)
        tokens = frames.result if body.get("role") == "tool" else MESSAGE
        if isinstance(body.get("name"), str):
            tokens += NAME + name_tokens(body["name"])
        calls = len(mappings(body.get("tool_calls")))
        tokens += frames.call * calls
        if calls > 1:
            tokens += frames.parallel + frames.further * (calls - 1)
        for part in mappings(body.get("content")):
            kind = part.get("type")
            if kind == "image_url":
                image = inner(part, "image_url")
                tokens += picture(dimensions(image.get("url")), image.get("detail"), model)
            elif kind == "file":
                tokens += document(inner(part, "file").get("file_data"))
            elif kind == "input_audio":
                tokens += document(inner(part, "input_audio").get("data"))
        return tokens

    def system(self, texts: Sequence[str]) -> int:  # noqa: ARG002  # no use for it here
        """Give 0: system text is in the messages."""
        return 0

    def tools(
        self,
        definitions: Sequence[ToolDefinition],
        count: Count,
        model: str = "",
        tool_choice: object = None,  # noqa: ARG002  # no figure is published
    ) -> int:
        """Give the tokens of definitions by the cookbook's formula (see `Formula`).

        The cookbook renders flat objects. Properties within properties and within items are taken
        as further ones, and what else a schema says is counted as JSON: a guess, larger than
        what the API renders.
        """
        if not definitions:
            return 0
        writer = _Schemas()
        tokens = TOOLS_END + len(definitions) * (TOOL_CL100K if _cl100k(model) else TOOL)
        for tool in definitions:
            writer.texts.append(f"{tool.name}:{tool.description.removesuffix('.')}")
            writer.properties(tool.parameters, 1)
            writer.rest(tool.parameters)
            writer.shared(tool.parameters)
        return max(0, tokens + writer.tokens + sum(count(writer.texts)))


class _Schemas:
    """Collects the lines of schemas, and the tokens of what stands between them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens = 0

    def properties(self, schema: Mapping[str, Any], depth: int) -> None:
        found = inner(schema, "properties")
        if found:
            self.tokens += PROPERTIES
        for key, value in found.items():
            self.tokens += PROPERTY
            self._property(str(key), value, depth)

    def _property(self, key: str, schema: object, depth: int) -> None:
        if not isinstance(schema, Mapping) or depth > DEEPEST:
            self.texts.append(f"{key}:{compact_json(schema)}")
            return
        values = schema.get("enum")
        if isinstance(values, list) and values:
            self.tokens += ENUM + ENUM_VALUE * len(values)
            self.texts += [each if isinstance(each, str) else compact_json(each) for each in values]
        kind, text = schema.get("type", ""), schema.get("description")
        kind = kind if isinstance(kind, str) else compact_json(kind)
        text = text.removesuffix(".") if isinstance(text, str) else ""
        self.texts.append(f"{key}:{kind}:{text}")
        self.properties(schema, depth + 1)
        if "items" in schema:
            self._property("", schema["items"], depth + 1)
        self.rest(schema)

    def rest(self, schema: Mapping[str, Any]) -> None:
        """Take keywords that the cookbook's formula does not know."""
        rest = {key: value for key, value in schema.items() if key not in LEFT_OUT}
        if rest:
            self.texts.append(compact_json(rest))

    def shared(self, schema: Mapping[str, Any]) -> None:
        """Take definitions that others refer to, which stand at the top."""
        for key in ("$defs", "definitions"):
            if schema.get(key):
                self.texts.append(compact_json(schema[key]))


def frames_for(model: str) -> Frames:
    """Give the frames of calls and results of a model."""
    name = bare(model)
    if name.startswith(("o1", "o3", "o4", "gpt-5", "gpt-6")):
        return NEWER
    return OLDER if name.startswith(("gpt-3.5", "gpt-4", "chatgpt-4o")) else UNKNOWN


def _cl100k(model: str) -> bool:
    name = bare(model)
    return name == "gpt-4" or name.startswith(("gpt-4-", "gpt-3.5"))


FORMULA: Final = OpenAIFormula()
