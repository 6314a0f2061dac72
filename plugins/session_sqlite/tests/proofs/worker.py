"""What a child process of the proofs does: `python worker.py ROLE DATABASE OPTIONS`.

OPTIONS is JSON. A role that races says "ready" and waits for a line before it begins.
"""

import asyncio
import json
import os
import resource
import sqlite3
import sys
from pathlib import Path

from turnkeep.errors import StoreUnavailable
from turnkeep.store import new_commit_id
from turnkeep.testing.writers import PARTS, batch, session_of, write
from turnkeep_session_sqlite import files
from turnkeep_session_sqlite.store import SqliteStore


def begin_together():
    """Wait until all processes of a race are ready."""
    print("ready", flush=True)
    sys.stdin.readline()


class Begins:
    """Counts how often each transaction of a store asked for the write lock until it had it."""

    def __init__(self, store):
        self.worst = self.waits = self._asked = 0
        store._database.writer._connection.set_trace_callback(self._trace)

    def _trace(self, statement):
        if statement == "BEGIN IMMEDIATE":
            self._asked += 1
            self.worst = max(self.worst, self._asked)
        elif self._asked:
            self.waits += self._asked > 1
            self._asked = 0


async def hammer(path, *, writer, sessions, appends):
    """Append to the sessions in turn, loading and repeating after a conflict; report it all."""
    # Longer than a busy machine may hold up the process that has the lock.
    store = await SqliteStore.open(path, busy_timeout=60.0)
    begins = Begins(store)
    begin_together()
    places, worst, total = [], 0, 0
    for number in range(appends):
        session = session_of(writer, number, sessions)
        before, conflicts = await write(store, session, writer, number)
        places.append([session, number, before + 1])
        worst, total = max(worst, conflicts), total + conflicts
    await store.close()
    figures = {"conflicts": total, "worst conflicts": worst}
    figures |= {"waits": begins.waits, "worst begins": begins.worst}
    print(json.dumps({"writer": writer, "places": places, "figures": figures}))


async def read(path, *, sessions):
    """Load whole sessions until a line comes in; report how many loads there were."""
    store = await SqliteStore.open(path)
    begin_together()
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    loads = longest = 0
    while not stop.done():
        found = await store.load(f"s{loads % sessions}", after=0)
        assert found.head.seq == len(found.records) == PARTS * found.head.revision.version
        longest = max(longest, len(found.records))
        loads += 1
    await store.close()
    print(json.dumps({"loads": loads, "longest": longest}))


async def append_for_ever(path, *, acknowledged, writer, sessions, synchronous, checkpoint, reopen):
    """Append without end, and note each append that returned in a file; made to be killed."""
    files.CHECKPOINT_PAGES = checkpoint
    file = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def write(store, session):
        loaded = await store.load(session, limit=1)
        head = loaded.head if loaded else await store.create(session, commit_id=new_commit_id())
        for _ in range(reopen):
            number = head.revision.version + 1
            head = await store.append(
                session,
                batch(session, writer, number),
                expected=head.revision,
                commit_id=new_commit_id(),
                state=b"%d" % number,
            )
            os.write(file, f"{session} {number}\n".encode())

    while True:
        store = await SqliteStore.open(path, synchronous=synchronous)
        await asyncio.gather(*[write(store, session) for session in sessions])
        await store.close()


def m002_title(connection):
    """A step of a next version: a table, a column, an index, and every record rewritten."""
    connection.execute("CREATE TABLE ran (pid INTEGER)")
    connection.execute("ALTER TABLE session ADD COLUMN title TEXT NOT NULL DEFAULT 'none'")
    connection.execute("UPDATE event SET data = CAST('2 ' || data AS BLOB)")
    connection.execute("CREATE INDEX session_by_title ON session (title)")
    connection.execute("INSERT INTO ran VALUES (?)", (os.getpid(),))


async def open_(path, *, migrate):
    """Open the file, creating or migrating it, and close it: all in one thread."""
    from turnkeep_session_sqlite import migrations

    if migrate:
        migrations.MIGRATIONS = (*migrations.MIGRATIONS, m002_title)
        files.SCHEMA_VERSION += 1
    begin_together()
    connection = files.open_writer(files.Location(path, "full", 5.0))
    print("open", flush=True)
    connection.close()


async def hold(path):
    """Hold the write lock until a line comes in."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    begin_together()
    connection.execute("COMMIT")
    connection.close()


async def fill(path, *, limit):
    """Append until no file may grow beyond `limit` bytes, then again without the limit."""
    store = await SqliteStore.open(path)
    head = await store.create("s", commit_id=new_commit_id())
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    errors = []
    while head.revision.version < 1000 and len(errors) < 3:
        number = head.revision.version + 1
        try:
            head = await store.append(
                "s", batch("s", 0, number), expected=head.revision, commit_id=new_commit_id()
            )
        except StoreUnavailable as error:
            errors.append(str(error))
            head = (await store.load("s", limit=1)).head  # the outcome was unknown
            assert head.revision.version in {number - 1, number}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    full = head.revision.version
    for number in range(full + 1, full + 11):
        head = await store.append(
            "s", batch("s", 0, number), expected=head.revision, commit_id=new_commit_id()
        )
    await store.close()
    print(json.dumps({"errors": errors, "full": full, "version": head.revision.version}))


ROLES = {
    "append_for_ever": append_for_ever,
    "fill": fill,
    "hammer": hammer,
    "hold": hold,
    "open": open_,
    "read": read,
}

if __name__ == "__main__":
    role, database, options = sys.argv[1:]
    asyncio.run(ROLES[role](Path(database), **json.loads(options)))
