"""Playing recordings under policies: requests, checks, tokens and what they would have cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from turnkeep.formats.profile import Violation, Wire
from turnkeep.prices import PriceRow
from turnkeep.replay.cache import CacheUse, Sent, use_of_cache
from turnkeep.replay.meter import Spent
from turnkeep.replay.policies import Outgoing, Policy
from turnkeep.replay.recording import Recording
from turnkeep.replay.retention import FactLog, Score, Standing
from turnkeep.replay.sending import Made, Sender
from turnkeep.replay.terms import Terms
from turnkeep.replay.weigh import Scales

MISS_TOKENS: Final = 1_500
"""What an agent is taken to write into its context to get back what it does not see."""


@dataclass
class Outcome:
    """What one policy did to one session, or to several (`add`).

    `facts` to `missing` are those of `Score`, counted once a call, so sums over sessions pool them.
    `misses` counts the calls that quote a fact which is not visible, `miss_cost` what it would cost
    to look it up. `cost` is of requests alone; `summaries` counts the steps that asked a model,
    `summary_cost` is what those took, beside it.
    """

    policy: str
    session: str | None = None
    requests: int = 0
    invalid: int = 0
    repairs: int = 0
    over_budget: int = 0
    overflows: int = 0
    checkpoints: int = 0
    tokens_sent: int = 0
    peak_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    facts: int = 0
    visible: int = 0
    original: int = 0
    in_place: int = 0
    argument_facts: int = 0
    missing: int = 0
    misses: int = 0
    miss_cost: float = 0.0
    summaries: int = 0
    summary_input: int = 0
    summary_output: int = 0
    summary_cost: float = 0.0
    seconds: float = 0.0
    violations: dict[str, int] = field(default_factory=dict)

    def take(
        self, tokens: int, use: CacheUse, price: PriceRow, violations: Sequence[Violation]
    ) -> None:
        """Count one request in."""
        self.requests += 1
        self.invalid += bool(violations)
        self.tokens_sent += tokens
        self.peak_tokens = max(self.peak_tokens, tokens)
        self.cached_tokens += use.cached
        self.cost += price.cost(cached=use.cached, written=use.written, plain=use.plain)
        for rule in {violation.rule for violation in violations}:
            self.violations[rule] = self.violations.get(rule, 0) + 1

    def spend(self, spent: Spent) -> None:
        """Count in what models took for summaries."""
        self.summaries += spent.times
        self.summary_input += spent.input
        self.summary_output += spent.output
        self.summary_cost += spent.cost

    def judge(self, score: Score, use: CacheUse, price: PriceRow) -> None:
        """Count in what one request held of the facts that its call quoted.

        A miss costs one more call, which reads again what this one left in the cache and sends
        again what it did not, and writes what it looked up.
        """
        for name, count in score._asdict().items():
            setattr(self, name, getattr(self, name) + count)
        if score.visible < score.facts:
            self.misses += 1
            self.miss_cost += price.cost(
                cached=use.cached + use.written, written=MISS_TOKENS, plain=use.plain
            )

    def add(self, other: Outcome) -> None:
        """Take in another session's outcome."""
        for name in (
            "requests", "invalid", "repairs", "over_budget", "overflows", "checkpoints",
            "tokens_sent", "cached_tokens", "cost", "seconds", "misses", "miss_cost",
            "summaries", "summary_input", "summary_output", "summary_cost",
            *Score._fields,
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.peak_tokens = max(self.peak_tokens, other.peak_tokens)
        for rule, count in other.violations.items():
            self.violations[rule] = self.violations.get(rule, 0) + count

    @property
    def mean_tokens(self) -> float:
        """Tokens of the average request."""
        return self.tokens_sent / self.requests if self.requests else 0.0

    @property
    def cached_share(self) -> float:
        """The share of all tokens sent that were read from the cache."""
        return self.cached_tokens / self.tokens_sent if self.tokens_sent else 0.0


Sink = Callable[[dict[str, Any]], None]
"""Takes one request as `--requests` writes it."""


class Seen(NamedTuple):
    """One call as it was played: `sent` holds its messages with their tokens."""

    recording: Recording
    call: int
    outgoing: Outgoing
    system: list[Wire] | None
    sent: Sent
    use: CacheUse
    cost: float
    violations: Sequence[Violation]
    score: Score | None


Watch = Callable[[Seen], None]
"""Sees each call of each session: session by session, in it policy by policy."""


async def play(
    recording: Recording,
    policy: Policy,
    terms: Terms,
    scales: Scales,
    sink: Sink | None = None,
    *,
    facts: FactLog | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Play one recording under one policy; `facts` are those of the recording, to be scored."""
    started = time.process_time()
    playing = _Playing(recording, policy.label, terms, scales)
    standing = None if facts is None else Standing(facts)
    aside = 0.0
    call = -1
    async for outgoing in policy.play(recording, terms):
        call += 1
        made, use, violations = playing.take(call, outgoing)
        aside -= time.process_time()
        score = None
        if standing is not None:
            score = playing.judge(call, outgoing, made, use, standing)
        if watch is not None:
            cost = terms.price.cost(cached=use.cached, written=use.written, plain=use.plain)
            watch(
                Seen(
                    recording, call, outgoing, made.system, made.sent, use, cost, violations, score
                )
            )
        aside += time.process_time()
        if sink is not None:
            sink(playing.line(call, outgoing, made))
    scales.forget_messages()
    playing.outcome.seconds = time.process_time() - started - aside
    return playing.outcome


class _Playing:
    """One recording under one policy, from call to call."""

    def __init__(self, recording: Recording, label: str, terms: Terms, scales: Scales) -> None:
        self.recording = recording
        self.terms = terms
        self.sender = Sender(recording, terms, scales)
        self.outcome = Outcome(label, recording.session_id)
        self.before: Sent | None = None

    def take(self, call: int, outgoing: Outgoing) -> tuple[Made, CacheUse, list[Violation]]:
        """Make the request of a call, check it, and count it in."""
        made = self.sender.make(outgoing)
        self.outcome.spend(outgoing.spent)
        return made, *self._send(call, outgoing, made.sent, made.body)

    def _send(
        self, call: int, outgoing: Outgoing, sent: Sent, body: Wire
    ) -> tuple[CacheUse, list[Violation]]:
        outcome, price = self.outcome, self.terms.price
        outcome.repairs = outgoing.repairs
        if outgoing.overflow is not None:  # nothing is sent
            outcome.requests += 1
            outcome.overflows += 1
            return CacheUse(0, 0, 0), []
        idle = self.terms.idle_before_user if self.recording.begins_turn(call) else 0.0
        use = use_of_cache(sent, self.before, price, idle)
        self.before = sent
        violations = self.terms.profile.check(body)
        outcome.take(sent.total, use, price, violations)
        outcome.checkpoints += outgoing.checkpoint
        outcome.over_budget += outgoing.limit is not None and sent.total > outgoing.limit
        return use, violations

    def judge(
        self, call: int, outgoing: Outgoing, made: Made, use: CacheUse, standing: Standing
    ) -> Score:
        """Score what the request holds of the facts that its call quotes."""
        # What cannot be sent shows nothing.
        shown = made.sent.messages if outgoing.overflow is None else []
        texts = (*self.terms.profile.system_texts(made.system).texts, *self.sender.tool_texts)
        score = standing.score(call, texts if shown else (), shown)
        self.outcome.judge(score, use, self.terms.price)
        return score

    def line(self, call: int, outgoing: Outgoing, made: Made) -> dict[str, Any]:
        """Give the request as `--requests` writes it."""
        return {
            "session": self.recording.session_id,
            "call": call,
            "policy": self.outcome.policy,
            "profile": self.terms.profile.name,
            "checkpoint": outgoing.checkpoint,
            "tokens": made.sent.total,
            "overhead": made.overhead,
            "system": _first_of(made.body, "system", "instructions", "systemInstruction"),
            "tools": made.body.get("tools", []),
            "messages": _first_of(made.body, "messages", "input", "contents"),
            "overflow": outgoing.overflow,
        }


def _first_of(body: dict[str, Any], *names: str) -> Any:
    """Give what a provider has under the first of these names that its body holds."""
    return next((body[name] for name in names if name in body), None)


async def replay(
    recordings: Sequence[Recording],
    policies: Sequence[Policy],
    terms: Terms,
    sink: Sink | None = None,
    *,
    facts: bool = True,
    watch: Watch | None = None,
) -> list[list[Outcome]]:
    """Play all recordings under each policy: a list a policy, in it an outcome a recording.

    A recording is played under every policy before the next one. `facts`: whether to score them.
    """
    scales = Scales(terms.counter)
    played: list[list[Outcome]] = [[] for _ in policies]
    for recording in recordings:
        log = FactLog(recording, terms.profile) if facts else None
        for outcomes, policy in zip(played, policies, strict=True):
            outcome = await play(recording, policy, terms, scales, sink, facts=log, watch=watch)
            outcomes.append(outcome)
    return played


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """Sum one policy's outcomes."""
    whole = Outcome(outcomes[0].policy if outcomes else "")
    for outcome in outcomes:
        whole.add(outcome)
    return whole
