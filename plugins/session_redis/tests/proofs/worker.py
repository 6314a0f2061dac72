"""What writers of the proofs do: as tasks, and as processes by `python worker.py OPTIONS`.

A record tells who wrote it, so that what is kept can be compared with what was acknowledged.
"""

import asyncio
import json
import random
import sys

from turnkeep.errors import SessionConflict, StoreUnavailable
from turnkeep.store import Record, new_commit_id
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

PARTS = 3
"""Records in each append, so that half an append can be told from a whole one."""


def record(session, writer, number, part):
    """The bytes of one record: some fill a line, some several pages."""
    name = f"{session} {writer} {number} {part} "
    return (name * (1 + (number * 997 * part) % 9000 // len(name))).encode()


def batch(session, writer, number):
    """One append."""
    return [Record(record(session, writer, number, part)) for part in range(PARTS)]


async def patiently(call):
    """Repeat a call for as long as the store is away."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.02)


async def kept(store, before, session, writer, number):
    """Append once, however often it takes; False if another writer was first."""
    records, key, unsure = batch(session, writer, number), new_commit_id(), False
    while True:
        try:
            await store.append(session, records, expected=before.revision, commit_id=key)
        except StoreUnavailable:
            unsure = True
            await asyncio.sleep(0.02)
        except SessionConflict:
            if not unsure:
                return False
            found = await patiently(lambda: store.load(session, after=before.seq, limit=PARTS))
            return list(found.records) == [each.data for each in records]
        else:
            return True


async def write(store, sessions, writer, number):
    """Append one batch, loading and repeating after conflicts; gives its session and first seq."""
    # Each writer begins elsewhere, so that all meet, but not in step.
    session, pause, conflicts = f"s{(number + writer * 3) % sessions}", 0.001, 0
    while True:
        before = (await patiently(lambda: store.load(session, limit=1))).head
        if await kept(store, before, session, writer, number):
            return session, before.seq + 1, conflicts
        conflicts += 1
        await asyncio.sleep(random.uniform(pause / 2, pause))
        pause = min(1.5 * pause, 0.01)


def check(reports, loaded):
    """Each acknowledged append is there once, whole, where its writer was told; nothing else is."""
    expected = {session: {} for session in loaded}
    for writer, places in reports.items():
        for session, number, first in places:
            assert first not in expected[session], "two appends were told the same place"
            expected[session][first] = (writer, number)
    for session, found in loaded.items():
        places = expected[session]
        assert sorted(places) == list(range(1, len(found.records) + 1, PARTS))
        wanted = [
            record(session, *places[first], part)
            for first in sorted(places)
            for part in range(PARTS)
        ]
        assert list(found.records) == wanted
        assert found.head.revision.version == len(places)
        for writer in reports:  # each writer's own order
            own = [places[first][1] for first in sorted(places) if places[first][0] == writer]
            assert own == sorted(own)


async def hammer(*, options, writer, sessions, appends):
    """Append to the sessions in turn, and report."""
    store = await open_store(RedisOptions(**options))
    print("ready", flush=True)
    sys.stdin.readline()
    places, worst = [], 0
    for number in range(appends):
        session, first, conflicts = await write(store, sessions, writer, number)
        places.append([session, number, first])
        worst = max(worst, conflicts)
    await store.close()
    print(json.dumps({"writer": writer, "places": places, "worst": worst}))


if __name__ == "__main__":
    asyncio.run(hammer(**json.loads(sys.argv[1])))
