"""Which requests would optimizers have sent for recorded sessions, and at what cost and loss?

All policies are played in one run, over the same sessions (../shared/data/transcripts), with one
price table, one checker, one counter and one measure of retention: `none`, `tutorial-window`, what
`--policy` names, and with `--peers` other frameworks' ways (set up by `make peers`; see
peers/README.md), with their documented defaults first and then set to the limit.

With `--presets` the presets are played at the limit, and with `--summarizer` each of them with
summaries, too (`coding-summary`, …: see summary_policies.py).

    python benchmarks/optimization.py [--peers [NAME,NAME]] [--policy NAME[:KEY=VALUE]]…
        [--presets] [--summarizer extractive|model:ID|recorded:FILE]
        [--sessions long|all] [--limit TOKENS] [--price ROW] [--profile NAME] [--per-session]
        [--json FILE] [--csv FILE] [--check] [FILE…]

Recorded outputs are forced: this shows what a model would have been sent, not what it would have
made of it. Peers get the history repaired, so every fault in their requests is their own.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
from optimization_bounds import check
from peers.rows import RETENTION, as_rows, better_and_cheaper, legend, row_table
from summary_policies import SUFFIX, chosen_summarizer, named_policy, summarizer_option
from token_rows import TRANSCRIPTS

from turnkeep.formats import get_profile
from turnkeep.model import ModelClient
from turnkeep.optimize.presets import PRESETS
from turnkeep.prices import DEFAULT_ROW, price_row
from turnkeep.replay.policies import Everything, Outgoing, Policy, TutorialWindow
from turnkeep.replay.recording import Recording, read_recordings
from turnkeep.replay.run import Outcome, replay
from turnkeep.replay.terms import Terms
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.memo import Memo

LONG = (
    "claude-code/context-evaluator-8209f1c2",
    "claude-code/entire-cli-19abe528",
    "claude-code/entire-cli-63784323",
    "claude-code/entire-cli-847ff7d2",
    "claude-code/entire-cli-ee5c333e",
    "codex-cli/agentv-380144e6",
    "pi-coding-agent/pi-before-compaction",
)
"""The sessions of at least 60,000 tokens by o200k_base, as the recordings' README counts them."""


@dataclass
class Watch:
    """What the benchmark sees of one session beside its outcome.

    `rewrites` counts requests that do not begin with the whole request before, `empty` those
    without any message.
    """

    cpu: float = 0.0
    rewrites: int = 0
    empty: int = 0


class Watched:
    """A policy whose requests are held against one limit, compared, and timed."""

    def __init__(self, policy: Policy, limit: int) -> None:
        self.policy = policy
        self.limit = limit
        self.watches: list[Watch] = []

    @property
    def label(self) -> str:
        """The policy's own."""
        return self.policy.label

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield what the policy does."""
        print(f"{recording.session_id}: {self.label}", file=sys.stderr)
        watch = Watch()
        self.watches.append(watch)
        before: Outgoing | None = None
        playing = self.policy.play(recording, terms)
        while True:
            begun = time.process_time()
            try:
                outgoing = await anext(playing)
            except StopAsyncIteration:
                return
            finally:
                watch.cpu += time.process_time() - begun
            watch.rewrites += before is not None and not _extends(outgoing, before)
            watch.empty += not outgoing.messages
            before = outgoing
            yield outgoing._replace(limit=self.limit)


def _extends(outgoing: Outgoing, before: Outgoing) -> bool:
    """Say whether a request begins with all of the one before."""
    if outgoing.leading != before.leading or len(outgoing.messages) < len(before.messages):
        return False
    return all(
        one is other or one.body == other.body
        for one, other in zip(outgoing.messages, before.messages, strict=False)
    )


def open_counter() -> TokenCounter:
    """Give tiktoken's o200k_base if the plugin is there, else the estimate."""
    try:
        from turnkeep_tokens_tiktoken.counter import TiktokenCounter
    except ImportError:
        return EstimateCounter()
    return TiktokenCounter("o200k_base")


def chosen_files(args: argparse.Namespace) -> list[str]:
    """Give the files to play; none where the recordings are not there."""
    if args.files:
        return list(args.files)
    if args.sessions == "all":
        return [str(path) for path in sorted(TRANSCRIPTS.glob("*/*.jsonl"))]
    return [str(TRANSCRIPTS / f"{name}.jsonl") for name in LONG if TRANSCRIPTS.is_dir()]


def chosen_policies(
    args: argparse.Namespace, counter: Memo, summarizer: ModelClient | None
) -> tuple[list[Policy], list[str]]:
    """Give all policies in the order of the table, and a line for each peer that is missing."""
    policies: list[Policy] = [Everything(), TutorialWindow()]
    known = {policy.label for policy in policies}
    names = list(args.policy)
    if args.presets:
        suffixes = ("", SUFFIX) if summarizer is not None else ("",)
        names += [f"{name}{end}:max_tokens={args.limit}" for name in PRESETS for end in suffixes]
    named = [named_policy(text, summarizer) for text in names]
    policies += [policy for policy in named if policy.label not in known]
    skipped = []
    for family in args.peers:
        try:
            policies += peers.load(family, args.limit, lambda text: counter.count_texts([text])[0])
        except ImportError as error:
            skipped.append(f"skipped: {family} is not installed here ({error.name}); `make peers`")
    return policies, skipped


def families(text: str) -> list[str]:
    """Read `--peers`."""
    names = list(peers.FAMILIES) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in peers.FAMILIES:
            known = ", ".join(peers.FAMILIES)
            raise argparse.ArgumentTypeError(f"unknown peer {name!r}; there are: {known}")
    return names


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="recorded sessions")
    parser.add_argument("--sessions", choices=("long", "all"), default="long")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME[:KEY=VALUE]")
    parser.add_argument("--presets", action="store_true", help="the presets at the limit")
    summarizer_option(parser)
    parser.add_argument(
        "--peers", nargs="?", type=families, const="all", default=[], metavar="NAME,NAME"
    )
    parser.add_argument("--limit", type=int, default=60_000, metavar="TOKENS")
    parser.add_argument("--price", default=DEFAULT_ROW, metavar="ROW")
    parser.add_argument("--profile", default="anthropic")
    parser.add_argument("--idle-before-user", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument(
        "--check", action="store_true", help="hold the engine against its bounds instead"
    )
    parser.add_argument("--per-session", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all rows")
    args = parser.parse_args(arguments)
    if isinstance(args.peers, str):
        args.peers = families(args.peers)
    return args


def write_csv(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Write rows of sums and of sessions; what is not a number is written as JSON."""
    names = list(dict.fromkeys(["policy", "session", *(name for row in rows for name in row)]))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: json.dumps(value) if isinstance(value, dict | list) else value
                    for name, value in row.items()
                }
            )


async def play(
    args: argparse.Namespace, recordings: Sequence[Recording], terms: Terms, counter: Memo
) -> tuple[list[Policy], list[Watched], list[list[Outcome]], list[str]]:
    """Play all policies in one replay: what is worked out of a recording is worked out once."""
    async with chosen_summarizer(args.summarizer, counter) as summarizer:
        policies, skipped = chosen_policies(args, counter, summarizer)
        watched = [Watched(policy, args.limit) for policy in policies]
        return policies, watched, await replay(recordings, watched, terms), skipped


def main() -> int:
    """Run the benchmark."""
    args = parse()
    files = chosen_files(args)
    if not files:
        print("skipped: needs the recorded transcripts in ../shared/data/transcripts, or files")
        return 0
    counter = Memo(open_counter())
    if args.check:
        every = [str(path) for path in sorted(TRANSCRIPTS.glob("*/*.jsonl"))]
        problems = check(
            list(read_recordings(every)), list(read_recordings(files)), counter, open_counter
        )
        for problem in problems:
            print(f"OUT OF BOUNDS: {problem}")
        return 1 if problems else 0
    terms = Terms(get_profile(args.profile), price_row(args.price), counter, args.idle_before_user)
    recordings = list(read_recordings(files))
    policies, watched, played, skipped = asyncio.run(play(args, recordings, terms, counter))
    sums, rows = as_rows(policies, [policy.watches for policy in watched], played, terms)
    print(
        f"{len(recordings)} sessions, {sums[0]['requests']:,} calls, limit {args.limit:,} tokens, "
        f"requests for {terms.profile.name}, priced as {terms.price.name}, counted by "
        f"{counter.name!r}"
    )
    print(row_table(sums))
    if args.per_session:
        print()
        print(row_table(rows))
    print()
    used = {name: peers.versions(name) for name in args.peers}
    for line in [*legend(policies, sums), *used.values(), *skipped]:
        print(line)
    for line in better_and_cheaper(sums, {policy.label for policy in policies[2:]}, policies):
        print(line)
    if args.json:
        figures = {
            "limit": args.limit,
            "counter": counter.name,
            "retention": [name for name in RETENTION if name in sums[0]],
            "versions": used,
            "skipped": skipped,
            "policies": sums,
            "sessions": rows,
        }
        args.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if args.csv:
        write_csv([*sums, *rows], args.csv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
