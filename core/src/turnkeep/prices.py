"""What tokens cost and what a provider's prompt cache remembers; the figures are in `data/`."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from turnkeep.errors import ConfigError

DEFAULT_ROW = "anthropic-5m"


@dataclass(frozen=True)
class PriceRow:
    """Prices relative to an uncached input token, and the rules of the cache behind them.

    `minimum` is the shortest prefix, in tokens, that is cached; `step` the granularity of a hit in
    tokens; `lifetime` how many idle seconds a prefix survives; `lookback` how many blocks before a
    breakpoint a stored prefix is looked for (0: any), where the provider has breakpoints.
    """

    name: str
    write: float
    read: float
    output: float
    minimum: int
    step: int
    lifetime: float
    lookback: int = 0
    source: str = ""

    def cost(self, *, cached: int, written: int, plain: int) -> float:
        """Price the input of one call, in uncached input tokens."""
        return self.read * cached + self.write * written + plain


@cache
def price_rows() -> dict[str, PriceRow]:
    """Read the price table that ships with the package."""
    text = files("turnkeep").joinpath("data/prices.toml").read_text(encoding="utf-8")
    return {name: PriceRow(name=name, **row) for name, row in tomllib.loads(text)["rows"].items()}


def price_row(name: str) -> PriceRow:
    """Give a row by its name. Raises ConfigError with the names there are."""
    rows = price_rows()
    if name not in rows:
        close = difflib.get_close_matches(name, rows, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(rows)}"
        raise ConfigError(f"unknown price row {name!r}; {hint}")
    return rows[name]


def price_row_for(model: str, profile: str) -> PriceRow:
    """Give the row that fits a model ("": unknown) in the form of a provider's requests."""
    name = model.lower().rpartition("/")[2]
    if "deepseek" in name:
        return price_row("deepseek")
    if profile == "anthropic" or name.startswith("claude"):
        return price_row("anthropic-5m")
    if profile == "gemini" or name.startswith("gemini"):
        return price_row("gemini")
    older = name.startswith(("gpt-3", "gpt-4", "o1", "o3", "o4"))
    return price_row("openai-older" if older else "openai-5.6")
