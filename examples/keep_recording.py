"""Keep a part of a recorded conversation in the configured store, turn by turn.

`make demo` runs this twice, in two processes: the second goes on where the first stopped.

    python examples/keep_recording.py recorded-session.jsonl SESSION-ID --turns 5
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os

import turnkeep
from turnkeep.transfer import read_file


async def main() -> None:
    """Keep the turns that are not kept yet, as many as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording")
    parser.add_argument("session_id")
    parser.add_argument("--turns", type=int, default=10**6, help="how many more (default: all)")
    args = parser.parse_args()

    [recorded] = read_file(args.recording)
    turns = [
        list(events)
        for _, events in itertools.groupby(recorded.events, lambda event: event.execution_id)
    ]
    async with turnkeep.open() as keep:
        head = await keep.sessions.head(args.session_id)
        kept = head.seq if head else 0
        done = sum(1 for last in itertools.accumulate(map(len, turns)) if last <= kept)
        print(f"process {os.getpid()}: found {kept} events of {args.session_id!r} in the store")
        for events in turns[done : done + args.turns]:
            async with keep.turn(args.session_id) as turn:
                stored = [new for event in events for new in await turn.add(*event.content)]
            print(f"  kept a turn: seq {stored[0].seq:>3} to {stored[-1].seq:>3}")
            assert [new.seq for new in stored] == [event.seq for event in events], "a seq is off"
            assert [new.content for new in stored] == [event.content for event in events]


if __name__ == "__main__":
    asyncio.run(main())
