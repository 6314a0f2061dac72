"""A process that writes: `python worker.py OPTIONS`. It says "ready" and waits for a line first."""

import asyncio
import json
import sys

from turnkeep.testing.writers import session_of, write
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions


async def hammer(*, options, writer, sessions, appends):
    """Append to the sessions in turn, and report."""
    store = await open_store(RedisOptions(**options))
    print("ready", flush=True)
    sys.stdin.readline()
    places, worst = [], 0
    for number in range(appends):
        session = session_of(writer, number, sessions)
        before, conflicts = await write(store, session, writer, number)
        places.append([session, number, before + 1])
        worst = max(worst, conflicts)
    await store.close()
    print(json.dumps({"writer": writer, "places": places, "worst": worst}))


if __name__ == "__main__":
    asyncio.run(hammer(**json.loads(sys.argv[1])))
