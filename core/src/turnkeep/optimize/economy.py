"""When a rewrite pays: the gap between low and high water, from prices and growth.

A rewrite costs the difference between writing and reading what stands behind its first change; a
longer context costs its reading at each call. With a fixed cost K of one rewrite, growth d of a
call and a price r of reading a token, the cost of a call is least for a gap of sqrt(2 d K / r): the
economic order quantity (Harris, "How many parts to make at once", 1913).
"""

from __future__ import annotations

import math
from typing import Final

from turnkeep.prices import PriceRow

CEILING: Final = 0.95
"""Of the limit: above it a rewrite is due at any price."""
LEAST_PROGRESS: Final = 0.1
"""Of what can shrink: a rewrite that saves less is not worth making."""


def best_gap(
    *, target: int, standing: int, growth: float, prices: PriceRow, loss: float = 0.0
) -> float:
    """Give the tokens by which a context should outgrow its target before it is rewritten.

    Parameters: `standing` tokens that no rewrite touches, `growth` tokens a call, `loss` the price
    of what is no longer in sight after one rewrite, in uncached input tokens.
    """
    once = (prices.write - prices.read) * max(target - standing, 0) + loss
    return math.sqrt(2 * max(growth, 1.0) * max(once, 0.0) / prices.read)


def auto_trigger(
    *,
    target: int,
    standing: int,
    limit: int,
    growth: float,
    prices: PriceRow,
    loss: float = 0.0,
) -> int:
    """Give the size above which a context is rewritten."""
    gap = best_gap(target=target, standing=standing, growth=growth, prices=prices, loss=loss)
    least = LEAST_PROGRESS * max(limit - standing, 0)
    return int(min(target + max(gap, least), CEILING * limit))


def payback(*, behind: int, saved: int, prices: PriceRow) -> float | None:
    """Give the calls after which a rewrite has paid for itself; None if it never does.

    `behind` tokens stand behind its first change, and `saved` are gone.
    """
    if saved <= 0 or prices.read <= 0:
        return None
    return (prices.write - prices.read) * behind / (prices.read * saved)
