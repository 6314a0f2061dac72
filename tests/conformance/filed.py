"""Stores in a file, for several processes: a sound one, and some that break what only those see."""

import asyncio
import contextlib
import fcntl
import os
import pickle
import time
from pathlib import Path

from whole import Whole

from turnkeep.store import KEEP, Capability

FILED = {}
"""Name: (class, names of the tests with second processes that fail, without `test_`)."""


def fails(*tests):
    """Register a store with the tests that it must fail."""

    def register(store):
        FILED[store.__name__] = store, frozenset(tests)
        return store

    return register


@fails()
class Filed(Whole):
    """Everything is in one pickle, read before each call and replaced after it, under a lock."""

    name = "filed"
    capabilities = frozenset({Capability.LIST_ALL})
    durability = "process"

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    def handle(self, **options):
        return type(self)(self.path)

    @contextlib.contextmanager
    def lock(self):
        with self.path.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self):
        if self.path.exists():
            self._sessions = pickle.loads(self.path.read_bytes())

    def write(self):
        new = self.path.with_suffix(f".new{os.getpid()}")
        new.write_bytes(pickle.dumps(self._sessions))
        new.replace(self.path)

    async def create(self, session_id, **fields):
        with self.lock():
            self.read()
            head = await super().create(session_id, **fields)
            self.write()
        return head

    async def load(self, session_id, **fields):
        with self.lock():
            self.read()
            return await super().load(session_id, **fields)

    async def append(self, session_id, records, **fields):
        with self.lock():
            self.read()
            head = await super().append(session_id, records, **fields)
            self.write()
        return head

    async def delete(self, session_id, **fields):
        with self.lock():
            self.read()
            gone = await super().delete(session_id, **fields)
            self.write()
        return gone


@fails(
    "a_second_process_sees_what_the_first_wrote",
    "an_append_of_a_second_process_fences_the_first",
    "two_processes_lose_and_double_nothing",
    "first_use_by_eight_processes",
    "a_killed_process_loses_nothing_acknowledged",
    "many_killed_processes_lose_nothing_acknowledged",
)
class AcknowledgesBeforeWriting(Filed):
    """What is appended is written when the store is closed."""

    dirty = False

    def read(self):
        if not self.dirty:
            super().read()

    def write(self):
        self.dirty = any(found.head.revision.version % 1000 for found in self._sessions.values())
        if not self.dirty:
            super().write()

    async def close(self):
        if self.dirty:
            super().write()
        await super().close()


@fails(
    "a_killed_process_loses_nothing_acknowledged",
    "many_killed_processes_lose_nothing_acknowledged",
)
class WritesTwice(Filed):
    """The records are in the file a moment before state and meta."""

    async def append(self, session_id, records, *, meta=None, state=None, ttl=KEEP, **fields):
        with self.lock():
            self.read()
            head = await super(Filed, self).append(session_id, records, ttl=ttl, **fields)
            self.write()
            if state is not None:
                await asyncio.sleep(0.05)
            found = self._sessions[session_id]
            found.state = found.state if state is None else state
            found.head = head if meta is None else head._replace(meta=meta)
            self.write()
        return found.head


@fails("two_processes_lose_and_double_nothing", "first_use_by_eight_processes")
class Unlocked(Filed):
    """Reading, changing and writing are not one step for other processes."""

    @contextlib.contextmanager
    def lock(self):
        yield

    def write(self):
        time.sleep(0.002)
        super().write()


@fails(
    "a_second_process_sees_what_the_first_wrote",
    "an_append_of_a_second_process_fences_the_first",
    "two_processes_lose_and_double_nothing",
    "first_use_by_eight_processes",
    "a_killed_process_loses_nothing_acknowledged",
    "many_killed_processes_lose_nothing_acknowledged",
)
class OwnFileForEach(Filed):
    """Each process has a file of its own."""

    def __init__(self, path):
        super().__init__(f"{path}.{os.getpid()}")
