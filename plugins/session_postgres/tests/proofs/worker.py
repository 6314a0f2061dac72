"""A process that writes: `python worker.py URL SCHEMA OPTIONS`.

OPTIONS is JSON. It says "ready" and waits for a line before it begins.
"""

import asyncio
import json
import sys

from turnkeep.testing.writers import session_of, write
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore


async def hammer(url, schema, *, writer, sessions, appends, **options):
    """Append to the sessions in turn, and report."""
    store = await PostgresStore.open(PostgresOptions(url=url, schema=schema, **options))
    print("ready", flush=True)
    sys.stdin.readline()
    places, worst, total = [], 0, 0
    for number in range(appends):
        session = session_of(writer, number, sessions)
        before, conflicts = await write(store, session, writer, number)
        places.append([session, number, before + 1])
        worst, total = max(worst, conflicts), total + conflicts
    await store.close()
    print(json.dumps({"writer": writer, "places": places, "conflicts": total, "worst": worst}))


if __name__ == "__main__":
    asyncio.run(hammer(*sys.argv[1:3], **json.loads(sys.argv[3])))
