"""Outcomes of the benchmark as rows and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peers.base import Ledger, Peer
from turnkeep.cli.table import table
from turnkeep.replay.policies import Policy
from turnkeep.replay.report import as_json
from turnkeep.replay.run import Outcome
from turnkeep.replay.terms import Terms

if TYPE_CHECKING:
    from optimization import Watch

RETENTION = ("retention", "original", "in_place", "regret")
"""Columns of a replay that measures what of the facts needed later was still there."""

RULES = {
    "R1": "R1 a result without its call",
    "R2": "R2 a call without result",
    "R3": "R3 parallel calls torn apart",
    "R4": "R4 no user message first",
    "R5": "R5 nothing to answer at the end",
    "R6": "R6 empty text",
    "wire": "another rule of the provider",
}

Row = dict[str, Any]


def as_rows(
    policies: Sequence[Policy],
    watches: Sequence[Sequence[Watch]],
    played: Sequence[Sequence[Outcome]],
    terms: Terms,
) -> tuple[list[Row], list[Row]]:
    """Give one row a policy and one a session: replay's figures and the benchmark's own.

    Costs are relative to what `none`, the first policy, cost on the same sessions.
    """
    figures = as_json(played, played[0], terms)
    sums, rows = figures["policies"], figures["sessions"]
    whole = sum(outcome.cost for outcome in played[0])
    place = 0
    for policy, seen, outcomes, row in zip(policies, watches, played, sums, strict=True):
        ledgers = policy.ledgers if isinstance(policy, Peer) else [None for _ in seen]
        _add(row, seen, ledgers, whole, terms)
        for watch, ledger, _, base in zip(seen, ledgers, outcomes, played[0], strict=True):
            _add(rows[place], [watch], [ledger], base.cost, terms)
            place += 1
    return sums, rows


def _add(
    row: Row,
    watches: Sequence[Watch],
    ledgers: Sequence[Ledger | None],
    whole: float,
    terms: Terms,
) -> None:
    """Put the benchmark's own figures into a row.

    What summaries cost is in `relative_cost` already where the replay has charged it.
    """
    own = [ledger for ledger in ledgers if ledger is not None]
    # A summarizer reads at the full price, as its prompt is not the session's, and writes.
    summarizer = sum(ledger.read + ledger.written * terms.price.output for ledger in own)
    relative = summarizer / whole if whole else 0.0
    charged = row["summary_cost"] or 0.0
    cpu = sum(ledger.cpu for ledger in own) if own else sum(watch.cpu for watch in watches)
    row.update(
        over_limit=row["over_budget"],
        rewrites=sum(watch.rewrites for watch in watches),
        empty=sum(watch.empty for watch in watches),
        cpu_ms=round(cpu * 1e3 / row["requests"], 3) if row["requests"] else 0.0,
        summaries=row["summaries"] + sum(ledger.summaries for ledger in own),
        lost_summaries=sum(ledger.lost for ledger in own),
        raised=sum(ledger.raised for ledger in own),
        errors=sorted({error for ledger in own for error in ledger.errors})[:3],
        summarizer_cost=round(relative + charged, 4),
        total_cost=round((row["relative_cost"] or 0.0) + relative, 4),
    )


def row_table(rows: Sequence[Row]) -> str:
    """Lay out rows, sums or sessions."""
    head = (
        "POLICY", "CALLS", "INVALID", "OVER", "MEAN", "CACHED", "COST", "+SUMMARY", "REWRITES",
        "MS/CALL", "RETENTION", "ORIGINAL", "IN PLACE", "REGRET",
    )  # fmt: skip
    lines = []
    for row in rows:
        name = f"{row['policy']} / {row['session']}" if "session" in row else row["policy"]
        lines.append(
            (
                name,
                f"{row['requests']:,}",
                f"{row['invalid']:,}",
                f"{row['over_limit']:,}",
                f"{row['mean_tokens']:,.0f}",
                f"{row['cached_share']:.1%}",
                "-" if row["relative_cost"] is None else f"{_requests_cost(row):.3f}",
                f"{row['summarizer_cost']:.3f}" if row["summaries"] else "-",
                f"{row['rewrites']:,}",
                f"{row['cpu_ms']:.2f}",
                *(_share(row.get(name)) for name in RETENTION),
            )
        )
    return table(head, lines)


def _requests_cost(row: Row) -> float:
    """Give what the requests alone cost: the table has the summaries in a column beside it."""
    cost: float = row["total_cost"] - row["summarizer_cost"]
    return cost


def _share(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def legend(policies: Sequence[Policy], sums: Sequence[Row]) -> Iterator[str]:
    """Say below the table which rules were broken, what else went wrong, and all settings."""
    for row in sums:
        said = []
        worst = sorted(row["violations"].items(), key=lambda pair: (-pair[1], pair[0]))
        said += [f"{RULES.get(rule, rule)} ({count:,})" for rule, count in worst]
        if row["empty"]:
            said.append(f"requests without any message ({row['empty']:,})")
        if row["overflows"]:
            said.append(f"calls at which nothing could be sent ({row['overflows']:,})")
        if row["lost_summaries"]:
            said.append(f"histories replaced by a placeholder ({row['lost_summaries']:,})")
        if row["raised"]:
            said.append(f"raised ({row['raised']:,}): {row['errors'][0]}")
        if said:
            yield f"{row['policy']}: {', '.join(said)}"
    if sums and sums[0]["repairs"]:
        yield (
            f"input: {sums[0]['repairs']:,} repairs were made to the recorded history before any "
            "policy but tutorial-window saw it"
        )
    for policy in policies:
        if isinstance(policy, Peer):
            yield f"{policy.label}: {policy.settings}"


def better_and_cheaper(
    sums: Sequence[Row], named: set[str], policies: Sequence[Policy]
) -> Iterator[str]:
    """Say which peers without faults cost no more and keep no less than each of our policies.

    Valid requests over the limit would be refused, too, so they are said with their number.
    """
    peers = {policy.label for policy in policies if isinstance(policy, Peer)}
    ours = [row for row in sums if row["policy"] in named - peers]
    if not ours or not peers:
        return
    if not isinstance(ours[0].get("retention"), int | float):
        yield "no retention was measured, so no peer is compared on it"
        return
    for row in ours:
        found = [
            other["policy"]
            + (f" (over the limit in {other['over_limit']:,})" if other["over_limit"] else "")
            for other in sums
            if other["policy"] in peers
            and not other["invalid"]
            and other["total_cost"] <= row["total_cost"]
            and other["retention"] >= row["retention"]
        ]
        yield (
            f"{row['policy']}: valid peers that are as cheap and keep as much: "
            f"{', '.join(found) or 'none'}"
        )
