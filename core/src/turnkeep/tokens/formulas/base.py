"""What every formula has, and what they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from turnkeep.content import ToolDefinition, compact_json

Count: TypeAlias = Callable[[Sequence[str]], list[int]]
"""Counts texts, as `TokenCounter.count_texts` does."""

FILE_MINIMUM: Final = 3_000
"""A page is 1,500 to 3,000 tokens of text, beside its picture [Anthropic, "PDF support"]."""
BASE64_PER_FILE_TOKEN: Final = 12
"""For longer documents, whose pages are not counted here: a guess from their size."""
SEALED_PER_TOKEN: Final = 4
"""Characters of sealed reasoning to a token: a guess, no figure is published."""
WORD: Final = 8
"""Letters of a name that make one token, roughly: names are seldom rare words."""

_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,3}|[^A-Za-z0-9_\- ]")


class Formula(Protocol):
    """What a provider counts beside the texts of a request. Formulas hold no state.

    Attributes:
        name: the name of the profile whose messages it reads, "neutral" for any other.
        priming: tokens of every request beside its messages, tools and system text.
    """

    name: str
    priming: int

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of one wire message beside its texts; 0 or more for any JSON.

        That is roles, names, calls, results, ids, pictures and documents; not what
        `WireMessage.texts` holds (message texts, names of calls, arguments, texts of results).
        """
        ...

    def system(self, texts: Sequence[str]) -> int:
        """Give the tokens of a system field beside its texts; 0 where the messages hold them."""
        ...

    def tools(
        self,
        definitions: Sequence[ToolDefinition],
        count: Count,
        model: str = "",
        tool_choice: object = None,
    ) -> int:
        """Give the tokens of all definitions as the provider renders them, with their texts.

        Args:
            definitions: the tools of the request.
            count: counts texts, called once at most.
            model: the provider's name of the model, "" if unknown.
            tool_choice: as `Profile.payload` takes it.
        """
        ...


def bare(model: str) -> str:
    """Give a model id without the provider before it ("openai/gpt-4o"), in small letters."""
    return model.rpartition("/")[2].removeprefix("ft:").lower()


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Give the objects of a JSON list, nothing for any other value."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def inner(value: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Give the object under the first of these keys that holds one, {} if none does."""
    for key in keys:
        found = value.get(key)
        if isinstance(found, Mapping):
            return found
    return {}


def length(value: object) -> int:
    """Give the length of a text, 0 for any other value."""
    return len(value) if isinstance(value, str) else 0


def id_tokens(call_id: object) -> int:
    """Estimate an id: random characters make about two to a token."""
    return length(call_id) // 2 + 1


def name_tokens(name: object) -> int:
    """Estimate a name, for which no counter is at hand: a token for eight letters of each word."""
    if not isinstance(name, str):
        return 0
    return sum((len(word) + WORD - 1) // WORD for word in _WORDS.findall(name))


def document(data: object) -> int:
    """Estimate a document from the length of its base64; at least a page."""
    return max(FILE_MINIMUM, length(data) // BASE64_PER_FILE_TOKEN)


def as_json(definitions: Sequence[ToolDefinition]) -> list[str]:
    """Give names, descriptions and schemas as JSON, where the rendering is not published."""
    return [
        text
        for tool in definitions
        for text in (tool.name, tool.description, compact_json(tool.parameters))
    ]
