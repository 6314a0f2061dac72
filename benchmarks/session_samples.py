"""Measuring contenders: all of them take turns, in shuffled order, within one loop."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from session_floors import Contender
from session_paths import Turn

POINTS: Final = (10, 1_000, 10_000)
SESSIONS: Final = 8
CHUNK: Final = 20


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


Round = dict[int, dict[str, Sample]]
"""By point and contender."""


async def one_session(contenders: Sequence[Contender], names: dict[int, str], turns: int) -> Round:
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
        for _, session in pairs:
            await session(0)  # what a first call prepares
        for number in range(turns):
            for sample, session in random.sample(pairs, len(pairs)):
                await sample.timed(session, number)
        for _ in range(0, turns, CHUNK):
            for sample, session in random.sample(pairs, len(pairs)):
                await sample.chunk(session)
    return samples


async def eight_sessions(
    contenders: Sequence[Contender], names: list[str], turns: int
) -> dict[str, Any]:
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

        for each in sessions.values():
            await asyncio.gather(*[turn(0) for turn in each])  # connections, statements
        for start in range(0, turns, CHUNK):
            for who in random.sample(list(sessions), len(sessions)):
                found = result[who]
                begun = time.perf_counter()
                await asyncio.gather(*[work(turn, start, found["times"]) for turn in sessions[who]])
                wall = (time.perf_counter() - begun) * 1e3
                found["wall"].append(wall / (CHUNK * len(names)))
    return result


async def loads(
    contenders: Sequence[Contender], name: str, after: int | None, repeats: int
) -> dict[str, float]:
    """Median times in ms of a load, by contender."""
    times: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(repeats + 1):
        for each in random.sample(contenders, len(contenders)):
            begun = time.perf_counter()
            assert await each.load(name, after=after)
            if number:  # the first one warms up
                times[each.name].append((time.perf_counter() - begun) * 1e3)
    return {who: statistics.median(found) for who, found in times.items()}
