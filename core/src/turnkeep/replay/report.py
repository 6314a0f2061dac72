"""Outcomes of a replay as figures: plain JSON values, one row a policy and one a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turnkeep.replay.run import Outcome, total
from turnkeep.replay.terms import Terms


def as_json(
    played: Sequence[Sequence[Outcome]], everything: Sequence[Outcome], terms: Terms
) -> dict[str, Any]:
    """Give all figures: the sums of each policy, and one row a session and policy.

    `played` is what `replay` gave; `everything` what `none` did to the same sessions, in the same
    order: costs are relative to it.
    """
    whole = total(everything)
    return {
        "policies": [_row(total(outcomes), whole, terms) for outcomes in played],
        "sessions": [
            _row(outcome, baseline, terms)
            for outcomes in played
            for outcome, baseline in zip(outcomes, everything, strict=True)
        ],
    }


def relative_cost(outcome: Outcome, everything: Outcome) -> float | None:
    """Give a cost relative to sending everything; None where that cost nothing."""
    return outcome.cost / everything.cost if everything.cost else None


def _row(outcome: Outcome, everything: Outcome, terms: Terms) -> dict[str, Any]:
    relative = relative_cost(outcome, everything)
    session = {} if outcome.session is None else {"session": outcome.session}
    return {
        **session,
        "policy": outcome.policy,
        "profile": terms.profile.name,
        "price": terms.price.name,
        "requests": outcome.requests,
        "invalid": outcome.invalid,
        "repairs": outcome.repairs,
        "over_budget": outcome.over_budget,
        "overflows": outcome.overflows,
        "tokens_sent": outcome.tokens_sent,
        "mean_tokens": round(outcome.mean_tokens, 1),
        "peak_tokens": outcome.peak_tokens,
        "cached_share": round(outcome.cached_share, 4),
        "relative_cost": None if relative is None else round(relative, 4),
        "checkpoints": outcome.checkpoints,
        "seconds": round(outcome.seconds, 3),
        "violations": dict(sorted(outcome.violations.items())),
    }
