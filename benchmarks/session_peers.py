"""Session stores of other frameworks beside ours and the floor, at turn 1,000 of one session.

Two kinds of work, each a load and then a save of one turn:

- `all`: every message, decoded into the framework's own message objects. Ours: a turn of a session
  without a checkpoint, so that its live context is everything.
- `next`: what the next turn needs. Ours: a turn of a session with a checkpoint 50 turns before its
  end. Peers: their most favourable call, told to load as much where it can be told so.

The floor and `turnkeep records` load and save bytes, undecoded. All take turns in shuffled order in
one process; what a load gave is let go outside of what is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import peers
from peers.session_base import SESSION, SessionPeer, Where
from session_figures import MAX_LOAD
from session_floors import Contender
from session_paths import LIVE_TURNS, Append, fill_store, items
from session_places import Place

from turnkeep.keeper import Keeper

FLOOR: Final = "floor"
RECORDS: Final = "turnkeep records"
OURS: Final = "turnkeep"
EARLIER: Final = {"sqlite": 114.0 + 4, "postgres": 57.0 + 5, "redis": 34.0 + 2}
"""Milliseconds of the best peer's load and save at turn 1,000, as measured before."""
WORK: Final = ("all", "next")
STEPS: Final = ("load", "save")


class Raw:
    """The floor or the bare store: bytes in, bytes out."""

    load_how = "all records, undecoded"
    next_how = "the live records, undecoded"
    save_how = "one write of encoded records"

    def __init__(self, name: str, contender: Contender) -> None:
        self.name = name
        self.contender = contender
        self.turn: Any

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self.contender.opened():
            yield

    async def fill(self, turns: int) -> None:
        await self.contender.fill({SESSION: turns})

    async def load(self) -> Sequence[Any]:
        return range(await self.contender.load(SESSION, after=0))

    async def load_next(self) -> Sequence[Any]:
        return range(await self.contender.load(SESSION, after=None))

    async def save(self, number: int) -> None:
        await self.turn(number)

    def forget(self) -> None:
        """Nothing is held."""


class Ours:
    """A keeper's turn, as an agent takes it: two appends, the second one closes it."""

    name = OURS
    load_how = "keep.turn() without a checkpoint"
    next_how = f"keep.turn(), checkpoint {LIVE_TURNS} turns before"
    save_how = "turn.add(3 items), turn.add_response(answer)"

    def __init__(self, place: Place) -> None:
        self.opening = place.opening("peers")
        self.turn: Any

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self.opening() as self.store, Keeper(store=self.store) as self.keep:
            yield

    async def fill(self, turns: int) -> None:
        await fill_store(self.store, {"whole": turns}, checkpoints=False)
        await fill_store(self.store, {"live": turns})

    async def load(self) -> Sequence[Any]:
        return await self.enter("whole")

    async def load_next(self) -> Sequence[Any]:
        return await self.enter("live")

    async def enter(self, name: str) -> Sequence[Any]:
        """Begin a turn; give the messages that are its context."""
        self.turn = await self.keep.turn(name).__aenter__()
        return self.turn.context.items  # type: ignore[no-any-return]  # held as Any, to be one of several

    async def save(self, number: int) -> None:
        *before, answer = items(number)
        await self.turn.add(*before)
        await self.turn.add_response([answer])
        await self.turn.__aexit__(None, None, None)

    def forget(self) -> None:
        self.turn = None


def families(text: str) -> list[str]:
    """Read `--peers`."""
    names = list(peers.SESSIONS) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in peers.SESSIONS:
            known = ", ".join(peers.SESSIONS)
            raise argparse.ArgumentTypeError(f"unknown peer {name!r}; there are: {known}")
    return names


async def measure_peers(
    place: Place, names: Sequence[str], rounds: int, turns: int, *, repeats: int
) -> dict[str, Any]:
    """Measure ours, the floor and the peers of these families on one kind of store."""
    warnings.simplefilter("ignore")  # those that peers give about themselves
    where = Where(place.kind, place.folder, getattr(place, "url", ""))
    floor = Raw(FLOOR, place.floor())
    records = Raw(RECORDS, Append(place.opening("records")))
    contenders: list[Any] = [floor, records, Ours(place)]
    skipped = []
    for name in names:
        try:
            made = peers.load_sessions(name, where)
        except ImportError as error:
            skipped.append(f"skipped: {name} is not installed here ({error.name}); `make peers`")
            continue
        contenders += made
        if not made:
            skipped.append(f"skipped: {name}, {peers.WITHOUT[name][place.kind]}")
    async with AsyncExitStack() as stack:
        for raw in (floor, records):
            await raw.fill(turns)
        for each in contenders:
            await stack.enter_async_context(each.opened())
        for raw in (floor, records):
            raw.turn = await stack.enter_async_context(raw.contender.session(SESSION))
        for each in contenders[2:]:
            await each.fill(turns)
        await place.settle()
        await one_round(contenders, turns, 1)  # what first calls prepare
        found = [await one_round(contenders, turns, repeats) for _ in range(rounds)]
    return {
        "contenders": {each.name: summed(each, found) for each in contenders},
        "versions": {name: peers.versions(name, peers.SESSIONS) for name in names},
        "skipped": skipped,
    }


Samples = dict[tuple[str, str, str], list[tuple[float, float]]]
"""Milliseconds and those of CPU, by contender, work and step."""


async def one_round(contenders: Sequence[SessionPeer], turns: int, repeats: int) -> Samples:
    """Let all contenders do both kinds of work so often, in shuffled order."""
    samples: Samples = {}
    jobs = [(each, work) for each in contenders for work in WORK]
    gc.collect()  # not before each job: it would run with cold caches, as no program does
    for number in range(repeats):
        for each, work in random.sample(jobs, len(jobs)):
            load = each.load if work == "all" else each.load_next
            begun, cpu = time.perf_counter(), time.process_time()
            messages = await load()
            took = time.perf_counter() - begun, time.process_time() - cpu
            samples.setdefault((each.name, work, "load"), []).append(took)
            wanted = 4 * (turns if work == "all" else min(LIVE_TURNS, turns))
            assert len(messages) >= wanted, f"{each.name} gave {len(messages)} of {wanted}"
            await asyncio.sleep(0)
            begun, cpu = time.perf_counter(), time.process_time()
            await each.save(number)
            took = time.perf_counter() - begun, time.process_time() - cpu
            samples.setdefault((each.name, work, "save"), []).append(took)
            del messages
            each.forget()
    return samples


def summed(contender: SessionPeer, rounds: Sequence[Samples]) -> dict[str, Any]:
    """Sum one contender up: medians over the rounds, ratios to the floor within a round."""

    def p50(samples: Samples, who: str, work: str, step: str, which: int = 0) -> float:
        return statistics.median(took[which] * 1e3 for took in samples[who, work, step])

    found: dict[str, Any] = {
        "how": {
            "all": contender.load_how,
            "next": contender.next_how,
            "save": contender.save_how,
        }
    }
    for work in WORK:
        one: dict[str, float] = {}
        for step in STEPS:
            own = [p50(each, contender.name, work, step) for each in rounds]
            base = [p50(each, FLOOR, work, step) for each in rounds]
            one[f"{step}_ms"] = statistics.median(own)
            one[f"{step}_ratio"] = statistics.median(a / b for a, b in zip(own, base, strict=True))
            one[f"{step}_cpu_ms"] = statistics.median(
                p50(each, contender.name, work, step, 1) for each in rounds
            )
        one["sum_ms"] = one["load_ms"] + one["save_ms"]
        found[work] = one
    return found


def peer_faults(kind: str, found: Mapping[str, Any]) -> list[str]:
    """Name the bounds that ours misses beside the floor, and beside what peers took before."""
    missed = []
    ours, records = found["contenders"][OURS], found["contenders"][RECORDS]
    if (ratio := records["all"]["load_ratio"]) > MAX_LOAD:
        missed.append(f"{kind}: load of all records / floor is {ratio:.2f}, the bound {MAX_LOAD}")
    for work in WORK:
        own = ours[work]["sum_ms"]
        if own >= EARLIER[kind]:
            missed.append(f"{kind} {work}: {own:.1f} ms, the best peer before {EARLIER[kind]:g}")
    return missed


def quicker(found: Mapping[str, Any]) -> list[str]:
    """Name the peers that are quicker than ours in this run: no bound, and nothing to hide."""
    lines = []
    for work in WORK:
        own = found["contenders"][OURS][work]["sum_ms"]
        for name, one in found["contenders"].items():
            took = one[work]["sum_ms"]
            if name not in {FLOOR, RECORDS, OURS} and took < own:
                lines.append(f"QUICKER {work}: {name} takes {took:.2f} ms, ours {own:.2f}")
    return lines


def show_peers(version: str, found: Mapping[str, Any], turns: int) -> None:
    """Print the figures as two tables, and below them which calls were made."""
    contenders = found["contenders"]
    for work, what in (("all", "all messages, and a save"), ("next", "the next turn, and a save")):
        print(f"{version}\nturn {turns:,}: {what}")
        heads = ("load, ms (x floor)", "CPU", "save, ms (x floor)", "CPU", "sum")
        print(f"{'':34}" + "".join(f"{head:>20}" for head in heads))
        for name, one in contenders.items():
            cells = []
            for step in STEPS:
                ms, ratio, cpu = (one[work][f"{step}_{each}"] for each in ("ms", "ratio", "cpu_ms"))
                cells += [f"{ms:.2f} ({ratio:.1f})", f"{cpu:.2f}"]
            cells.append(f"{one[work]['sum_ms']:.2f}")
            print(f"{name:34}" + "".join(f"{cell:>20}" for cell in cells))
        print()
    for name, one in contenders.items():
        how = one["how"]
        print(f"{name}: {how['all']}; next: {how['next']}; save: {how['save']}")
    for line in [*found["versions"].values(), *found["skipped"], *quicker(found)]:
        print(line)
