"""What the samples of `session_samples` come to, their bounds, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from session_paths import LIVE_TURNS, items, records
from session_samples import POINTS, SESSIONS, Round, Sample

MAX_P50: Final = 2.3
"""SQLite: times the floor's median, one session, at each point."""
MAX_P99: Final = 2.5
"""SQLite: times the floor's 99th percentile, one session, all points together."""
MAX_WALL_8: Final = 1.15
"""SQLite: times the floor's time per append, eight sessions, the floor committing one by one."""
MAX_P99_8: Final = 2.0
"""SQLite: times the 99th percentile of the floor's queue: eight of its appends in a row."""
MAX_CPU: Final = 3.0
"""SQLite: times the floor's CPU time of the whole process, one session."""
MAX_APPEND: Final = 1.25
"""A server: the store alone, times the floor's median, one session, at each point."""
MAX_TURN: Final = 1.6
"""A server: the whole way from items, likewise."""
MAX_GROWTH: Final = 1.15
"""The ratio at turn 10,000 over the ratio at turn 10."""
MAX_LOAD: Final = 1.3
"""Times the floor's load of 1,000 turns, before decoding."""
MAX_DECODE: Final = 15.0
"""µs to decode one event of a live context."""


@dataclass(frozen=True)
class Bounds:
    """What a kind of store is held against; None: only told."""

    p50: Mapping[str, float]
    """By way."""
    p99: float | None = None
    cpu: float | None = None
    wall_8: float | None = None
    p99_8: float | None = None


_SERVER: Final = Bounds(p50={"append": MAX_APPEND, "turn": MAX_TURN})
BOUNDS: Final = {
    "sqlite": Bounds(
        p50=dict.fromkeys(("append", "store", "turn"), MAX_P50),
        p99=MAX_P99,
        cpu=MAX_CPU,
        wall_8=MAX_WALL_8,
        p99_8=MAX_P99_8,
    ),
    "postgres": _SERVER,
    "redis": _SERVER,
}


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which this share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def queue_waits(times: Sequence[float]) -> list[float]:
    """How long each of eight callers waits where appends are made one after the other."""
    return [sum(times[start : start + SESSIONS]) for start in range(len(times) - SESSIONS + 1)]


def figures(
    name: str,
    single: Sequence[Round],
    many: Sequence[dict[str, Any]],
    loading: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Sum one contender up: medians over the rounds of ratios to the floor in the same round."""

    def ratio(of: Callable[[dict[str, Sample], str], float], points: Sequence[int]) -> float:
        return statistics.median(
            of(each[point], name) / of(each[point], "floor") for each in single for point in points
        )

    def p50(each: dict[str, Sample], who: str) -> float:
        return statistics.median(each[who].times)

    def all_of(of: Callable[[Sample], list[float]], who: str, points: Sequence[int]) -> list[float]:
        return [value for each in single for point in points for value in of(each[point][who])]

    def p99(who: str) -> float:
        return percentile(all_of(lambda sample: sample.times, who, POINTS), 0.99)

    def growth(each: Round) -> float:
        first, last = (
            p50(each[point], name) / p50(each[point], "floor") for point in (POINTS[0], POINTS[-1])
        )
        return last / first

    def waits(each: dict[str, Any], who: str) -> float:
        times = each[who]["times"]
        return percentile(queue_waits(times) if who == "floor" else times, 0.99)

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
            waits(each, name) / waits(each, "floor") for each in many
        ),
        "eight_p99_ms": percentile([t for each in many for t in each[name]["times"]], 0.99),
        "load_ms": {what: found[name] for what, found in loading.items()},
        "load_ratio": {what: found[name] / found["floor"] for what, found in loading.items()},
    }


def faults(kind: str, found: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """Name the bounds that a kind of store misses."""
    missed = []
    bounds = BOUNDS[kind]

    def check(who: str, what: str, value: float, bound: float | None) -> None:
        if bound is not None and value > bound:
            missed.append(f"{kind} {who}: {what} is {value:.2f}, the bound {bound:g}")

    for name in paths:
        one = found[name]
        for point, value in one["p50_ratio"].items():
            check(name, f"p50 / floor at turn {point}", value, bounds.p50.get(name))
        check(name, "p99 / floor", one["p99_ratio"], bounds.p99)
        check(name, "wall per append / floor, 8 sessions", one["eight_wall_ratio"], bounds.wall_8)
        check(name, "p99 / floor's queue, 8 sessions", one["eight_p99_ratio"], bounds.p99_8)
        check(name, "CPU / floor", one["cpu_ratio"], bounds.cpu)
        check(name, "ratio at turn 10,000 / at turn 10", one["growth"], MAX_GROWTH)
    if paths:  # it is the same call whichever way leads to it
        first = found[paths[0]]
        check("load", "1,000 turns / floor", first["load_ratio"]["1,000 turns"], MAX_LOAD)
    return missed


def decode_us() -> float:
    """Time in µs to decode one event, over a live context of 200."""
    import time

    from turnkeep.codec import decode_event

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
    import time

    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        for number in range(100):
            items(number)
        best = min(best, (time.perf_counter() - begun) * 1e4)
    return best


Cell = Callable[[Mapping[str, Any]], str]


def _with_ratio(value: str, ratio: str, point: Any = None) -> Cell:
    """Write a figure and, in brackets, its ratio to the floor's."""

    def cell(found: Mapping[str, Any]) -> str:
        one, other = found[value], found[ratio]
        if point is not None:
            one, other = one[point], other[point]
        return f"{one:.2f} ({other:.2f})"

    return cell


def show(kind: str, found: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print the figures of a kind of store as a table."""
    rows: list[tuple[str, Cell]] = [
        (f"p50 at turn {point:,}, ms (x floor)", _with_ratio("p50_ms", "p50_ratio", point))
        for point in POINTS
    ]
    rows += [
        ("p99, ms (x floor)", _with_ratio("p99_ms", "p99_ratio")),
        ("x floor at 10,000 / at 10", lambda f: f"{f['growth']:.2f}"),
        ("CPU, ms (x floor)", _with_ratio("cpu_ms", "cpu_ratio")),
        (
            "8 sessions: ms per append (x floor)",
            _with_ratio("eight_wall_ms", "eight_wall_ratio"),
        ),
    ]
    if kind == "sqlite":
        rows += [
            ("8 sessions: p99 x floor's queue", lambda f: f"{f['eight_p99_ratio']:.2f}"),
            (
                "kB written per turn at 10 / 10,000",
                lambda f: " / ".join(
                    f"{f['written_per_turn'][point] / 1024:.1f}"
                    for point in (POINTS[0], POINTS[-1])
                ),
            ),
        ]
    else:
        rows.append(("8 sessions: p99, ms", lambda f: f"{f['eight_p99_ms']:.2f}"))
    rows += [
        (f"load of {what}, ms (x floor)", _with_ratio("load_ms", "load_ratio", what))
        for what in found[names[0]]["load_ms"]
    ]
    print(f"{found['version']:38}" + "".join(f"{name:>18}" for name in names))
    for label, cell in rows:
        print(f"{label:38}" + "".join(f"{cell(found[name]):>18}" for name in names))
