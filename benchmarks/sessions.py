"""What does a turn cost from items to disk, against SQLite itself doing the same?

A turn is four items of about 3 kB (user message, call, result, answer) that become four events.
The floor is raw sqlite3 in the calling thread on a file of its own with the same tables and
pragmas: one UPDATE of the head that checks the version, one INSERT of the same bytes, encoded
beforehand, BEGIN IMMEDIATE … COMMIT with an fsync. It builds no events and blocks its loop, so it
is out of reach; ratios to it, taken by turns in one process, hold where milliseconds do not.

Measured on it: `store` (events built and encoded, then `SqliteStore.append`) and `turn` (the whole
way through `Turn.add`), at turn 10, 1,000 and 10,000 of a session, with one session and with eight
at once. Each session has a checkpoint 50 turns before its end, as a long one would.

    python benchmarks/sessions.py [--check] [--json FILE] [--paths store turn]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from session_paths import LIVE_TURNS, PATHS, Floor, Turn, fill, items, records

from turnkeep.codec import decode_event

MAX_P50 = 2.3
"""Times the floor's median, one session, at each point."""
MAX_P99 = 2.5
"""Times the floor's 99th percentile, one session, all points together."""
MAX_WALL_8 = 1.15
"""Times the floor's time per append, eight sessions, the floor committing one by one."""
MAX_P99_8 = 2.0
"""Times the 99th percentile of the floor's queue: eight of its appends one after the other."""
MAX_CPU = 3.0
"""Times the floor's CPU time of the whole process, one session."""
MAX_GROWTH = 1.15
"""The ratio at turn 10,000 over the ratio at turn 10."""
MAX_DECODE = 15.0
"""µs to decode one event of a live context."""

POINTS = (10, 1_000, 10_000)
SESSIONS = 8
CHUNK = 20


class Sample:
    """Times in ms, and CPU in ms and bytes written a turn, of one contender at one point."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.cpu: list[float] = []
        self.written: list[float] = []

    async def timed(self, turn: Turn, number: int) -> None:
        """Do one turn and note how long it took."""
        begun = time.perf_counter()
        await turn(number)
        self.times.append((time.perf_counter() - begun) * 1e3)

    async def chunk(self, turn: Turn) -> None:
        """Do turns one after the other and note what they used."""
        await turn(0)  # not counted: what the others left behind
        cpu, written = time.process_time(), bytes_written()
        for number in range(CHUNK):
            await turn(number)
        self.cpu.append((time.process_time() - cpu) * 1e3 / CHUNK)
        self.written.append((bytes_written() - written) / CHUNK)


def bytes_written() -> int:
    """Bytes of all write calls of this process, logs and checkpoints included; 0 if unknown."""
    try:
        text = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    return int(text.split("wchar:")[1].split()[0])


Rounds = list[dict[int, dict[str, Sample]]]
"""For each round, by point and contender."""


def percentile(values: list[float], share: float) -> float:
    """Give the value below which this share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def one_session(
    contenders: list[Any], names: dict[int, str], turns: int
) -> dict[int, dict[str, Sample]]:
    """Measure all contenders at all points, one session at a time: turn by turn, then in chunks.

    All in shuffled order within one loop, so that a disk that becomes slow hits all of them.
    """
    samples = {point: {each.name: Sample() for each in contenders} for point in names}
    async with AsyncExitStack() as stack:
        pairs: list[tuple[Sample, Turn]] = []
        for point, name in names.items():
            for each in contenders:
                session = await stack.enter_async_context(each.session(name))
                pairs.append((samples[point][each.name], session))
        for number in range(turns):
            for sample, session in random.sample(pairs, len(pairs)):
                await sample.timed(session, number)
        for _ in range(0, turns, CHUNK):
            for sample, session in random.sample(pairs, len(pairs)):
                await sample.chunk(session)
    return samples


async def eight_sessions(contenders: list[Any], names: list[str], turns: int) -> dict[str, Any]:
    """Measure eight sessions at once: wall time per append, and each append's time."""
    result: dict[str, Any] = {each.name: {"wall": [], "times": []} for each in contenders}
    async with AsyncExitStack() as stack:
        sessions = {
            each.name: [await stack.enter_async_context(each.session(name)) for name in names]
            for each in contenders
        }

        async def work(turn: Turn, start: int, times: list[float]) -> None:
            for number in range(start, start + CHUNK):
                begun = time.perf_counter()
                await turn(number)
                times.append((time.perf_counter() - begun) * 1e3)
                await asyncio.sleep(0)

        for start in range(0, turns, CHUNK):
            for who in random.sample(list(sessions), len(sessions)):
                found = result[who]
                begun = time.perf_counter()
                await asyncio.gather(*[work(turn, start, found["times"]) for turn in sessions[who]])
                wall = (time.perf_counter() - begun) * 1e3
                found["wall"].append(wall / (CHUNK * len(names)))
    return result


def queue_waits(times: list[float]) -> list[float]:
    """How long each of eight callers waits where appends are made one after the other."""
    return [sum(times[start : start + SESSIONS]) for start in range(len(times) - SESSIONS + 1)]


async def loads(contender: Any, name: str, after: int | None, repeats: int) -> float:
    """Median time in ms of a load."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        assert await contender.load(name, after=after)
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def decode_us() -> float:
    """Time in µs to decode one event, over a live context of 200."""
    context = [data for number in range(LIVE_TURNS) for data in records(items(number))]
    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        for seq, data in enumerate(context, 1):
            decode_event(data, seq, session_id="s")
        best = min(best, (time.perf_counter() - begun) * 1e6 / len(context))
    return best


def items_us() -> float:
    """Time in µs to make the four items of a turn, which is the caller's part of the work."""
    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        for number in range(100):
            items(number)
        best = min(best, (time.perf_counter() - begun) * 1e4)
    return best


async def measure(folder: Path, paths: list[str], rounds: int, turns: int) -> dict[str, Any]:
    """Do all rounds; gives the figures by contender."""
    contenders: list[Any] = [Floor(folder / "floor.db")]
    contenders += [PATHS[name](folder / f"{name}.db") for name in paths]
    names = [{point: f"at-{point}-{number}" for point in POINTS} for number in range(rounds)]
    eight = {f"eight-{number}-{each}": 10 for number in range(rounds) for each in range(SESSIONS)}
    for each in contenders:
        filled = {name: point for of_round in names for point, name in of_round.items()}
        await fill(each.path, {**filled, **eight})

    single: Rounds = []
    many: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        for each in contenders:
            await stack.enter_async_context(each.opened())
        last = names[0][POINTS[-1]]
        loading = {
            each.name: (await loads(each, last, None, 50), await loads(each, last, 0, 11))
            for each in contenders
        }
        for number in range(rounds):
            single.append(await one_session(contenders, names[number], turns))
            group = [name for name in eight if name.startswith(f"eight-{number}-")]
            many.append(await eight_sessions(contenders, group, turns))
    return {each.name: figures(each.name, single, many, loading) for each in contenders} | {
        "decode_us": decode_us(),
        "items_us": items_us(),
    }


def figures(
    name: str,
    single: Rounds,
    many: list[dict[str, Any]],
    loading: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """Sum one contender up: medians over the rounds of ratios to the floor in the same round."""

    def ratio(of: Callable[[dict[str, Sample], str], float], points: tuple[int, ...]) -> float:
        return statistics.median(
            of(each[point], name) / of(each[point], "floor") for each in single for point in points
        )

    def p50(each: dict[str, Sample], who: str) -> float:
        return statistics.median(each[who].times)

    def all_of(
        of: Callable[[Sample], list[float]], who: str, points: tuple[int, ...]
    ) -> list[float]:
        return [value for each in single for point in points for value in of(each[point][who])]

    def p99(who: str) -> float:
        return percentile(all_of(lambda sample: sample.times, who, POINTS), 0.99)

    def growth(each: dict[int, dict[str, Sample]]) -> float:
        first, last = (
            p50(each[point], name) / p50(each[point], "floor") for point in (POINTS[0], POINTS[-1])
        )
        return last / first

    return {
        "p50_ms": {
            point: statistics.median(p50(each[point], name) for each in single) for point in POINTS
        },
        "p50_ratio": {point: ratio(p50, (point,)) for point in POINTS},
        "p99_ms": p99(name),
        "p99_ratio": p99(name) / p99("floor"),
        "growth": statistics.median(growth(each) for each in single),
        "cpu_ms": statistics.mean(all_of(lambda sample: sample.cpu, name, POINTS)),
        "cpu_ratio": ratio(lambda each, who: sum(each[who].cpu), POINTS),
        "written_per_turn": {
            point: round(statistics.mean(all_of(lambda sample: sample.written, name, (point,))))
            for point in POINTS
        },
        "eight_wall_ms": statistics.median(w for each in many for w in each[name]["wall"]),
        "eight_wall_ratio": statistics.median(
            ours / floor
            for each in many
            for ours, floor in zip(each[name]["wall"], each["floor"]["wall"], strict=True)
        ),
        "eight_p99_ratio": statistics.median(
            percentile(
                queue_waits(each[name]["times"]) if name == "floor" else each[name]["times"], 0.99
            )
            / percentile(queue_waits(each["floor"]["times"]), 0.99)
            for each in many
        ),
        "load_live_ms": loading[name][0],
        "load_all_ms": loading[name][1],
    }


def faults(found: dict[str, Any], paths: list[str]) -> list[str]:
    """Name the bounds that are missed."""
    missed = []

    def check(who: str, what: str, value: float, bound: float) -> None:
        if value > bound:
            missed.append(f"{who}: {what} is {value:.2f}, the bound {bound:g}")

    for name in paths:
        one = found[name]
        for point, value in one["p50_ratio"].items():
            check(name, f"p50 / floor at turn {point}", value, MAX_P50)
        check(name, "p99 / floor", one["p99_ratio"], MAX_P99)
        check(name, "wall per append / floor, 8 sessions", one["eight_wall_ratio"], MAX_WALL_8)
        check(name, "p99 / floor's queue, 8 sessions", one["eight_p99_ratio"], MAX_P99_8)
        check(name, "CPU / floor", one["cpu_ratio"], MAX_CPU)
        check(name, "ratio at turn 10,000 / at turn 10", one["growth"], MAX_GROWTH)
    check("codec", "µs to decode an event", found["decode_us"], MAX_DECODE)
    return missed


def show(found: dict[str, Any], names: list[str]) -> None:
    """Print the figures as a table."""
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = []
    for point in POINTS:
        rows.append(
            (
                f"p50 at turn {point:,}, ms (x floor)",
                functools.partial(
                    lambda at, f: f"{f['p50_ms'][at]:.2f} ({f['p50_ratio'][at]:.2f})", point
                ),
            )
        )
    rows += [
        ("p99, ms (x floor)", lambda f: f"{f['p99_ms']:.2f} ({f['p99_ratio']:.2f})"),
        ("x floor at 10,000 / at 10", lambda f: f"{f['growth']:.2f}"),
        ("CPU, ms (x floor)", lambda f: f"{f['cpu_ms']:.2f} ({f['cpu_ratio']:.2f})"),
        (
            "8 sessions: ms per append (x floor)",
            lambda f: f"{f['eight_wall_ms']:.2f} ({f['eight_wall_ratio']:.2f})",
        ),
        ("8 sessions: p99 x floor's queue", lambda f: f"{f['eight_p99_ratio']:.2f}"),
        (
            "kB written per turn at 10 / 10,000",
            lambda f: " / ".join(
                f"{f['written_per_turn'][point] / 1024:.1f}" for point in (POINTS[0], POINTS[-1])
            ),
        ),
        ("load of the live 50 turns, ms", lambda f: f"{f['load_live_ms']:.2f}"),
        ("load of all 10,000 turns, ms", lambda f: f"{f['load_all_ms']:.1f}"),
    ]
    print(f"{'':38}" + "".join(f"{name:>18}" for name in names))
    for label, cell in rows:
        print(f"{label:38}" + "".join(f"{cell(found[name]):>18}" for name in names))
    print(f"{'decode, µs per event':38}{found['decode_us']:>18.1f}")
    print(f"{'items of a turn, µs (not in the above)':38}{found['items_us']:>18.1f}")


def main() -> int:
    """Run the benchmark; 1 where `--check` finds a bound missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=200, help="of each contender at each point")
    parser.add_argument("--dir", type=Path, help="folder for the files (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        found = asyncio.run(measure(Path(folder), given.paths, given.rounds, given.turns))
    show(found, ["floor", *given.paths])
    missed = faults(found, given.paths)
    for line in missed:
        print("MISSED", line)
    if given.json:
        machine: dict[str, Any] = {
            "sqlite": sqlite3.sqlite_version,
            "python": sys.version.split()[0],
        }
        machine |= {"cores": os.cpu_count(), "rounds": given.rounds, "turns": given.turns}
        given.json.write_text(json.dumps({"machine": machine, **found, "missed": missed}, indent=2))
    return int(given.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
