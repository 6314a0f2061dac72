"""Outcomes of a replay as a table for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from turnkeep.cli.table import table
from turnkeep.replay.report import all_in_cost, relative_cost, share
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


def outcome_table(
    played: Sequence[Sequence[Outcome]], everything: Sequence[Outcome], terms: Terms
) -> str:
    """Lay out one line a policy, and say below what the words mean and what was wrong."""
    whole = total(everything)
    sums = [total(outcomes) for outcomes in played]
    rows = [
        (
            outcome.policy,
            f"{outcome.requests:,}",
            f"{outcome.tokens_sent:,}",
            f"{outcome.peak_tokens:,}",
            f"{outcome.cached_share:.1%}",
            f"{outcome.invalid:,}",
            f"{outcome.repairs:,}",
            _percent(share(outcome.visible, outcome.facts)),
            _percent(share(outcome.in_place, outcome.facts)),
            _times(relative_cost(outcome, whole)),
            _times(all_in_cost(outcome, whole)),
        )
        for outcome in sums
    ]
    head = (
        "POLICY", "CALLS", "TOKENS SENT", "PEAK", "CACHED", "INVALID", "REPAIRED", "RETAINED",
        "IN PLACE", "COST", "ALL IN",
    )  # fmt: skip
    sessions = len(everything)
    counter = terms.counter.name
    lines = [
        table(head, rows),
        "",
        (
            f"{sessions} session{'s' * (sessions != 1)}, requests for {terms.profile.name}, priced "
            f"as {terms.price.name}, tokens by the counter {counter!r}. COST is of the input, "
            "relative to sending everything."
        ),
        (
            "RETAINED: of the names and numbers that answers quote from before, those that stand "
            "in the request; IN PLACE: those, and those that can be recalled by a reference in it; "
            "ALL IN: the cost with one more call for each that quotes what does not stand there."
        ),
    ]
    for outcome in sums:
        if outcome.violations:
            worst = sorted(outcome.violations.items(), key=lambda pair: (-pair[1], pair[0]))
            broken = ", ".join(f"{RULES.get(rule, rule)} ({count:,})" for rule, count in worst)
            lines.append(f"{outcome.policy}: requests that break a rule: {broken}")
    return "\n".join(lines)


def _percent(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1%}"


def _times(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"
