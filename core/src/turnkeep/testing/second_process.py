"""The second process of the conformance suite: `python -m turnkeep.testing.second_process`.

Its first line on stdin is a `Task`; each line on stdout is JSON. It is started afresh, never
forked. The author's opener is unpickled here, so the test module is loaded first, from its file.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import json
import os
import pickle
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeAlias

from turnkeep.errors import SessionConflict
from turnkeep.store import Loaded, Record, SessionStore, new_commit_id

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[SessionStore]]
"""Opens one place; called again, here or in another process, it opens the same one."""


class Task(NamedTuple):
    """What a second process does: a command's name, its arguments, and the pickled opener."""

    command: str
    arguments: dict[str, Any]
    opener: bytes
    module: str
    file: str | None

    def line(self) -> str:
        """Give the task as one line of text."""
        return base64.b64encode(pickle.dumps(tuple(self))).decode() + "\n"

    @classmethod
    def parse(cls, line: str) -> Task:
        """Read what `line` made."""
        return cls(*pickle.loads(base64.b64decode(line)))  # noqa: S301  # from the parent's pipe


def say(what: object) -> None:
    """Write one line for the first process."""
    # One write for each line: after a kill there are whole lines, and perhaps one without its end.
    os.write(1, (json.dumps(what) + "\n").encode())


async def wait_for_go() -> None:
    """Wait until the first process writes a line."""
    await asyncio.to_thread(sys.stdin.readline)


async def append(opener: Opener, session_id: str, data: list[str]) -> None:
    """Append texts to a session, in one append."""
    async with opener() as store:
        found = await store.load(session_id)
        assert found is not None, f"the second process does not find session {session_id!r}"
        head = await store.append(
            session_id,
            [Record(text.encode()) for text in data],
            expected=found.head.revision,
            commit_id=new_commit_id(),
        )
        say({"version": head.revision.version, "seq": head.seq})


async def load(opener: Opener, session_id: str) -> None:
    """Say what a session holds."""
    async with opener() as store:
        found = await store.load(session_id, after=0)
        assert isinstance(found, Loaded), f"the second process does not find {session_id!r}"
        say([record.decode() for record in found.records])


async def race(opener: Opener, session_id: str, name: str, turns: int) -> None:
    """Append turns of three records to a session; after a conflict, once more."""
    async with opener() as store:
        found = await store.load(session_id)
        assert found is not None
        head = found.head
        say("ready")
        await wait_for_go()
        conflicts = 0
        for turn in range(turns):
            records = [Record(f"{name} {turn} {part}".encode()) for part in range(3)]
            key = new_commit_id()
            while True:
                try:
                    head = await store.append(
                        session_id, records, expected=head.revision, commit_id=key
                    )
                    break
                except SessionConflict as error:
                    conflicts += 1
                    head = error.head or head
            await asyncio.sleep(0.0005)
        say({"conflicts": conflicts})


async def write_until_killed(opener: Opener, session_id: str) -> None:
    """Append two records and a state, say that it is kept, and so on until somebody kills us."""
    async with opener() as store:
        found = await store.load(session_id)
        assert found is not None
        head = found.head
        while True:
            number = head.revision.version + 1
            records = [Record(f"{number} {part} {'x' * 500}".encode()) for part in range(2)]
            state = b"%d" % number
            head = await store.append(
                session_id,
                records,
                expected=head.revision,
                commit_id=new_commit_id(),
                state=state,
                meta=state,
            )
            say(number)


async def first_use(opener: Opener, session_id: str) -> None:
    """Open the place at the same moment as others, then create a session and append to it."""
    say("ready")
    await wait_for_go()
    async with opener() as store:
        head = await store.create(session_id, commit_id=new_commit_id())
        await store.append(
            session_id, [Record(b"1")], expected=head.revision, commit_id=new_commit_id()
        )
        say(store.durability)


COMMANDS: Final[dict[str, Callable[..., Coroutine[Any, Any, None]]]] = {
    command.__name__: command for command in (append, load, race, write_until_killed, first_use)
}


def _load_module(name: str, file: str | None) -> None:
    """Make the author's test module importable under the name that pytest gave it."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if file is None or (found is not None and found.origin == file):
        importlib.import_module(name)
        return
    # pytest's import mode "importlib" makes names that stand for no package on sys.path.
    parts = name.split(".")
    for end in range(1, len(parts)):
        parent = ".".join(parts[:end])
        if parent not in sys.modules:
            sys.modules[parent] = ModuleType(parent)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Run the task that stands in the first line."""
    task = Task.parse(sys.stdin.readline())
    say({"pid": os.getpid()})
    _load_module(task.module, task.file)
    opener: Opener = pickle.loads(task.opener)  # noqa: S301  # from the parent's pipe
    asyncio.run(COMMANDS[task.command](opener, **task.arguments))


if __name__ == "__main__":
    main()
