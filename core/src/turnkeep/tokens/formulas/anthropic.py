"""What Anthropic's Messages API counts beside texts.

Sources, all on platform.claude.com/docs/en: "Vision" and "Coordinates" (build-with-claude/vision,
…/vision-coordinates) for pictures, "Tool use" (agents-and-tools/tool-use/overview, "Pricing") for
the system text that tools bring, "Token counting" (build-with-claude/token-counting) for whole
requests. No figures are published for the frames of blocks.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from turnkeep.content import ToolDefinition, compact_json
from turnkeep.formats.images import dimensions
from turnkeep.tokens.formulas.base import (
    SEALED_PER_TOKEN,
    Count,
    as_json,
    bare,
    document,
    id_tokens,
    length,
    mappings,
)

MESSAGE: Final = 4
"""With the priming 7, as "You are a scientist" with "Hello, Claude" is 14 ["Token counting"]."""
BLOCK: Final = 2
"""Each block after the first: a guess."""
CALL: Final = 18
"""A call or a result, beside its id: measured on a recorded session of Claude Opus 4.5 (358
requests of the pi agent), whose calls and results cost 34 each with ids of 30 characters."""
DOCUMENT: Final = 12
"""A document of plain text beside that text: a guess."""
TOOL: Final = 8
"""A definition beside its JSON: get_weather with one question is 403 ["Token counting"]."""
PATCH: Final = 28
"""A picture costs one token for each 28 x 28 pixels begun ["Vision"]. The page gave width x height
/ 750 before, which differs by a few in a hundred."""


class Tier(NamedTuple):
    """How large a picture is seen: what is larger is shrunk ["Vision", table]."""

    edge: int
    tokens: int


STANDARD: Final = Tier(1_568, 1_568)
HIGH: Final = Tier(2_576, 4_784)
"""Claude 4.7 and later; taken for unknown models too."""

TOOL_USE: Final = {
    "claude-opus-5": (286, 406),
    "claude-opus-4-8": (290, 410),
    "claude-opus-4-7": (675, 804),
    "claude-opus-4-6": (497, 589),
    "claude-opus-4-5": (496, 588),
    "claude-opus-4-1": (313, 315),
    "claude-opus-4": (313, 315),
    "claude-sonnet-5": (354, 474),
    "claude-sonnet-4-6": (497, 589),
    "claude-sonnet-4-5": (496, 588),
    "claude-sonnet-4": (313, 315),
    "claude-haiku-4-5": (496, 588),
    "claude-3-7-sonnet": (346, 313),
    "claude-3-5-sonnet": (346, 313),
    "claude-3-5-haiku": (264, 355),
    "claude-3-opus": (530, 281),
    "claude-3-sonnet": (159, 235),
    "claude-3-haiku": (264, 340),
}
"""The system text that tools bring, for the choices auto and none, and any and tool ["Tool use"].
Editions of the page differ (346 and 313 for all of Claude 4 until 2026): the newest stands, older
ones for models that it leaves out."""
TOOL_USE_MOST: Final = (675, 804)
"""For models that the table does not hold."""
OWN_TOOLS: Final = {"bash": 245, "text_editor": 700, "computer": 735 + 499}
"""Tools that the provider defines, by how their type begins ["Pricing"]."""

_FAMILY: Final = re.compile(r"claude[a-z0-9-]*?(?=-\d{6}|@|:|-v\d|-latest|$)")
_STANDARD_FAMILY: Final = re.compile(r"claude-(?:3|(?:opus|sonnet|haiku)-4(?:-[0-6])?$)")


class AnthropicFormula:
    """The formula of the Anthropic Messages API."""

    name: str = "anthropic"
    priming: int = 3

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of a message beside its texts (see `Formula`)."""
        return MESSAGE + _blocks(body.get("content"), tier_of(model))

    def system(self, texts: Sequence[str]) -> int:
        """Give a guess for each block after the first; one block adds nothing (see `MESSAGE`)."""
        return BLOCK * max(0, len(texts) - 1)

    def tools(
        self,
        definitions: Sequence[ToolDefinition],
        count: Count,
        model: str = "",
        tool_choice: object = None,
    ) -> int:
        """Give the system text that tools bring, and definitions as JSON (see `Formula`)."""
        if not definitions:
            return 0
        auto, forced = TOOL_USE.get(family(model), TOOL_USE_MOST)
        tokens = forced if _forces(tool_choice) else auto
        texts: list[str] = []
        for tool in definitions:
            own = (tool.__pydantic_extra__ or {}).get("anthropic")
            if not isinstance(own, Mapping):
                texts += as_json([tool])
                tokens += TOOL
            elif (fixed := _own_tool(own.get("type"))) is not None:
                tokens += fixed
            else:
                texts.append(compact_json(own))
                tokens += TOOL
        return tokens + sum(count(texts))


def family(model: str) -> str:
    """Give a model's family as in `TOOL_USE`: no platform, date or version; "" if not Claude."""
    found = _FAMILY.search(bare(model).replace(".", "-"))
    return found.group() if found else ""


def tier_of(model: str) -> Tier:
    """Give the tier of a model, the high one if it is unknown."""
    return STANDARD if _STANDARD_FAMILY.match(family(model)) else HIGH


@lru_cache(maxsize=1 << 10)
def picture(width: int, height: int, tier: Tier = HIGH) -> int:
    """Give the tokens of a picture, shrunk to the largest size that fits its tier.

    Not strictly monotone: of two pictures that are shrunk, the larger may cost a few tokens less.
    """
    long, short = max(width, height), min(width, height)
    if _patches(long, short, tier) is None:
        edges = range(1, min(long, tier.edge) + 1)
        long_then = max(
            1, bisect_left(edges, x=True, key=lambda edge: not _fits(edge, long, short, tier))
        )
        long, short = long_then, _scaled(long_then, long, short)
    return _patches(long, short, tier) or tier.tokens


def _scaled(edge: int, long: int, short: int) -> int:
    return max(1, (2 * short * edge + long) // (2 * long))


def _fits(edge: int, long: int, short: int, tier: Tier) -> bool:
    return _patches(edge, _scaled(edge, long, short), tier) is not None


def _patches(long: int, short: int, tier: Tier) -> int | None:
    """Give the patches that cover a picture, None if it is too large."""
    across = -(-long // PATCH)
    patches = across * -(-short // PATCH)
    return patches if across * PATCH <= tier.edge and patches <= tier.tokens else None


def _blocks(content: object, tier: Tier) -> int:
    blocks = mappings(content)
    tokens = BLOCK * max(0, len(blocks) - 1)
    for block in blocks:
        kind = block.get("type")
        source = block.get("source")
        if kind == "image":
            data = source.get("data") if isinstance(source, Mapping) else None
            size = dimensions(data)
            tokens += tier.tokens if size is None else picture(*size, tier)
        elif kind == "document":
            source = source if isinstance(source, Mapping) else {}
            plain = source.get("type") == "text"
            tokens += DOCUMENT if plain else document(source.get("data"))
        elif kind == "tool_use":
            tokens += CALL + id_tokens(block.get("id"))
        elif kind == "tool_result":
            tokens += CALL + id_tokens(block.get("tool_use_id"))
            tokens += _inner_blocks(block.get("content"), tier)
        elif kind == "redacted_thinking":
            tokens += length(block.get("data")) // SEALED_PER_TOKEN
    return tokens


def _inner_blocks(content: object, tier: Tier) -> int:
    """Count the blocks within a result, which hold no further results."""
    return _blocks([each for each in mappings(content) if each.get("type") != "tool_result"], tier)


def _forces(choice: object) -> bool:
    if isinstance(choice, Mapping):
        return "name" in choice or choice.get("type") in {"any", "tool"}
    return choice in {"required", "any"} if isinstance(choice, str) else False


def _own_tool(kind: object) -> int | None:
    if isinstance(kind, str):
        for start, tokens in OWN_TOOLS.items():
            if kind.startswith(start):
                return tokens
    return None


FORMULA: Final = AnthropicFormula()
