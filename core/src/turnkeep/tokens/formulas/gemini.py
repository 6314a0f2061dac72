"""What Gemini's generateContent counts beside texts.

Sources, on ai.google.dev/gemini-api/docs: "Understand and count tokens" (tokens) for whole
requests, "Image understanding" (image-understanding) for pictures cut into tiles, "Media
resolution" (media-resolution) for those of Gemini 3. No figures are published for calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnkeep.content import ToolDefinition
from turnkeep.formats.images import Size, dimensions
from turnkeep.tokens.formulas.base import (
    SEALED_PER_TOKEN,
    Count,
    as_json,
    bare,
    document,
    inner,
    length,
    mappings,
)

MESSAGE: Final = 1
"""A text of 10 tokens is reported as a prompt of 11 ["Understand and count tokens"]."""
CALL: Final = 8
"""A call or a result: a guess."""
TOOL: Final = 12
"""A definition beside its JSON: four small functions are 184 tokens ["Understand and count tokens",
206 with a question of 22]; the JSON was counted with o200k_base."""
TILE: Final = 258
SMALL: Final = 384
"""Pictures up to this on both sides are one tile ["Image understanding"]."""
UNIT: Final = (256, 768)
"""Bounds of a tile's side: "about the shorter side / 1.5", of 768 pixels after scaling ["Image
understanding"]; the lower bound is that of an older edition."""
EDGE: Final = 3_072
"""Larger pictures are scaled down to this, in an older edition of the same page."""
MOST: Final = 24 * TILE
"""The most by these bounds: 12 x 2 tiles."""
RESOLUTIONS: Final = {"low": 280, "medium": 560, "high": 1_120, "ultra_high": 2_240}
"""Gemini 3, whatever the size ["Media resolution"]; "high" if nothing is said."""
_VERSION: Final = re.compile(r"gemini-(\d{1,3})")


class GeminiFormula:
    """The formula of Gemini generateContent; a message is a Content object with its parts."""

    name: str = "gemini"
    priming: int = 0

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of a message beside its texts (see `Formula`).

        Names of fields may be written either way, as the API takes them ("inlineData",
        "inline_data").
        """
        return MESSAGE + sum(_part(part, model) for part in mappings(body.get("parts")))

    def system(self, texts: Sequence[str]) -> int:  # noqa: ARG002  # no use for it here
        """Give 0: an instruction of 11 tokens adds 11 ["Understand and count tokens"]."""
        return 0

    def tools(
        self,
        definitions: Sequence[ToolDefinition],
        count: Count,
        model: str = "",  # noqa: ARG002  # no figure is published
        tool_choice: object = None,  # noqa: ARG002  # no figure is published
    ) -> int:
        """Give the tokens of definitions as JSON and their frames (see `Formula`)."""
        if not definitions:
            return 0
        return TOOL * len(definitions) + sum(count(as_json(definitions)))


def _part(part: Mapping[str, Any], model: str) -> int:
    signature = part.get("thoughtSignature", part.get("thought_signature"))
    tokens = length(signature) // SEALED_PER_TOKEN
    if inner(part, "functionCall", "function_call", "functionResponse", "function_response"):
        return tokens + CALL
    media = inner(part, "inlineData", "inline_data", "fileData", "file_data")
    if not media:
        return tokens
    kind = media.get("mimeType", media.get("mime_type"))
    if isinstance(kind, str) and not kind.startswith("image/"):
        return tokens + document(media.get("data"))
    wanted = inner(part, "mediaResolution", "media_resolution").get("level")
    return tokens + picture(dimensions(media.get("data")), wanted, model)


def picture(size: Size | None, resolution: object = None, model: str = "") -> int:
    """Give the tokens of a picture; of an unknown model, the dearer of both ways.

    Not monotone: tiles grow with the picture, and a larger one may need a row less.
    """
    found = _VERSION.search(bare(model))
    level = resolution.lower().rpartition("resolution_")[2] if isinstance(resolution, str) else ""
    fixed = RESOLUTIONS.get(level, RESOLUTIONS["high"])
    if found is not None and int(found.group(1)) >= 3:
        return fixed
    tiles = MOST if size is None else TILE * _tiles(size)
    return tiles if found is not None else max(tiles, fixed)


def _tiles(size: Size) -> int:
    long, short = max(size), min(size)
    if long <= SMALL:
        return 1
    if long > EDGE:
        long, short = EDGE, max(1, short * EDGE // long)
    unit = min(max(short * 2 // 3, UNIT[0]), UNIT[1])
    return -(-long // unit) * -(-short // unit)


FORMULA: Final = GeminiFormula()
