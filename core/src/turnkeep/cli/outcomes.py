"""Outcomes of a replay as a table for a person."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeep.cli.table import table
from turnkeep.replay.report import broken_rules, explanation, figures, head
from turnkeep.replay.run import Outcome, total
from turnkeep.replay.terms import Terms


def outcome_table(
    played: Sequence[Sequence[Outcome]], everything: Sequence[Outcome], terms: Terms
) -> str:
    """Lay out one line a policy, and say below what the words mean and what was wrong."""
    whole = total(everything)
    sums = [total(outcomes) for outcomes in played]
    names = head(sums)
    lines = [
        table(names, [figures(outcome, whole, names) for outcome in sums]),
        "",
        *explanation(len(everything), terms, names),
    ]
    lines += [broken for outcome in sums if (broken := broken_rules(outcome))]
    return "\n".join(lines)
