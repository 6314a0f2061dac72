"""Playing recordings under policies: requests, checks, tokens and what they would have cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from turnkeep.content import ToolDefinition
from turnkeep.formats.profile import Violation, Wire
from turnkeep.prices import PriceRow
from turnkeep.replay.cache import CacheUse, Sent, use_of_cache
from turnkeep.replay.policies import Outgoing, Policy
from turnkeep.replay.recording import Recording
from turnkeep.replay.retention import FactLog, Score, Standing
from turnkeep.replay.terms import Terms
from turnkeep.replay.weigh import Scales, Weight

MISS_TOKENS: Final = 1_500
"""What an agent is taken to write into its context to get back what it does not see."""


@dataclass
class Outcome:
    """What one policy did to one session, or to several (`add`).

    `facts` to `missing` are those of `Score`, counted once a call, so sums over sessions pool them.
    `misses` counts the calls that quote a fact which is not visible, `miss_cost` what it would cost
    to look it up.
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
    aside = 0.0
    standing = None if facts is None else Standing(facts)
    profile = terms.profile
    outcome = Outcome(policy.label, recording.session_id)
    tools = profile.tools(recording.tools)
    tool_texts = profile.tool_texts(recording.tools)
    tool_weight = scales.countable(tool_texts)
    before: Sent | None = None
    call = -1
    async for outgoing in policy.play(recording, terms):
        call += 1
        system, first = profile.system(recording.instructions, outgoing.leading)
        messages = [*first, *outgoing.messages]
        stable = len(first) + outgoing.stable if outgoing.stable else 0
        body = profile.payload(
            messages=messages,
            system=system,
            tools=tools,
            session_id=recording.session_id,
            stable=stable,
        )
        declared = tools
        if not tools and (declared := profile.inferred_tools(messages)):
            named = [ToolDefinition(name=tool["name"], parameters={}) for tool in declared]
            tool_weight = scales.countable(profile.tool_texts(named))
        head = scales.countable(profile.system_texts(system))
        weights = [scales.message(message) for message in messages]
        fixed = Weight(
            profile.request_overhead + tool_weight.tokens + head.tokens,
            profile.request_overhead + tool_weight.overhead + head.overhead,
        )
        marks = profile.breakpoints(declared, system, messages, stable=stable)
        sent = Sent(
            head=(declared, system or []),
            head_tokens=fixed.tokens,
            messages=messages,
            tokens=[weight.tokens for weight in weights],
            breakpoints=marks,
            by_itself=not marks,
        )
        idle = terms.idle_before_user if recording.begins_turn(call) else 0.0
        use = use_of_cache(sent, before, terms.price, idle)
        before = sent
        violations = profile.check(body)
        outcome.take(sent.total, use, terms.price, violations)
        outcome.checkpoints += outgoing.checkpoint
        outcome.overflows += outgoing.overflow is not None
        outcome.over_budget += (
            outgoing.overflow is None and outgoing.limit is not None and sent.total > outgoing.limit
        )
        outcome.repairs = outgoing.repairs
        aside -= time.process_time()
        score = None
        if standing is not None:
            # What cannot be sent shows nothing.
            texts, shown = (*profile.system_texts(system).texts, *tool_texts.texts), messages
            if outgoing.overflow is not None:
                texts, shown = (), []
            score = standing.score(call, texts, shown)
            outcome.judge(score, use, terms.price)
        if watch is not None:
            cost = terms.price.cost(**use._asdict())
            watch(Seen(recording, call, outgoing, system, sent, use, cost, violations, score))
        aside += time.process_time()
        if sink is not None:
            sink(
                {
                    "session": recording.session_id,
                    "call": call,
                    "policy": policy.label,
                    "profile": profile.name,
                    "checkpoint": outgoing.checkpoint,
                    "tokens": sent.total,
                    "overhead": fixed.overhead + sum(weight.overhead for weight in weights),
                    "system": _first_of(body, "system", "instructions", "systemInstruction"),
                    "tools": body.get("tools", []),
                    "messages": _first_of(body, "messages", "input", "contents"),
                    "overflow": outgoing.overflow,
                }
            )
    scales.forget_messages()
    outcome.seconds = time.process_time() - started - aside
    return outcome


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
