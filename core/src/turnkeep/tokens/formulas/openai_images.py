"""What OpenAI's models count for a picture, by tiles or by patches.

Source: developers.openai.com/api/docs/guides/images-vision ("Images and vision": "Model sizing
behavior", "Calculating costs"). Editions of the guide differ; the newest stands, an older one for
models that it leaves out (a budget of 1,536 patches; GPT-4.5, GPT-4 Turbo, computer-use-preview).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from turnkeep.formats.images import Size
from turnkeep.tokens.formulas.base import bare

TILE: Final = 512
TILE_BOX: Final = 2_048
TILE_SHORT: Final = 768
PATCH: Final = 32
NO_BUDGET: Final = 30_000
"""Patches that the API takes in one picture at all; more are refused."""


UNSEEN: Final = 2_048
"""Pixels a side that a picture of unknown size is taken to have at most."""


class Tiles(NamedTuple):
    """A base, which is all that detail "low" costs, and tokens for each tile of 512 pixels."""

    base: int
    tile: int

    def most(self, detail: str) -> int:
        """Give the tokens of the dearest picture: 2 x 4 tiles."""
        return self.base + (0 if detail == "low" else 8 * self.tile)

    def cost(self, size: Size, detail: str) -> int:
        """Give the tokens of a picture; no larger one of the same shape costs less."""
        if detail == "low":
            return self.base
        long, short = max(size), min(size)
        if long > TILE_BOX:
            long, short = TILE_BOX, max(1, short * TILE_BOX // long)
        if short > TILE_SHORT:
            long, short = long * TILE_SHORT // short, TILE_SHORT
        return self.base + self.tile * -(-long // TILE) * -(-short // TILE)


class Limit(NamedTuple):
    """The longest side in pixels and the most patches that a picture keeps; else it is shrunk."""

    side: int
    patches: int


class Patches(NamedTuple):
    """Tokens for each patch of 32 pixels, and the limits for each detail."""

    factor: Fraction
    low: Limit
    high: Limit
    original: Limit
    auto_is_original: bool = False

    def limit(self, detail: str) -> Limit:
        """Give the limits for a detail; "auto" stands for any but the known ones."""
        if detail in {"low", "high", "original"}:
            found: Limit = getattr(self, detail)
            return found
        return self.original if self.auto_is_original else self.high

    def most(self, detail: str) -> int:
        """Give the tokens of the dearest picture of up to `UNSEEN` pixels a side.

        Without that bound a picture by URL would stand for 36,000 tokens where nothing is shrunk.
        """
        side, patches = self.limit(detail)
        return math.ceil(min(patches, (-(-min(side, UNSEEN) // PATCH)) ** 2) * self.factor)

    def cost(self, size: Size, detail: str) -> int:
        """Give the tokens of a picture.

        Monotone as long as it is not shrunk to the budget of patches: then whole patches along
        its short side are cut off, and a larger picture may cost less (1,452 patches of 1,536).
        """
        side, budget = self.limit(detail)
        width, height = size
        if max(size) > side:
            width, height = (max(1, edge * side // max(size)) for edge in size)
        patches = _patches(width, height)
        if patches > budget:
            if budget >= NO_BUDGET:
                return math.ceil(NO_BUDGET * self.factor)
            patches = _shrunk(width, height, budget)
        return math.ceil(patches * self.factor)


def _patches(width: int, height: int) -> int:
    return -(-width // PATCH) * -(-height // PATCH)


def _shrunk(width: int, height: int, budget: int) -> int:
    """Give the patches of a picture shrunk to a budget, as the guide's formula does."""
    shrink = math.sqrt(PATCH * PATCH * budget / (width * height))
    across, down = width * shrink / PATCH, height * shrink / PATCH
    if min(across, down) < 1:  # the guide's formula would make it nothing
        return budget
    shrink *= min(math.floor(across) / across, math.floor(down) / down)
    return min(budget, _patches(int(width * shrink + 1e-6), int(height * shrink + 1e-6)))


_LOW: Final = Limit(512, 256)
_FREE: Final = Limit(65_535, NO_BUDGET)
_ROOMY: Final = Limit(2_048, 6_144)
_HIGH: Final = Limit(2_048, 2_500)
_WIDE: Final = Limit(6_000, 10_000)
_OLD: Final = Limit(65_535, 1_536)
_NEW: Final = Fraction("1.2")


def _old(factor: str) -> Patches:
    return Patches(Fraction(factor), _OLD, _OLD, _OLD)


RULES: Final[dict[str, Tiles | Patches]] = {
    "gpt-6": Patches(_NEW, _LOW, Limit(65_535, 2_500), _FREE, auto_is_original=True),
    "gpt-5.6": Patches(_NEW, _LOW, _HIGH, _FREE, auto_is_original=True),
    "gpt-5.5": Patches(_NEW, _LOW, _HIGH, _WIDE, auto_is_original=True),
    "gpt-5.4": Patches(_NEW, _ROOMY, _HIGH, _WIDE),
    "gpt-5.2": Patches(_NEW, _ROOMY, _ROOMY, _ROOMY),
    "gpt-5.1": Tiles(70, 140),
    "gpt-5-mini": _old("1.2"),
    "gpt-5-nano": _old("1.5"),
    "gpt-5": Tiles(70, 140),
    "gpt-4.5": Tiles(85, 170),
    "gpt-4.1-mini": Patches(Fraction("1.62"), _ROOMY, _ROOMY, _ROOMY),
    "gpt-4.1-nano": _old("2.46"),
    "gpt-4.1": Tiles(85, 170),
    "gpt-4o-mini": Tiles(2_833, 5_667),
    "gpt-4o": Tiles(85, 170),
    "chatgpt-4o": Tiles(85, 170),
    "gpt-4": Tiles(85, 170),
    "o4-mini": _old("1.72"),
    "o3": Tiles(75, 150),
    "o1": Tiles(75, 150),
    "computer-use-preview": Tiles(65, 129),
}
"""By the beginning of the model's id, up to its end or a hyphen."""
UNKNOWN: Final = Patches(Fraction("1.62"), _HIGH, _HIGH, _HIGH)
"""For other models: a guess above most of the table."""


@lru_cache(maxsize=256)
def rule_for(model: str) -> Tiles | Patches:
    """Give the rule of a model, `UNKNOWN` if the table does not hold it."""
    name = bare(model)
    for start in sorted(RULES, key=len, reverse=True):
        if name == start or name.startswith((f"{start}-", f"{start}:")):
            return RULES[start]
    return UNKNOWN


def picture(size: Size | None, detail: object, model: str) -> int:
    """Give the tokens of a picture; one of unknown size costs the most that one does."""
    rule = rule_for(model)
    wanted = detail if isinstance(detail, str) else "auto"
    return rule.most(wanted) if size is None else rule.cost(size, wanted)
