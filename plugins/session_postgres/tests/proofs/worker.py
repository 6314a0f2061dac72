"""What a child process of the proofs does: `python worker.py ROLE URL SCHEMA OPTIONS`.

The proofs start it by its path, and import it for `record`, which tells what a record must be.
OPTIONS is JSON. It says "ready" and waits for a line before it begins.
"""

import asyncio
import json
import random
import sys

from turnkeep.errors import SessionConflict
from turnkeep.store import Record, new_commit_id
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.store import PostgresStore

PARTS = 3
"""Records in each append, so that half an append can be told from a whole one."""


def record(session, writer, number, part):
    """The bytes of one record: some fill a line, some several pages."""
    name = f"{session} {writer} {number} {part} "
    return (name * (1 + (number * 997 * part) % 9000 // len(name))).encode()


def batch(session, writer, number):
    """One append."""
    return [Record(record(session, writer, number, part)) for part in range(PARTS)]


async def hammer(url, schema, *, writer, sessions, appends, **options):
    """Append to the sessions in turn, loading and repeating after a conflict; report it all."""
    store = await PostgresStore.open(PostgresOptions(url=url, schema=schema, **options))
    print("ready", flush=True)
    sys.stdin.readline()
    kept, worst, total = [], 0, 0
    for number in range(appends):
        # Each process begins elsewhere, so that all meet, but not in step.
        session = f"s{(number + writer * 3) % sessions}"
        key, conflicts, pause = new_commit_id(), 0, 0.001
        while True:
            before = (await store.load(session, limit=1)).head
            try:
                head = await store.append(
                    session,
                    batch(session, writer, number),
                    expected=before.revision,
                    commit_id=key,
                    state=b"%d" % (before.revision.version + 1),
                )
            except SessionConflict as conflict:
                assert conflict.head.revision.version > before.revision.version
                conflicts += 1
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(1.5 * pause, 0.02)
            else:
                break
        kept.append([session, number, before.seq, head.seq])
        worst, total = max(worst, conflicts), total + conflicts
    await store.close()
    print(json.dumps({"writer": writer, "kept": kept, "conflicts": total, "worst": worst}))


if __name__ == "__main__":
    role, url, schema, options = sys.argv[1:]
    asyncio.run({"hammer": hammer}[role](url, schema, **json.loads(options)))
