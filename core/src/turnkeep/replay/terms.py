"""Terms: under which requests are made, counted and priced."""

from __future__ import annotations

from dataclasses import dataclass

from turnkeep.formats.profile import Profile
from turnkeep.prices import PriceRow
from turnkeep.tokens.counter import TokenCounter


@dataclass(frozen=True)
class Terms:
    """Under which terms requests are made and priced."""

    profile: Profile
    price: PriceRow
    counter: TokenCounter
    idle_before_user: float = 0.0
    """Seconds that pass before each message of a user: a cache may forget meanwhile."""
