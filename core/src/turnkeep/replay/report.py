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


def all_in_cost(outcome: Outcome, everything: Outcome) -> float | None:
    """Give a cost with that of all misses, relative to sending everything."""
    return (outcome.cost + outcome.miss_cost) / everything.cost if everything.cost else None


def share(part: int, whole: int) -> float | None:
    """Give a share of facts; None where there were none."""
    return part / whole if whole else None


def _row(outcome: Outcome, everything: Outcome, terms: Terms) -> dict[str, Any]:
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
        "relative_cost": _rounded(relative_cost(outcome, everything)),
        "all_in_cost": _rounded(all_in_cost(outcome, everything)),
        "retention": _rounded(share(outcome.visible, outcome.facts)),
        "original": _rounded(share(outcome.original, outcome.facts)),
        "in_place": _rounded(share(outcome.in_place, outcome.facts)),
        "regret": _rounded(share(outcome.missing, outcome.argument_facts)),
        "facts": outcome.facts,
        "argument_facts": outcome.argument_facts,
        "misses": outcome.misses,
        "checkpoints": outcome.checkpoints,
        "seconds": round(outcome.seconds, 3),
        "violations": dict(sorted(outcome.violations.items())),
    }


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)
