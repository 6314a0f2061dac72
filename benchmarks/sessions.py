"""What does a turn cost from items to a store, against a raw driver doing the same, and peers?

A turn is four items of about 3 kB (user message, call, result, answer) that become four events.
The floor is the store's own driver, raw: sqlite3 in the calling thread on a file with the same
tables (one UPDATE of the head that checks the version, one INSERT, an fsync), one statement of
psycopg, one Lua call of redis-py. It writes bytes that were encoded beforehand and builds no
events; ratios to it, taken by turns in one process, hold where milliseconds do not.

Measured on it: `append` (the store alone), `store` (events built and encoded before it) and `turn`
(the whole way through `Turn.add`), at turn 10, 1,000 and 10,000 of a session, with one session and
with eight at once. Each session has a checkpoint 50 turns before its end, as a long one would.

With `--peers` session stores of other frameworks do two kinds of work beside ours at turn 1,000:
load all and save a turn, and load what the next turn needs and save a turn (see session_peers.py).

    python benchmarks/sessions.py [--store sqlite|postgres|redis …] [--peers [NAME,…]] [--check]
        [--json FILE] [--rounds N] [--turns N] [--paths append store turn] [--peer-turns N]

Servers are started and ended by it; without `--store` those are left out, visibly, whose programs
or plugins are not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from session_figures import MAX_DECODE, decode_us, faults, figures, items_us, show
from session_paths import PATHS
from session_peers import families, measure_peers, peer_faults, show_peers
from session_places import PLACES, Place
from session_samples import POINTS, SESSIONS, Round, eight_sessions, loads, one_session

DEFAULT_PATHS = {"sqlite": ["store", "turn"]}


def chosen_paths(kind: str, given: list[str] | None) -> list[str]:
    """Give the ways that are measured on a kind of store."""
    return given or DEFAULT_PATHS.get(kind, list(PATHS))


async def measure(place: Place, paths: list[str], rounds: int, turns: int) -> dict[str, Any]:
    """Do all rounds on one kind of store; gives the figures by contender."""
    contenders = place.contenders(paths)
    names = [{point: f"at-{point}-{number}" for point in POINTS} for number in range(rounds)]
    eight = {f"eight-{number}-{each}": 10 for number in range(rounds) for each in range(SESSIONS)}
    for each in contenders:
        filled = {name: point for of_round in names for point, name in of_round.items()}
        await each.fill({**filled, **eight})
    await place.settle()

    single: list[Round] = []
    many: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        for each in contenders:
            await stack.enter_async_context(each.opened())
        small, large = names[0][1_000], names[0][POINTS[-1]]
        loading = {
            f"the live {what}": await loads(contenders, large, None, 50) for what in ["50 turns"]
        }
        loading["1,000 turns"] = await loads(contenders, small, 0, 31)
        loading["10,000 turns"] = await loads(contenders, large, 0, 9)
        for number in range(rounds):
            single.append(await one_session(contenders, names[number], turns))
            group = [name for name in eight if name.startswith(f"eight-{number}-")]
            many.append(await eight_sessions(contenders, group, turns))
    return {each.name: figures(each.name, single, many, loading) for each in contenders}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--store", nargs="+", choices=PLACES, help="default: all that can run here")
    parser.add_argument(
        "--peers", nargs="?", type=families, const="all", metavar="NAME,NAME", default=[]
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--paths", nargs="+", choices=PATHS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=200, help="of each contender at each point")
    parser.add_argument("--peer-turns", type=int, default=1_000, help="of a peer's session")
    parser.add_argument("--only-peers", action="store_true", help="leave out the floors' table")
    parser.add_argument("--dir", type=Path, help="folder for SQLite (default: a temporary one)")
    args = parser.parse_args()
    if isinstance(args.peers, str):
        args.peers = families(args.peers)
    return args


async def floors(place: Place, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Measure one kind of store beside its floor, and print it; gives also the bounds missed."""
    paths = chosen_paths(place.kind, args.paths)
    found: dict[str, Any] = {"version": await place.version()}
    found |= await measure(place, paths, args.rounds, args.turns)
    show(place.kind, found, ["floor", *paths])
    print()
    return found, faults(place.kind, found, paths)


async def beside_peers(place: Place, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Measure it beside peers, likewise."""
    version = await place.version()
    found = await measure_peers(
        place, args.peers, args.rounds, args.peer_turns, repeats=max(args.turns // 10, 3)
    )
    show_peers(version, found, args.peer_turns)
    print()
    return {"version": version, "peers": found}, peer_faults(place.kind, found)


def main() -> int:
    """Run the benchmark; 1 where `--check` finds a bound missed."""
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are ended then, too
    stores: dict[str, Any] = {}
    missed: list[str] = []
    skipped: list[str] = []
    parts = [*([] if args.only_peers else [floors]), *([beside_peers] if args.peers else [])]
    for kind in args.store or PLACES:
        for part in parts:  # each on an empty place
            with tempfile.TemporaryDirectory(dir=args.dir) as folder:
                place = PLACES[kind](Path(folder))
                if (reason := place.missing()) is not None:
                    if args.store:
                        raise SystemExit(f"{kind} cannot run: {reason}")
                    skipped.append(f"skipped: {kind} {reason}")
                    break
                place.start()
                try:
                    found, more = asyncio.run(part(place, args))
                finally:
                    place.stop()
            stores.setdefault(kind, {}).update(found)
            missed += more
    codec = {"decode_us": decode_us(), "items_us": items_us()}
    print(f"{'decode, µs per event':38}{codec['decode_us']:>18.1f}")
    print(f"{'items of a turn, µs (not in the above)':38}{codec['items_us']:>18.1f}")
    if codec["decode_us"] > MAX_DECODE:
        missed.append(f"codec: {codec['decode_us']:.1f} µs to decode an event, not {MAX_DECODE:g}")
    for line in [*skipped, *(f"MISSED {line}" for line in missed)]:
        print(line)
    if args.json:
        machine = {"python": sys.version.split()[0], "cores": os.cpu_count()}
        about = {"machine": machine, "rounds": args.rounds, "turns": args.turns}
        text = json.dumps(about | codec | {"stores": stores, "missed": missed}, indent=2)
        args.json.write_text(text, encoding="utf-8")
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
