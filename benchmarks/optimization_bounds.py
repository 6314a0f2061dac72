"""The bounds that the engine must keep, over all recordings, limits and profiles; and its CPU time.

Used by `optimization.py --check`. Nothing here trusts the engine: requests are counted by all the
strings in their JSON, references are taken from their texts and recalled from the recording.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from summary_policies import chosen_summarizer, has_summarize, named_policy

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.model import ModelClient
from turnkeep.optimize.recall import answer, exchange, text_of
from turnkeep.optimize.reference import references
from turnkeep.prices import price_row
from turnkeep.replay.named import parse_policy
from turnkeep.replay.policies import Outgoing, Policy
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import as_json
from turnkeep.replay.rewriting import Rewriting
from turnkeep.replay.run import replay
from turnkeep.replay.terms import Terms
from turnkeep.tokens.memo import Memo

LIMITS = (20_000, 40_000, 100_000)
BOUNDS = {
    ("cheap", "anthropic-5m"): {"cost": 0.22, "retention": 0.77, "in_place": 0.99, "regret": 0.01},
    ("cheap", "deepseek"): {"cost": 0.32, "retention": 0.77, "in_place": 0.99, "regret": 0.01},
    ("coding", "anthropic-5m"): {"cost": 0.26, "retention": 0.82, "in_place": 0.99, "regret": 0.01},
    ("coding", "deepseek"): {"cost": 0.38, "retention": 0.82, "in_place": 0.99, "regret": 0.01},
}
"""Preset, prices → what the long sessions at a limit of 60,000 may cost, and what must remain."""
P50, P99, CHECKPOINT = 0.5, 2.0, 10.0
"""Milliseconds of a call at 500 messages, beyond counting."""
ITEMS, ITEM_SECONDS, ITEM_BYTES, ITEM_GROWTH = 100_000, 20.0, 1e9, 2.3


class Checking:
    """The engine as a policy, each of whose rewrites is held against the rules."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.label = policy.label
        self.problems: list[str] = []
        self.overflows: list[str] = []
        self.references = 0
        self.forced: dict[str, int] = {}
        self.checkpoints = 0

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield what the policy does, and look at it."""
        recalled: set[str] = set()
        due, grown, last, before = 0.0, 0.0, 0, 0
        async for outgoing in self.policy.play(recording, terms):
            if outgoing.overflow is not None:
                self.overflows.append(f"{recording.session_id}: {outgoing.overflow}")
            if outgoing.checkpoint:
                report: dict[str, Any] = dict(outgoing.report or {})
                self.checkpoints += 1
                grown = report["tokens_before"] - last
                reason = report["reason"]
                self.forced[reason] = self.forced.get(reason, 0) + 1
                if reason == "trigger" and before and grown < due - 1:
                    self.problems.append(f"{recording.session_id}: a rewrite came too soon")
                last, due = report["tokens_after"], report["trigger"] - report["target"]
                before += 1
                text = json.dumps([message.body for message in outgoing.messages])
                for ref in references(text):
                    if str(ref) in recalled:
                        continue
                    recalled.add(str(ref))
                    await self._recall(recording, ref)
            yield outgoing

    async def _recall(self, recording: Recording, ref: Any) -> None:
        self.references += 1
        found = exchange(recording.entries, ref)
        said = await answer(
            {"ref": f"#{ref.seq}.{ref.index}"},
            recording.entries,
            cap=10**9,
            count=lambda texts: [len(text) for text in texts],
        )
        originals = [entry for entry in recording.entries if entry.ref == ref]
        whole = text_of(originals[0].item) if originals else None
        if not found or whole is None or (whole.strip() and whole not in said.text):
            self.problems.append(f"{recording.session_id}: {ref} recalls something else")


def strings(value: Any) -> Iterator[str]:
    """Give all strings of a request, the names of its fields left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from strings(below)
    elif isinstance(value, list):
        for below in value:
            yield from strings(below)


def check_validity(
    recordings: Sequence[Recording], counter: Memo, name: str = "coding"
) -> list[str]:
    """Play everything at every limit for every profile, with an extract where it is summarized."""
    return asyncio.run(_check_validity(recordings, counter, name))


async def _check_validity(recordings: Sequence[Recording], counter: Memo, name: str) -> list[str]:
    async with chosen_summarizer("extractive", counter) as summarizer:
        return await _check_all(recordings, counter, name, summarizer)


async def _check_all(
    recordings: Sequence[Recording], counter: Memo, name: str, summarizer: ModelClient | None
) -> list[str]:
    problems: list[str] = []
    for profile in PROFILE_NAMES:
        for limit in LIMITS:
            terms = Terms(get_profile(profile), price_row("anthropic-5m"), counter)
            checking = Checking(named_policy(f"{name}:max_tokens={limit}", summarizer))
            over = 0

            def look(request: dict[str, Any], limit: int = limit) -> None:
                nonlocal over
                parts = [request["system"], request["tools"], request["messages"]]
                texts = [text for part in parts for text in strings(part)]
                over += request["overflow"] is None and sum(counter.count_texts(texts)) > limit

            [outcomes] = await replay(recordings, [checking], terms, look, facts=False)
            invalid = sum(outcome.invalid for outcome in outcomes)
            own = sum(outcome.over_budget for outcome in outcomes)
            calls = sum(outcome.requests for outcome in outcomes)
            summaries = sum(outcome.summaries for outcome in outcomes)
            reasons = ", ".join(f"{n} by {why}" for why, n in sorted(checking.forced.items()))
            print(
                f"  {profile:<17} {limit:>7,}: {calls:,} calls, {invalid} invalid, {own} over the "
                f"limit, {over} by the texts alone, {len(checking.overflows)} overflows, "
                f"{checking.checkpoints} checkpoints ({reasons}), {checking.references} references "
                f"recalled{f', {summaries} summaries' if summaries else ''}"
            )
            for line in (*checking.overflows, *checking.problems):
                print(f"    {line}")
            problems += checking.problems
            if invalid or own or over:
                problems.append(f"{profile} at {limit}: invalid or over the limit")
    return problems


def check_costs(recordings: Sequence[Recording], counter: Memo) -> list[str]:
    """Hold the presets against their bounds, over the long sessions."""
    problems: list[str] = []
    for (preset, price), bounds in BOUNDS.items():
        terms = Terms(get_profile("anthropic"), price_row(price), counter)
        policies = [parse_policy("none"), parse_policy(f"{preset}:max_tokens=60000")]
        played = asyncio.run(replay(recordings, policies, terms))
        figures = as_json(played, played[0], terms)
        row = figures["policies"][1]
        said = {"cost": row["relative_cost"], **{key: row[key] for key in list(bounds)[1:]}}
        print(
            f"  {preset} at {price}: cost {said['cost']:.3f} (≤ {bounds['cost']}), visible "
            f"{row['retention']:.3f} (≥ {bounds['retention']}), in original text "
            f"{row['original']:.3f}, in place {row['in_place']:.4f} (≥ {bounds['in_place']}), "
            f"regret {row['regret']:.4f} (≤ {bounds['regret']}), all in {row['all_in_cost']:.3f}"
        )
        for one in figures["sessions"][len(recordings) :]:
            print(
                f"    {one['session']:<32} cost {one['relative_cost']:.3f}, visible "
                f"{one['retention']:.3f}, original {one['original']:.3f}, in place "
                f"{one['in_place']:.4f}, all in {one['all_in_cost']:.3f}"
            )
        for key, bound in bounds.items():
            too_much = key in {"cost", "regret"}
            if (said[key] > bound) if too_much else (said[key] < bound):
                problems.append(f"{preset} at {price}: {key} is {said[key]}, the bound {bound}")
    return problems


class Apart(Memo):
    """A counter that notes the time it takes."""

    spent = 0.0

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Count as ever."""
        began = time.perf_counter()
        try:
            return super().count_texts(texts)
        finally:
            self.spent += time.perf_counter() - began


async def timed(
    recording: Recording, policy: Rewriting, counter: Apart
) -> tuple[list[float], list[tuple[float, int]]]:
    """Give the milliseconds of calls beyond counting, and those of rewrites with their items.

    `counter` notes the seconds that counting took in all.
    """
    terms = Terms(get_profile("anthropic"), price_row("anthropic-5m"), counter)
    calls: list[float] = []
    rewrites: list[tuple[float, int]] = []
    async with policy.opened(recording, terms) as played:
        for number in range(len(recording.calls)):
            items = len(played.context.items)
            counted, began = counter.spent, time.perf_counter()
            outgoing = await played.call(number)
            spent = (time.perf_counter() - began - counter.spent + counted) * 1000
            if outgoing.checkpoint:
                rewrites.append((spent, items))
            else:
                calls.append(spent)
    return calls, rewrites


def check_time(recordings: Sequence[Recording], make: Any) -> list[str]:
    """Time calls of the longest session around 500 messages, and a very long history."""
    longest = max(recordings, key=lambda each: len(each.items))
    policy = parse_policy("coding:max_tokens=130000,trigger=0.95")
    assert isinstance(policy, Rewriting)
    runs = [asyncio.run(timed(longest, policy, Apart(make()))) for _ in range(5)]
    calls, rewrites = min(runs, key=lambda run: sum(run[0]))
    ordered = sorted(calls)
    p50, p99 = ordered[len(ordered) // 2], ordered[math.ceil(len(ordered) * 0.99) - 1]
    # The first one of a process loads what the others find loaded.
    worst = min(max(spent for spent, _ in each[1][1:] or each[1]) for each in runs)
    items = max(size for _, size in rewrites)
    print(
        f"  a call up to {items} messages: p50 {p50:.2f} ms (≤ {P50}), p99 {p99:.2f} (≤ {P99}), "
        f"a rewrite at most {worst:.1f} (≤ {CHECKPOINT}), beyond counting"
    )
    problems = []
    if p50 > P50 or p99 > P99 or worst > CHECKPOINT:
        problems.append("a call takes too long")
    seconds, counting = {}, {}
    policy = parse_policy("coding:max_tokens=60000")
    assert isinstance(policy, Rewriting)
    for size in (ITEMS // 2, ITEMS):
        gc.collect()
        recording, counter = synthetic(size), Apart(make())
        began = time.process_time()
        asyncio.run(timed(recording, policy, counter))
        counting[size] = counter.spent
        seconds[size] = time.process_time() - began - counter.spent
    growth = seconds[ITEMS] / seconds[ITEMS // 2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"  {ITEMS:,} items: {seconds[ITEMS]:.1f} s of CPU beyond counting (≤ {ITEM_SECONDS:.0f}; "
        f"counting {counting[ITEMS]:.1f}), "
        f"{growth:.2f} times as much as half of them (≤ {ITEM_GROWTH}), {peak / 1e9:.2f} GB at "
        f"most in this process (≤ {ITEM_BYTES / 1e9:.0f})"
    )
    if seconds[ITEMS] > ITEM_SECONDS or growth > ITEM_GROWTH or peak > ITEM_BYTES:
        problems.append(f"{ITEMS:,} items take too much")
    return problems


def synthetic(size: int) -> Recording:
    """Make a long session with a fixed seed: reads, now and then an answer and a question."""
    rng = random.Random(1)  # no secret
    words = [f"word_{number}" for number in range(2_000)]
    items: list[Any] = [Message(role="user", content="Do the task")]
    number = 0
    while len(items) < size:
        number += 1
        path = f"src/m{number % 97}/file_{number}.py"
        text = " ".join(rng.choices(words, k=rng.choice((20, 60, 200))))
        call_id = f"c{number}"
        items.append(ToolCall(tool_call_id=call_id, name="read", arguments={"path": path}))
        items.append(ToolResult(tool_call_id=call_id, name="read", content=[text]))
        if number % 10 == 0:
            items.append(Message(role="assistant", content=f"done with {path}"))
            items.append(Message(role="user", content=f"now number {number}"))
    return Recording.of_items("synthetic", items, [ToolDefinition(name="read")])


def check(
    every: Sequence[Recording], long: Sequence[Recording], counter: Memo, make: Any
) -> list[str]:
    """Run all checks, printing the figures; give what is out of bounds."""
    # First, so that its peak of memory is its own.
    print("CPU and memory:")
    problems = check_time(every, make)
    print(f"{len(every)} sessions at each limit, for each profile:")
    problems += check_validity(every, counter)
    if has_summarize():
        print("with summaries (extractive):")
        problems += check_validity(every, counter, "coding-summary")
    print(f"{len(long)} long sessions at 60,000:")
    return problems + check_costs(long, counter)
