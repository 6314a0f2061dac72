"""Outcomes of a replay as figures: plain JSON values, one row a policy and one a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnkeep.replay.run import Outcome, total
from turnkeep.replay.terms import Terms

RULES: Final[Mapping[str, str]] = {
    "R1": "R1 a result without its call",
    "R2": "R2 a call without result",
    "R3": "R3 parallel calls torn apart",
    "R4": "R4 no user message first",
    "R5": "R5 nothing to answer at the end",
    "R6": "R6 empty text",
    "R7": "R7 an id used twice",
    "R8": "R8 a tool that is not declared",
    "R9": "R9 broken reasoning",
    "wire": "another rule of the provider",
}

HEAD: Final = (
    "POLICY", "CALLS", "TOKENS SENT", "PEAK", "CACHED", "INVALID", "REPAIRED", "RETAINED",
    "IN PLACE", "COST", "ALL IN",
)  # fmt: skip
"""The figures that a person is shown."""
SUMMARY_HEAD: Final = ("SUMMARIES", "READ", "WRITTEN", "THEIR COST")
"""Those that are shown beside them where models were asked for summaries."""


def head(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Name the figures of these policies."""
    return HEAD + SUMMARY_HEAD if any(map(_summarizes, outcomes)) else HEAD


def _summarizes(outcome: Outcome) -> bool:
    return bool(outcome.summaries or outcome.summary_cost)


def figures(outcome: Outcome, everything: Outcome, names: Sequence[str] = HEAD) -> tuple[str, ...]:
    """Write one policy's figures as `names` names them: `HEAD`, or what `head` gave."""
    own = _summarizes(outcome)
    summaries = (
        f"{outcome.summaries:,}" if own else "-",
        f"{outcome.summary_input:,}" if own else "-",
        f"{outcome.summary_output:,}" if own else "-",
        _times(summary_cost(outcome, everything)) if own else "-",
    )
    plain = (
        outcome.policy,
        f"{outcome.requests:,}",
        f"{outcome.tokens_sent:,}",
        f"{outcome.peak_tokens:,}",
        f"{outcome.cached_share:.1%}",
        f"{outcome.invalid:,}",
        f"{outcome.repairs:,}",
        _percent(share(outcome.visible, outcome.facts)),
        _percent(share(outcome.in_place, outcome.facts)),
        _times(relative_cost(outcome, everything)),
        _times(all_in_cost(outcome, everything)),
    )
    return plain + summaries if len(names) > len(HEAD) else plain


def explanation(sessions: int, terms: Terms, names: Sequence[str] = HEAD) -> list[str]:
    """Say what the figures are of and what the words mean."""
    summaries = [
        (
            "SUMMARIES: steps that asked a model for one, the tokens that it READ and has WRITTEN, "
            "and what those cost, which is in COST and ALL IN."
        )
    ]
    return [
        (
            f"{sessions} session{'s' * (sessions != 1)}, requests for {terms.profile.name}, priced "
            f"as {terms.price.name}, tokens by the counter {terms.counter.name!r}. COST is of the "
            "input, relative to sending everything."
        ),
        (
            "RETAINED: of the names and numbers that answers quote from before, those that stand "
            "in the request; IN PLACE: those, and those that can be recalled by a reference in it; "
            "ALL IN: the cost with one more call for each that quotes what does not stand there."
        ),
        *(summaries if len(names) > len(HEAD) else []),
    ]


def broken_rules(outcome: Outcome) -> str | None:
    """Say which rules a policy's requests break, the most frequent first; None if none."""
    if not outcome.violations:
        return None
    worst = sorted(outcome.violations.items(), key=lambda pair: (-pair[1], pair[0]))
    broken = ", ".join(f"{RULES.get(rule, rule)} ({count:,})" for rule, count in worst)
    return f"{outcome.policy}: requests that break a rule: {broken}"


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
    """Give a cost, summaries included, relative to sending everything; None if that is free."""
    return (outcome.cost + outcome.summary_cost) / everything.cost if everything.cost else None


def summary_cost(outcome: Outcome, everything: Outcome) -> float | None:
    """Give the part of `relative_cost` that summaries cost."""
    return outcome.summary_cost / everything.cost if everything.cost else None


def all_in_cost(outcome: Outcome, everything: Outcome) -> float | None:
    """Give a cost with that of all misses, relative to sending everything."""
    cost = outcome.cost + outcome.summary_cost + outcome.miss_cost
    return cost / everything.cost if everything.cost else None


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
        "summaries": outcome.summaries,
        "summary_input": outcome.summary_input,
        "summary_output": outcome.summary_output,
        "summary_cost": _rounded(summary_cost(outcome, everything)),
        "seconds": round(outcome.seconds, 3),
        "violations": dict(sorted(outcome.violations.items())),
    }


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def _percent(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1%}"


def _times(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"
