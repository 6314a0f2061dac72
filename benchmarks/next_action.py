"""Would a model do the same next with an optimized context as with all of it?

At some calls of recorded sessions, spread over those that come after a policy's first rewrite, a
model is asked three times for its next action: twice with the whole context (A/A: how much it
differs from itself), and once with the policy's (A/B). An action is the tools that it calls with
their arguments, or that it answers with a text. Where it first calls `recall`, that is answered
from the recording, as a turn does, and it is asked again, `RECALLS` times at most.

    python benchmarks/next_action.py --model openai/gpt-5 [--policy coding:max_tokens=60000]…
        [--summarizer extractive|model:ID|recorded:FILE] [--calls 20] [--ask] [--config TOML]
        [--json FILE] [FILE…]

Without `--ask` it only says how many requests and tokens that would be. Whole contexts have to fit
the model's window; calls at which they do not are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from summary_policies import chosen_summarizer, named_policy, summarizer_option
from token_rows import TRANSCRIPTS

from turnkeep.cli.table import table
from turnkeep.config import load_config
from turnkeep.content import Item, ToolDefinition, ToolResult
from turnkeep.errors import ConfigError, ModelError
from turnkeep.formats import get_profile
from turnkeep.hookspecs import Env
from turnkeep.model import ModelClient, ModelSettings
from turnkeep.optimize.recall import RECALL, answer
from turnkeep.prepared import PreparedRequest
from turnkeep.prices import price_row_for
from turnkeep.replay.recording import Recording, read_recordings
from turnkeep.replay.rewriting import Rewriting
from turnkeep.replay.terms import Terms
from turnkeep.tokens.memo import Memo

RECALLS = 3
CAP = 4_000
"""Tokens that `recall` says at most where the policy does not say."""
AT_ONCE = 4
"""Calls that are asked about at the same time."""
OUTPUT = 2_000
"""Tokens of an answer at most."""


class Place(NamedTuple):
    """A call of a recording, with what a policy would have sent for it."""

    recording: Recording
    call: int
    items: list[Item]
    tools: list[ToolDefinition]
    cap: int
    tokens: tuple[int, int]
    """Those of the whole context, and of the policy's."""


class Action(NamedTuple):
    """What a model does next: names of tools, and their arguments as JSON; none: it answers."""

    names: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass
class Agreement:
    """How often two answers were alike, over the calls of a policy."""

    policy: str
    calls: int = 0
    failed: int = 0
    recalls: int = 0
    same: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("AA tools", "AB tools", "AA whole", "AB whole"), 0)
    )

    def take(self, first: Action, second: Action, optimized: Action) -> None:
        """Count three answers in; each of the two with the whole context is compared with B."""
        self.calls += 1
        self.same["AA tools"] += 2 * (first.names == second.names)
        self.same["AA whole"] += 2 * (first == second)
        for whole in (first, second):
            self.same["AB tools"] += whole.names == optimized.names
            self.same["AB whole"] += whole == optimized

    def share(self, name: str) -> float | None:
        """Give the share of pairs that were alike."""
        return self.same[name] / (2 * self.calls) if self.calls else None

    def row(self) -> dict[str, Any]:
        """Give the figures."""
        shares = {name.replace(" ", "_").lower(): self.share(name) for name in self.same}
        return {
            "policy": self.policy,
            "calls": self.calls,
            "failed": self.failed,
            "recalls": self.recalls,
            **shares,
        }


async def places(
    recordings: Sequence[Recording], policy: Rewriting, terms: Terms, window: int | None, most: int
) -> list[Place]:
    """Give calls, spread evenly over those whose context the policy had rewritten before."""
    found: list[Place] = []
    for recording in recordings:
        rewritten = False
        async with policy.opened(recording, terms) as played:
            for call in range(len(recording.calls)):
                outgoing = await played.call(call)
                rewritten = rewritten or outgoing.checkpoint
                if not rewritten or outgoing.overflow is not None:
                    continue
                whole = prepared(recording, recording.items[: recording.calls[call]], played.tools)
                items = list(played.context.items)
                # In the provider's form, as the window is in its tokens.
                tokens = whole.report(terms.profile.name).tokens
                optimized = prepared(recording, items, played.tools)
                sizes = tokens, optimized.report(terms.profile.name).tokens
                if window is None or tokens + OUTPUT <= window:
                    cap = policy.rules.cap() or CAP
                    found.append(Place(recording, call, items, list(played.tools), cap, sizes))
    step = max(len(found) / most, 1)
    return [found[int(number * step)] for number in range(min(most, len(found)))]


def prepared(
    recording: Recording, items: Sequence[Item], tools: Sequence[ToolDefinition]
) -> PreparedRequest:
    """Make a request of items."""
    return PreparedRequest.of_items(
        items,
        instructions=recording.instructions,
        tools=tools,
        session_id=recording.session_id,
        counter=COUNTER,
    )


class _Counter:
    """The counter, opened when the first request is weighed."""

    def __init__(self) -> None:
        self._memo: Memo | None = None

    def __getattr__(self, name: str) -> Any:
        if self._memo is None:
            from optimization import open_counter

            self._memo = Memo(open_counter())
        return getattr(self._memo, name)


COUNTER: Any = _Counter()


async def next_action(
    model: ModelClient, place: Place, items: Sequence[Item], limit: asyncio.Semaphore
) -> tuple[Action, int]:
    """Ask for the next action; give it with how often the model read something back before."""
    said = list(items)
    entries = place.recording.entries[: place.recording.calls[place.call]]
    for recalls in range(RECALLS + 1):
        request = prepared(place.recording, said, place.tools)
        async with limit:
            got = await model.generate(request, ModelSettings(max_output=OUTPUT))
        calls = got.tool_calls
        if not calls or any(call.name != RECALL for call in calls) or recalls == RECALLS:
            break
        said += got.items
        for call in calls:
            found = await answer(call.arguments, entries, cap=place.cap, count=COUNTER.count_texts)
            status = "error" if found.failed else "success"
            said.append(
                ToolResult(
                    tool_call_id=call.tool_call_id,
                    name=call.name,
                    content=[found.text],
                    status=status,
                )
            )
    made = sorted((c.name, json.dumps(c.arguments, sort_keys=True)) for c in calls)
    return Action(tuple(name for name, _ in made), tuple(written for _, written in made)), recalls


async def compare(model: ModelClient, policy: str, chosen: Sequence[Place]) -> Agreement:
    """Ask about all places; one that a model does not answer counts as failed."""
    agreement, limit = Agreement(policy), asyncio.Semaphore(AT_ONCE)

    async def one(place: Place) -> None:
        whole = place.recording.items[: place.recording.calls[place.call]]
        try:
            # One after the other, so that the second may be read from the provider's cache.
            first, _ = await next_action(model, place, whole, limit)
            second, _ = await next_action(model, place, whole, limit)
            optimized, recalls = await next_action(model, place, place.items, limit)
        except ModelError as error:
            print(f"call {place.call}: {error}", file=sys.stderr)
            agreement.failed += 1
            return
        agreement.recalls += recalls
        agreement.take(first, second, optimized)

    async with asyncio.TaskGroup() as tasks:
        for place in chosen:
            tasks.create_task(one(place))
    return agreement


def result_table(rows: Sequence[Agreement]) -> str:
    """Lay out the agreements."""
    head = ("POLICY", "CALLS", "FAILED", "RECALLS", "A/A TOOLS", "A/B TOOLS", "A/A", "A/B")
    lines = [
        (
            row.policy,
            str(row.calls),
            str(row.failed),
            str(row.recalls),
            *("-" if (share := row.share(name)) is None else f"{share:.1%}" for name in row.same),
        )
        for row in rows
    ]
    return table(head, lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="recorded sessions")
    parser.add_argument("--model", required=True, metavar="ID")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME[:KEY=VALUE]")
    summarizer_option(parser)
    parser.add_argument("--calls", type=int, default=20, metavar="N", help="of each policy")
    parser.add_argument("--ask", action="store_true", help="ask; otherwise say what it would be")
    parser.add_argument("--config", metavar="TOML", help="where the options of the client stand")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


async def run(args: argparse.Namespace, recordings: Sequence[Recording]) -> list[Agreement]:
    """Compare, or only say what that would be."""
    config = load_config(args.config or {})
    env = Env(data_dir=config.folder, logger=logging.getLogger("turnkeep"))
    rows: list[Agreement] = []
    async with (
        config.open_model(args.model, env) as model,
        chosen_summarizer(args.summarizer, COUNTER) as summarizer,
    ):
        price = price_row_for(model.model_id, model.profile)
        terms = Terms(get_profile(model.profile), price, COUNTER)
        for name in args.policy or ["coding:max_tokens=60000"]:
            policy = named_policy(name, summarizer)
            if not isinstance(policy, Rewriting):
                raise ConfigError(f"policy {name!r} rewrites nothing, so there is nothing to ask")
            window = model.limits.context_window
            chosen = await places(recordings, policy, terms, window, args.calls)
            tokens = sum(2 * place.tokens[0] + place.tokens[1] for place in chosen)
            print(
                f"{name}: {len(chosen)} calls, {3 * len(chosen)} requests, {tokens:,} tokens",
                flush=True,
            )
            if args.ask:
                rows.append(await compare(model, name, chosen))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    from optimization import LONG

    args = parse(arguments)
    files = args.files or [
        str(TRANSCRIPTS / f"{name}.jsonl") for name in LONG if TRANSCRIPTS.is_dir()
    ]
    if not files:
        print("skipped: needs the recorded transcripts in ../shared/data/transcripts, or files")
        return 0
    try:
        rows = asyncio.run(run(args, list(read_recordings(files))))
    except (ConfigError, ModelError) as error:
        print(error, file=sys.stderr)
        return 1
    if rows:
        print(result_table(rows))
    else:
        print("nothing was asked; add --ask")
    if args.json:
        args.json.write_text(json.dumps([row.row() for row in rows], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
