"""Of questions about the early part of a session, which could a model still answer at its end?

Each recorded session of `questions.toml` is played under each policy to its last model call. Of
each question is said whether its answer

- **stands**: literally in that request, wherever: in what was said, in notes, in a summary;
- else is behind a **reference**: the request names the item that holds it (or the call whose result
  does), and `recall` of that gives it;
- else is found by a **search**: by `recall` with one of the question's own words as its pattern.
  Tried are its longest words of four letters and more, four at most, each by itself, in small or
  capital letters; what the tool says, cut as it is for a model, has to hold the answer;
- else is **lost**.

A policy without the tool `recall` has only what stands. Answers are short and literal, so this is a
lower bound of what a summary keeps: one that says the same in other words is not seen.

    python benchmarks/questions.py [--policy NAME[:KEY=VALUE]]… [--summarizer extractive|model:ID|…]
        [--limit TOKENS] [--profile NAME] [--per-question] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from summary_policies import chosen_summarizer, has_summarize, named_policy, summarizer_option
from token_rows import TRANSCRIPTS

from turnkeep.cli.table import table
from turnkeep.content import Ref
from turnkeep.context import Entry
from turnkeep.formats import get_profile
from turnkeep.optimize.recall import RECALL, answer, exchange
from turnkeep.optimize.reference import mark, parse_reference, references
from turnkeep.prices import price_row
from turnkeep.replay.policies import Policy
from turnkeep.replay.recording import Recording, read_recordings
from turnkeep.replay.rewriting import Rewriting
from turnkeep.replay.run import Seen, replay
from turnkeep.replay.terms import Terms
from turnkeep.tokens.memo import Memo

FILE = Path(__file__).with_name("questions.toml")
KINDS = ("fact", "decision", "constraint")
FATES = ("stands", "reference", "search", "lost")
WORDS = 4
"""How many of a question's words are searched for."""
CAP = 4_000
"""Tokens that `recall` says at most where the policy does not say."""
_COMMON_WORDS = """
about after allowed although anything asked been before being both could does done first from
given have held hold holds into keep kept like many more most must name named needs only other
over said same some somebody such than that their them then there they this those under used
user want wants were what when where which while will with would your whenever
"""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True)
class Question:
    """A question about a session, and where its answer stands."""

    session: str
    kind: str
    refs: tuple[Ref, ...]
    question: str
    answers: tuple[str, ...]

    def answered(self, text: str) -> bool:
        """Say whether a text holds an answer."""
        return any(each in text for each in self.answers)

    @property
    def words(self) -> list[str]:
        """The words that are searched for, the longest first."""
        found = re.findall(r"[a-z]{4,}", self.question.lower())
        words = [word for word in dict.fromkeys(found) if word not in _COMMON]
        return sorted(words, key=len, reverse=True)[:WORDS]


class Fate(NamedTuple):
    """What became of a question under a policy."""

    policy: str
    question: Question
    fate: str


def read_questions(file: Path = FILE) -> list[Question]:
    """Read the questions."""
    with file.open("rb") as source:
        tables = tomllib.load(source)["question"]
    return [
        Question(
            each["session"],
            each["kind"],
            tuple(filter(None, map(parse_reference, each["refs"]))),
            each["question"],
            tuple(each["answers"]),
        )
        for each in tables
    ]


def strings(value: Any) -> Iterator[str]:
    """Give all texts of a part of a request."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from strings(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from strings(below)


class Judge:
    """Judges last requests; what a search finds does not depend on the policy."""

    def __init__(self, counter: Memo) -> None:
        self._counter = counter
        self._searched: dict[tuple[Question, int], bool] = {}

    async def fate(self, question: Question, seen: Seen, cap: int) -> str:
        """Say what became of a question in a session's last request."""
        outgoing, recording = seen.outgoing, seen.recording
        parts = [seen.system, *[message.body for message in seen.sent.messages]]
        texts = [] if outgoing.overflow is not None else list(strings(parts))
        if any(map(question.answered, texts)):
            return "stands"
        if not any(tool.name == RECALL for tool in outgoing.tools or ()):
            return "lost"
        entries = recording.entries[: recording.calls[seen.call]]
        if await self._referred(question, texts, entries, cap):
            return "reference"
        key = question, cap
        if key not in self._searched:
            self._searched[key] = await self._found(question, entries, cap)
        return "search" if self._searched[key] else "lost"

    async def _referred(
        self, question: Question, texts: Sequence[str], entries: Sequence[Entry], cap: int
    ) -> bool:
        named = dict.fromkeys(ref for text in texts for ref in references(text))
        for ref in named:
            held = {entry.ref for entry in exchange(entries, ref)}
            if held & set(question.refs) and await self._says(
                question, {"ref": mark(ref)}, entries, cap
            ):
                return True
        return False

    async def _found(self, question: Question, entries: Sequence[Entry], cap: int) -> bool:
        for word in question.words:
            if await self._says(question, {"pattern": rf"(?i)\b{word}"}, entries, cap):
                return True
        return False

    async def _says(
        self, question: Question, asked: Mapping[str, str], entries: Sequence[Entry], cap: int
    ) -> bool:
        said = await answer(asked, entries, cap=cap, count=self._counter.count_texts)
        return not said.failed and question.answered(said.text)


async def ask(
    questions: Sequence[Question],
    recordings: Sequence[Recording],
    policies: Sequence[Policy],
    terms: Terms,
    counter: Memo,
) -> list[Fate]:
    """Play the sessions that are asked about, and judge each question under each policy."""
    wanted = {question.session for question in questions}
    chosen = [each for each in recordings if each.session_id in wanted and each.calls]
    last: list[tuple[int, Seen]] = []
    place = -1

    def watch(seen: Seen) -> None:
        nonlocal place
        place = place + 1 if seen.call == 0 else place
        if seen.call == len(seen.recording.calls) - 1:
            last.append((place % len(policies), seen))

    await replay(chosen, policies, terms, facts=False, watch=watch)
    judge = Judge(counter)
    return [
        Fate(policies[number].label, question, await judge.fate(question, seen, cap))
        for number, seen in last
        for cap in [_cap(policies[number])]
        for question in questions
        if question.session == seen.recording.session_id
    ]


def _cap(policy: Policy) -> int:
    return (policy.rules.cap() if isinstance(policy, Rewriting) else None) or CAP


def rows(fates: Sequence[Fate]) -> list[dict[str, Any]]:
    """Count fates, a row a policy and kind, "all" first."""
    counted = []
    for policy in dict.fromkeys(fate.policy for fate in fates):
        for kind in ("all", *KINDS):
            own = [
                fate
                for fate in fates
                if fate.policy == policy and kind in ("all", fate.question.kind)
            ]
            row: dict[str, Any] = {"policy": policy, "kind": kind, "questions": len(own)}
            row |= {name: sum(fate.fate == name for fate in own) for name in FATES}
            counted.append(row)
    return counted


def row_table(counted: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the rows."""
    head = ("POLICY", "KIND", "QUESTIONS", "STANDS", "BY REFERENCE", "BY SEARCH", "LOST")
    lines = [
        (
            row["policy"] if row["kind"] == "all" else "",
            row["kind"],
            *(str(row[name]) for name in ("questions", *FATES)),
        )
        for row in counted
    ]
    return table(head, lines)


def defaults(limit: int, summarizer: str | None) -> list[str]:
    """Name the policies that are played where none is named."""
    presets = ["coding", "chat", "cheap"]
    if summarizer is not None and has_summarize():
        presets += [f"{name}-summary" for name in presets]
    return ["none", "tutorial-window", *(f"{name}:max_tokens={limit}" for name in presets)]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--policy", action="append", default=[], metavar="NAME[:KEY=VALUE]")
    summarizer_option(parser)
    parser.set_defaults(summarizer="extractive")
    parser.add_argument("--limit", type=int, default=40_000, metavar="TOKENS")
    parser.add_argument("--profile", default="anthropic")
    parser.add_argument("--per-question", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


async def run(args: argparse.Namespace, counter: Memo) -> list[Fate]:
    """Play what the command line names."""
    questions = read_questions()
    files = [str(path) for path in sorted(TRANSCRIPTS.glob("*/*.jsonl"))]
    terms = Terms(get_profile(args.profile), price_row("anthropic-5m"), counter)
    async with chosen_summarizer(args.summarizer, counter) as summarizer:
        names = args.policy or defaults(args.limit, args.summarizer)
        policies = [named_policy(name, summarizer) for name in names]
        return await ask(questions, list(read_recordings(files)), policies, terms, counter)


def main() -> int:
    """Run the benchmark."""
    from optimization import open_counter

    args = parse()
    if not TRANSCRIPTS.is_dir():
        print("skipped: needs the recorded transcripts in ../shared/data/transcripts")
        return 0
    counter = Memo(open_counter())
    fates = asyncio.run(run(args, counter))
    counted = rows(fates)
    sessions = {fate.question.session for fate in fates}
    print(
        f"{len(read_questions())} questions on {len(sessions)} sessions at their last call, limit "
        f"{args.limit:,}, requests for {args.profile}, summarizer {args.summarizer}, counted by "
        f"{counter.name!r}"
    )
    print(row_table(counted))
    if args.per_question:
        for fate in fates:
            print(f"{fate.fate:<10} {fate.policy}: {fate.question.session}: ", end="")
            print(fate.question.question)
    if args.json:
        told = [
            {
                "policy": fate.policy,
                "session": fate.question.session,
                "kind": fate.question.kind,
                "question": fate.question.question,
                "fate": fate.fate,
            }
            for fate in fates
        ]
        figures = {"limit": args.limit, "summarizer": args.summarizer, "rows": counted}
        args.json.write_text(json.dumps({**figures, "questions": told}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
