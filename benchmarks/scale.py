"""What does it take to serve many users? Costs measured here, and the arithmetic from them.

    python benchmarks/scale.py measure [--store redis postgres] [--json costs.json]
    python benchmarks/scale.py plan [--costs costs.json] [--users N] [--turns-per-second N] …
    python benchmarks/scale.py skew [--shards N] [--exponent S] …

`measure` starts a server of its own for each store and does the work of turns on it: seconds of
CPU of the server and of the client for each append and each load, bytes that a turn leaves in
memory, on disk and in the log, memory of the client for each open turn. `plan` is arithmetic from
these figures and from assumptions that are all options. `skew` draws sessions that are not equally
busy, puts them on shards by a hash, and tells how much more the busiest shard has to do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import math
import os
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from session_paths import items

import turnkeep
from turnkeep.content import Message

SESSIONS = 100
TURNS = 50
APPENDS = 6
"""Of a turn with two calls: the input, three answers (the last one closes it), two results."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Costs:
    """What one store took. Milliseconds of CPU, bytes."""

    store: str
    append_server_ms: float
    append_client_ms: float
    append_p50_ms: float
    load_server_ms: float
    load_client_ms: float
    load_p50_ms: float
    known_server_ms: float
    """Of a load through the wrapper `cache`, which knows the newest revision already."""
    known_client_ms: float
    turn_bytes: float
    """What a turn leaves in the server: on its disk, or in its memory where it lives there."""
    log_bytes: float
    """What a turn writes into the server's log (WAL, AOF): what replicas and backups are sent."""
    session_bytes: float
    """What a session without turns takes."""
    open_turn_bytes: float
    """What an open turn with a live context of 50 turns takes in the client."""


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU that processes and all that descend from them have used, ended children included."""
    stats: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            used = sum(map(int, fields[11:15])) / TICKS
            stats[int(entry.name)] = int(fields[1]), used
    family = set(pids)
    while more := {pid for pid, (parent, _) in stats.items() if parent in family} - family:
        family |= more
    return sum(stats[pid][1] for pid in family if pid in stats)


class Redis:
    """A Redis that writes its log each second, and how its sizes are read."""

    name = "redis"

    def __init__(self) -> None:
        from turnkeep.testing.servers.redis import RedisServer

        self.server = RedisServer()

    @property
    def options(self) -> dict[str, Any]:
        """Options of the store."""
        return {"url": self.server.url}

    async def sizes(self) -> tuple[int, int]:
        """Bytes kept, and bytes written into the log."""
        import redis.asyncio

        async with redis.asyncio.Redis.from_url(self.server.url) as client:
            # The log is to grow by what is written, not to shrink by being written anew.
            await client.config_set("auto-aof-rewrite-percentage", 0)
            found = await client.info()
        return found["used_memory"], found.get("aof_current_size", 0)


class Postgres:
    """A PostgreSQL as it is delivered, and how its sizes are read."""

    name = "postgres"

    def __init__(self) -> None:
        from turnkeep.testing.servers.postgres import PostgresServer

        self.server = PostgresServer()

    @property
    def options(self) -> dict[str, Any]:
        """Options of the store."""
        return {"url": self.server.url}

    async def sizes(self) -> tuple[int, int]:
        """Bytes kept, and bytes written into the log."""
        import psycopg

        async with await psycopg.AsyncConnection.connect(self.server.url, autocommit=True) as link:
            await link.execute("CHECKPOINT")
            found = await link.execute(
                "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn"
            )
            row = await found.fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


SERVERS = {each.name: each for each in (Redis, Postgres)}


@asynccontextmanager
async def running(kind: str) -> AsyncIterator[tuple[Any, turnkeep.Keeper]]:
    """Start a server, and open a keeper on it."""
    place = SERVERS[kind]()
    place.server.start()
    try:
        settings = {"session": {"store": kind, kind: place.options}, "tokens": {"learn": False}}
        async with turnkeep.open(settings) as keep:
            yield place, keep
    finally:
        place.server.stop()


async def measure(kind: str) -> Costs:
    """Do the work of turns, eight sessions at a time, and see what it took."""
    async with running(kind) as (place, keep):
        pids = [place.server.pid]
        names = [f"session-{number}" for number in range(SESSIONS)]

        async def each(work: Any, at_once: int = 8) -> None:
            waiting = list(reversed(names))

            async def some() -> None:
                while waiting:
                    await work(waiting.pop())

            await asyncio.gather(*[some() for _ in range(at_once)])

        start, _ = await place.sizes()
        await each(keep.sessions.create)
        empty, log = await place.sizes()

        times: list[float] = []

        async def turns(name: str) -> None:
            for number in range(TURNS):
                async with keep.turn(name) as turn:
                    question, call, result, answer = items(number)
                    steps = [turn.add(question)]
                    for _ in range(2):
                        steps += [turn.add_response([call]), turn.add_result(call, result.content)]
                    for step in [*steps, turn.add_response([answer])]:
                        begun = time.perf_counter()
                        await step
                        times.append(time.perf_counter() - begun)

        server, client = cpu_seconds(pids), time.process_time()
        await each(turns)
        server, client = cpu_seconds(pids) - server, time.process_time() - client
        full, written = await place.sizes()
        appends = SESSIONS * TURNS * APPENDS

        loads: list[float] = []

        async def load(name: str) -> None:
            begun = time.perf_counter()
            async with keep.turn(name):
                loads.append(time.perf_counter() - begun)

        load_server, load_client = cpu_seconds(pids), time.process_time()
        for _ in range(5):
            await each(load)
        load_server = cpu_seconds(pids) - load_server
        load_client = time.process_time() - load_client

        known_server, known_client, known = await cached(place, names)

        async with AsyncExitStack() as stack:
            tracemalloc.start()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for name in names[:50]:
                turn = await stack.enter_async_context(keep.turn(name))
                await turn.add(Message(role="user", content="x"))
            gc.collect()
            held = (tracemalloc.get_traced_memory()[0] - before) / 50
            tracemalloc.stop()
    return Costs(
        store=kind,
        append_server_ms=server / appends * 1e3,
        append_client_ms=client / appends * 1e3,
        append_p50_ms=statistics.median(times) * 1e3,
        load_server_ms=load_server / len(loads) * 1e3,
        load_client_ms=load_client / len(loads) * 1e3,
        load_p50_ms=statistics.median(loads) * 1e3,
        known_server_ms=known_server / known * 1e3,
        known_client_ms=known_client / known * 1e3,
        turn_bytes=(full - empty) / (SESSIONS * TURNS),
        log_bytes=(written - log) / (SESSIONS * TURNS),
        session_bytes=(empty - start) / SESSIONS,
        open_turn_bytes=held,
    )


async def cached(place: Any, names: Sequence[str]) -> tuple[float, float, int]:
    """Load each session again through the wrapper `cache`; CPU of server and client, how many."""
    options = {"store": place.name, place.name: place.options, "wrap": ["cache"]}
    async with turnkeep.open({"session": options, "tokens": {"learn": False}}) as keep:

        async def all_of_them() -> None:
            for name in names:
                async with keep.turn(name):
                    pass

        await all_of_them()
        server, client = cpu_seconds([place.server.pid]), time.process_time()
        for _ in range(5):
            await all_of_them()
        server, client = cpu_seconds([place.server.pid]) - server, time.process_time() - client
    return server, client, 5 * len(names)


@dataclass
class Load:
    """What is to be served; all of it are options of `plan`."""

    turns_per_second: float = 100_000.0
    """At the busiest time, which nodes, programs and logs must bear."""
    mean: float = 0.1
    """The mean over days and nights, as a share of that: what is stored comes from it."""
    days: float = 30.0
    """How long sessions are kept."""
    turns_per_session: float = 20.0
    turn_seconds: float = 20.0
    appends_per_turn: float = APPENDS
    known: float = 0.0
    """Share of loads by a process that has the session already (the wrapper `cache`)."""
    cold: float = 2.5
    """What PostgreSQL's log has more than measured: with 30,000 sessions at random most pages go
    into it whole, once after each checkpoint (16 kB a turn), and purging adds 7 kB."""
    skew: float = 1.3
    """How much more than the mean the busiest shard has to do; see `skew`."""
    busy: float = 0.5
    """Share of a node's CPU that may be used, so that a neighbour's part fits when one fails."""
    node_cores: int = 16
    node_memory: float = 128e9
    node_disk: float = 4e12
    copies: int = 2
    """Of everything: one that is written, and replicas."""


def plan(costs: Costs, load: Load) -> dict[str, float]:
    """Reckon what it takes."""
    turns = load.turns_per_second
    seen, new = load.known, 1 - load.known
    server_ms = load.appends_per_turn * costs.append_server_ms
    server_ms += new * costs.load_server_ms + seen * costs.known_server_ms
    client_ms = load.appends_per_turn * costs.append_client_ms
    client_ms += new * costs.load_client_ms + seen * costs.known_client_ms
    single = costs.store == "redis"  # one thread runs its scripts
    cores = 1 if single else load.node_cores
    per_node = cores * load.busy * 1e3 / (server_ms * load.skew)
    kept = turns * load.mean * 86_400 * load.days
    stored = kept * (costs.turn_bytes + costs.session_bytes / load.turns_per_session)
    room = load.node_memory * 0.6 if single else load.node_disk * 0.6
    shards = max(math.ceil(turns / per_node), math.ceil(stored / room))
    return {
        "appends_per_second": turns * load.appends_per_turn,
        "server_ms_per_turn": server_ms,
        "turns_per_second_of_a_node": per_node,
        "shards_by_cpu": math.ceil(turns / per_node),
        "cores_by_cpu": math.ceil(turns / per_node) * cores,
        "stored_bytes": stored,
        "shards_by_room": math.ceil(stored / room),
        "nodes": shards * load.copies,
        "log_bytes_per_second": turns * costs.log_bytes * (1 if single else load.cold),
        "client_cores": turns * client_ms / 1e3 / load.busy,
        "open_turns": turns * load.turn_seconds,
        "client_memory": turns * load.turn_seconds * costs.open_turn_bytes,
        "expired_sessions_per_second": turns * load.mean / load.turns_per_session,
    }


def skew(
    shards: int, sessions: int, exponent: float, most: float, seed: int
) -> tuple[float, float]:
    """Put sessions on shards by a hash; their rates fall as rank ** -exponent.

    None is busier than `most` times the mean: a session has one turn at a time. Gives the busiest
    shard's part of the mean, and the busiest session's part of all.
    """
    draw = random.Random(seed)
    rates = [rank**-exponent for rank in range(1, sessions + 1)]
    highest = most * sum(rates) / sessions
    rates = [min(rate, highest) for rate in rates]
    total = sum(rates)
    shares = [0.0] * shards
    salt = draw.getrandbits(64).to_bytes(8, "big")
    for number, rate in enumerate(rates):
        digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8, key=salt).digest()
        shares[int.from_bytes(digest, "big") % shards] += rate
    return max(shares) * shards / total, rates[0] / total


UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def bytes_text(value: float) -> str:
    """Write a size for people."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


def show_plan(found: dict[str, float], costs: Costs) -> None:
    """Print a plan."""
    print(f"\n{costs.store}")
    for name, value in found.items():
        text = bytes_text(value) if "bytes" in name or "memory" in name else f"{value:,.1f}"
        print(f"  {name.replace('_', ' '):32}{text:>16}")


def main() -> int:
    """Measure, reckon, or draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--store", nargs="+", choices=SERVERS, default=list(SERVERS))
    measuring.add_argument("--json", type=Path, default=None, metavar="FILE")
    planning = commands.add_parser("plan")
    planning.add_argument("--costs", type=Path, default=Path(__file__).with_name("scale.json"))
    for name, value in asdict(Load()).items():
        planning.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    skewing = commands.add_parser("skew")
    skewing.add_argument("--shards", type=int, nargs="+", default=[16, 64, 256, 1024])
    skewing.add_argument("--sessions", type=int, default=1_000_000)
    skewing.add_argument("--exponent", type=float, nargs="+", default=[0.0, 0.6, 0.8, 1.0])
    skewing.add_argument("--most", type=float, default=25.0, help="of the mean, one session")
    skewing.add_argument("--draws", type=int, default=3)
    given = parser.parse_args()
    if given.command == "measure":
        found = [asyncio.run(measure(kind)) for kind in given.store]
        print(f"{'':24}" + "".join(f"{each.store:>14}" for each in found))
        for name in list(asdict(found[0]))[1:]:
            print(f"{name:24}" + "".join(f"{getattr(each, name):>14,.3f}" for each in found))
        if given.json is not None:
            given.json.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    elif given.command == "plan":
        load = Load(**{name: getattr(given, name) for name in asdict(Load())})
        for each in json.loads(given.costs.read_text()):
            show_plan(plan(Costs(**each), load), Costs(**each))
    else:
        print(f"{'exponent':>10}{'shards':>8}{'busiest shard / mean':>24}{'busiest session':>18}")
        for exponent in given.exponent:
            for shards in given.shards:
                drawn = [
                    skew(shards, given.sessions, exponent, given.most, seed)
                    for seed in range(given.draws)
                ]
                worst = max(part for part, _ in drawn)
                print(f"{exponent:>10}{shards:>8}{worst:>24.2f}{drawn[0][1]:>18.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
