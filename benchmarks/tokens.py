"""How well are requests sized, and what does it cost?

Accuracy, on the usage that providers reported in recorded sessions (../shared/data/transcripts):

- *next*: the size of the next request, anchored in the report before, against what was reported.
- *growth*: what was added between two reports (500 tokens and more, no compaction between): counted
  plainly, corrected, and by the length of the texts over four.

Corrections are learned from earlier reports of the session and from other sessions of its model
(leave one out). `--csv` writes all rows.

Cost, on a session of 500 messages and more with one new turn: one call's sizing through the very
path that `Turn.request().report()` takes, against recounting everything as tutorials do.

Peers are measured in the same run where they are installed: LangChain's approximate counter,
litellm.token_counter, strands' and agent-framework's estimates.

    python benchmarks/tokens.py [--check] [--counter tiktoken|estimate] [--csv FILE] [--no-peers]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from token_peers import PEERS, as_chat
from token_rows import TRANSCRIPTS, Row, accuracy, recordings

from turnkeep.content import Item, Message, ToolCall, ToolResult, Usage
from turnkeep.context import Context
from turnkeep.events import Event, author_of
from turnkeep.prepared import PreparedRequest
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.learned import Learned
from turnkeep.tokens.memo import Memo
from turnkeep.weighing import Weighing

MAX_MEDIAN, MAX_P90, MAX_P99 = 0.14, 0.9, 4.7
"""% that the next request may be missed by; the 99th percentile only with 300 rows and more."""
MANY = 300
MIN_COVERED = 0.99
MAX_PLAIN_GROWTH = 5.0
"""% by which a plain count may miss a growth, median, where the log holds everything."""
WHOLE_LOGS = ("codex-cli", "openhands")
MIN_CHEAPER = 100
MAX_RISE = 1.5
"""Cost of a call at 50,000 items over that at 500."""
GROWN = 500


def percentile(values: list[float], share: float) -> float:
    """Give the value below which this share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def show_accuracy(rows: list[Row]) -> list[str]:
    """Print both figures by family; give the bounds that are missed."""
    missed: list[str] = []
    by_family: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_family[row.family].append(row)
    print(
        f"{'next request, missed by %':28}{'n':>6}{'median':>9}{'p90':>7}{'p99':>7}{'most':>7}",
        end="",
    )
    print(f"{'covered':>9}{'margin %':>10}")
    for family, found in by_family.items():
        usual = [row for row in found if not row.after_compaction]
        misses = [row.miss for row in usual]
        covered = sum(row.covered for row in usual) / len(usual)
        margin = statistics.median(row.margin / row.reported * 100 for row in usual)
        p99 = f"{percentile(misses, 0.99):7.2f}" if len(usual) >= MANY else f"{'-':>7}"
        print(
            f"{family:28}{len(usual):>6}{statistics.median(misses):>9.3f}"
            f"{percentile(misses, 0.9):>7.2f}{p99}{max(misses):>7.1f}{covered:>9.3f}{margin:>10.2f}"
        )
        check(missed, f"{family}: median % missed", statistics.median(misses), MAX_MEDIAN)
        check(missed, f"{family}: p90 % missed", percentile(misses, 0.9), MAX_P90)
        if len(usual) >= MANY:
            check(missed, f"{family}: p99 % missed", percentile(misses, 0.99), MAX_P99)
    usual = [row for row in rows if not row.after_compaction]
    covered = sum(row.covered for row in usual) / len(usual)
    print(f"all: the margin covers {covered:.2%} of {len(usual)} requests")
    check(missed, "share not covered", 1 - covered, 1 - MIN_COVERED)
    for row in rows:
        if row.after_compaction:
            print(
                f"after a compaction: {row.session} expected {row.expected:,} + {row.margin:,}, "
                f"reported {row.reported:,}"
            )
    print()
    print(
        f"{'growth, missed by %, median':28}{'n':>6}{'plain':>9}{'corrected':>11}{'length/4':>10}"
    )
    for family, found in by_family.items():
        grown = [row for row in found if row.grown is not None and row.grown >= GROWN]
        if not grown:
            continue

        def miss(of: Callable[[Row], int], among: list[Row] = grown) -> float:
            return statistics.median(
                abs(of(row) - (row.grown or 0)) / (row.grown or 1) * 100 for row in among
            )

        plain, corrected = miss(lambda row: row.plain), miss(lambda row: row.corrected)
        quarter = miss(lambda row: row.quarter)
        print(f"{family:28}{len(grown):>6}{plain:>9.1f}{corrected:>11.1f}{quarter:>10.1f}")
        if family in WHOLE_LOGS:
            check(missed, f"{family}: plain growth, % missed", plain, MAX_PLAIN_GROWTH)
        else:
            check(missed, f"{family}: corrected growth over plain", corrected / plain, 0.5)
    print()
    return missed


def check(missed: list[str], what: str, value: float, bound: float) -> None:
    """Note a bound that is missed."""
    if value > bound:
        missed.append(f"{what} is {value:.3g}, the bound {bound:g}")


def long_session(size: int) -> list[Item]:
    """Make a conversation of so many items, about 300 tokens each."""
    items: list[Item] = []
    for number in range(size // 4):
        words = f"step {number}: the quick brown fox jumps over lazy dog {number * 7919}. "
        items += [
            Message(role="user", content=words * 3),
            ToolCall(
                tool_call_id=f"c{number}", name="read_file", arguments={"path": f"src/m{number}.py"}
            ),
            ToolResult(tool_call_id=f"c{number}", name="read_file", content=[words * 40]),
            Message(role="assistant", content=words * 4),
        ]
    return items


def call_ms(size: int, counter: Memo, repeats: int = 200) -> float:
    """Give the median ms to size a request of a long session with one new turn."""
    context, weighing = Context(), Weighing(counter, Learned())
    seq = 0

    def add(found: list[Item], **fields: Any) -> None:
        nonlocal seq
        seq += 1
        event = Event.of_items(found, author=author_of(found[0]), execution_id=None, **fields)
        context.add(event.stored_as(seq))

    for item in long_session(size):
        add([item])
    times = []
    for number in range(repeats + 1):
        add([Message(role="user", content=f"and now number {number}: {number * 104729}")])
        begun = time.perf_counter()
        weighing.follow(context, {})
        request = PreparedRequest.of_items(
            context.items,
            instructions="You review code. " * 50,
            tools=[
                {"name": "read_file", "description": "Reads.", "parameters": {"type": "object"}}
            ],
            model_id="gpt-4o",
            session_id="s",
            counter=counter,
            tally_for=weighing.tally_for(),
            size_of=weighing.size_of("gpt-4o"),
        )
        report = request.report()
        times.append((time.perf_counter() - begun) * 1e3)
        usage = Usage(input_tokens=report.expected, output_tokens=20)
        answer: list[Item] = [Message(role="assistant", content=f"done {number}")]
        weighing.reported(usage, answer, seq + 1, request, seq)
        weighing.teach(request)
        add(answer, usage=usage)
    return statistics.median(times[1:])


def recount_ms(size: int) -> float | None:
    """Give the ms of counting everything anew with tiktoken, as tutorials do; None without it."""
    try:
        from turnkeep_tokens_tiktoken.vocabulary import reference
    except ImportError:
        return None
    encoding = reference("o200k_base")
    messages = as_chat(long_session(size))
    encoding.encode_ordinary("warm")
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        for message in messages:
            encoding.encode(message.get("content") or "", disallowed_special=())
            for call in message.get("tool_calls", ()):
                encoding.encode(call["function"]["name"])
                encoding.encode(call["function"]["arguments"])
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def show_cost(counter: Memo) -> list[str]:
    """Print the cost of a call; give the bounds that are missed."""
    missed: list[str] = []
    sizes = (500, 5_000, 50_000)
    call_ms(500, counter)  # not counted: what is loaded at first use
    calls = {size: call_ms(size, counter) for size in sizes}
    print("one call's sizing: " + ", ".join(f"{calls[size]:.3f} ms at {size:,}" for size in sizes))
    check(missed, "cost at 50,000 items over that at 500", calls[50_000] / calls[500], MAX_RISE)
    recount = recount_ms(500)
    if recount is None:
        print("recount: needs turnkeep-tokens-tiktoken")
    else:
        print(
            f"recount of 500 messages with tiktoken: {recount:.1f} ms, {recount / calls[500]:.0f} x"
        )
        check(missed, "cost of a call over a recount", calls[500] / recount, 1 / MIN_CHEAPER)
    print()
    return missed


def show_peers(rows: list[Row]) -> None:
    """Print what peers say of the same growths, and what they take for 500 messages."""
    del rows
    messages = as_chat(long_session(500))
    sessions = recordings()
    print(f"{'peers':34}{'growth missed, % median (codex, openhands)':>44}{'ms a call':>11}")
    for name, make in PEERS.items():
        try:
            count = make()
        except ImportError as error:
            print(f"{name:34}not installed ({error.name})")
            continue
        misses = []
        for family in WHOLE_LOGS:
            for session in sessions.get(family, []):
                items = [item for event in session.events for item in event.content]
                usage = session.header["usage"]
                for one, two in itertools.pairwise(usage):
                    if two[1] - one[1] >= GROWN:
                        found = count(as_chat(items[one[0] : two[0]]))
                        misses.append(abs(found - (two[1] - one[1])) / (two[1] - one[1]) * 100)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            count(messages)
            times.append((time.perf_counter() - begun) * 1e3)
        print(f"{name:34}{statistics.median(misses):>44.1f}{statistics.median(times):>11.2f}")
    print()


def write_rows(rows: list[Row], file: Path) -> None:
    """Write all rows as CSV."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*Row._fields, "miss_percent", "covered"])
        for row in rows:
            writer.writerow([*row, f"{row.miss:.4f}", row.covered])


def open_counter(name: str) -> Memo:
    """Give the counter to measure."""
    if name == "estimate":
        return Memo(EstimateCounter())
    from turnkeep_tokens_tiktoken.counter import TiktokenCounter

    return Memo(TiktokenCounter("o200k_base", follow_models=True))


def main() -> int:
    """Run the benchmark; 1 where `--check` finds a bound missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    parser.add_argument("--counter", choices=("tiktoken", "estimate"), default="tiktoken")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was missed")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    counter = open_counter(given.counter)
    missed: list[str] = []
    rows: list[Row] = []
    if TRANSCRIPTS.is_dir():
        rows = accuracy(counter)
        missed += show_accuracy(rows)
        if given.csv:
            write_rows(rows, given.csv)
    else:
        print("accuracy: needs the recorded transcripts in ../shared/data/transcripts")
    missed += show_cost(counter)
    if rows and not given.no_peers:
        show_peers(rows)
    for line in missed:
        print("MISSED", line)
    if given.json:
        given.json.write_text(json.dumps({"missed": missed}, indent=2))
    return int(given.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
