"""What does a step of an agent cost beside its model? Load, build, count, check, append.

A session of 1,000 turns on SQLite, with a checkpoint 50 turns before its end, is gone on with: runs
of nine tool calls and an answer, by a model that answers at once and a tool that does nothing. The
time of a step is what passes between the model's answer and its next request, rendered; that of the
first one holds the load of the session. `synchronous = "normal"` leaves out the wait for the disk;
`full` is shown beside it, and the floor: raw sqlite3 committing as many rows of such a size.

    python benchmarks/agent.py [--check] [--runs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

from session_paths import LIVE_TURNS, fill, items

from turnkeep import Agent, Message, ToolCall, tool
from turnkeep.codec import encode_event
from turnkeep.events import Event
from turnkeep.keeper import Keeper
from turnkeep.model import DEFAULTS, ModelAnswer, ModelLimits, ModelPiece, ModelRequest
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep_session_sqlite.store import SqliteStore

STEPS = 10
TURNS = 1_000
TARGET = 3.0
"""Milliseconds of a step, without waiting for the disk: median, first steps left out."""


@tool
async def read_file(file_path: str, range: list[int], why: str) -> str:
    """Read a part of a file."""
    del file_path, range, why
    return TEXT


TEXT = "the quick brown fox jumps over the lazy dog. " * 24


class Instant:
    """A model that answers at once, and notes when it was asked and when it had answered."""

    model_id = "gpt-4o"
    profile = "openai-chat"
    limits = ModelLimits(context_window=128_000, max_output=16_000)

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.left = time.perf_counter()
        self.number = 0

    async def generate(self, request: ModelRequest, settings: Any = DEFAULTS) -> ModelAnswer:
        """Answer with a call, and with a text at the end of a run."""
        del settings
        request.to(self.profile)
        self.steps.append((time.perf_counter() - self.left) * 1e3)
        self.number += 1
        if self.number % STEPS:
            call = items(self.number)[1]
            assert isinstance(call, ToolCall)
            answer = ModelAnswer(items=[call])
        else:
            answer = ModelAnswer(items=[Message(role="assistant", content=TEXT)])
        self.left = time.perf_counter()
        return answer

    async def stream(
        self, request: ModelRequest, settings: Any = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Answer in one piece."""
        yield await self.generate(request, settings)


def counter() -> Any:
    """Give tiktoken's counter if it is there, else the estimate."""
    try:
        from turnkeep_tokens_tiktoken.counter import TiktokenCounter
    except ImportError:
        return EstimateCounter()
    return TiktokenCounter("o200k_base")


async def measure(folder: Path, runs: int, synchronous: str) -> dict[str, float]:
    """Run so many times; give milliseconds: of first steps, of the others, of a whole run."""
    path = folder / f"{synchronous}.db"
    await fill(path, {"s": TURNS})
    store = await SqliteStore.open(path, synchronous=synchronous)
    model = Instant()
    first: list[float] = []
    others: list[float] = []
    whole: list[float] = []
    async with Keeper(store=store, counter=counter(), model=model) as keep:
        agent = Agent(model, [read_file], "You are measured.", keeper=keep, max_steps=STEPS)
        for number in range(runs + 1):
            model.steps.clear()
            model.left = begun = time.perf_counter()
            result = await agent.run(f"input {number}", session_id="s")
            spent = (time.perf_counter() - begun) * 1e3
            assert result.status == "complete"
            if number:  # the first one loads what the others find loaded
                first.append(model.steps[0])
                others += model.steps[1:]
                whole.append(spent / STEPS)
    await store.close()
    ordered = sorted(others)
    return {
        "first": statistics.median(first),
        "p50": statistics.median(others),
        "p99": ordered[math.ceil(len(ordered) * 0.99) - 1],
        "whole": statistics.median(whole),
    }


def floor(folder: Path, runs: int, synchronous: str) -> float:
    """Give the milliseconds that raw sqlite3 takes for a step's two commits of one record each."""
    call, result = items(1)[1:3]
    data = [encode_event(Event(author="assistant", content=[each])) for each in (call, result)]
    times: list[float] = []
    with closing(sqlite3.connect(folder / f"floor-{synchronous}.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("CREATE TABLE event (k, seq, data, PRIMARY KEY (k, seq)) WITHOUT ROWID")
        db.execute("CREATE TABLE session (k PRIMARY KEY, version)")
        db.execute("INSERT INTO session VALUES (1, 0)")
        for number in range(runs * STEPS):
            begun = time.perf_counter()
            for place, record in enumerate(data):
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE session SET version = version + 1 WHERE k = 1")
                db.execute("INSERT INTO event VALUES (1, ?, ?)", (number * 2 + place, record))
                db.execute("COMMIT")
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail where the target is missed")
    parser.add_argument("--runs", type=int, default=20, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        for synchronous in ("normal", "full"):
            row = asyncio.run(measure(folder, args.runs, synchronous))
            row["floor"] = floor(folder, args.runs, synchronous)
            figures[synchronous] = row
            print(
                f"synchronous = {synchronous:<7} a step p50 {row['p50']:.2f} ms, p99 "
                f"{row['p99']:.2f}; the first, which loads {LIVE_TURNS} turns, "
                f"{row['first']:.2f}; a whole run / {STEPS} steps {row['whole']:.2f}; raw commits "
                f"{row['floor']:.2f} ms, so a step is {row['p50'] / row['floor']:.1f} times those"
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))
    too_slow = figures["normal"]["p50"] > TARGET
    print(
        f"target: p50 ≤ {TARGET} ms without waiting for the disk: {'missed' if too_slow else 'met'}"
    )
    return int(args.check and too_slow)


if __name__ == "__main__":
    sys.exit(main())
