"""A session store on JSONL files: a file for each session, a line for each record.

The last line of each write is the head as it was after it: an append reads that line only, and a
write without it never was. Writers of all processes take turns by a lock on the folder; readers
need none, since a file only grows or goes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from turnkeep.errors import (
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreClosed,
    StoreUnavailable,
)
from turnkeep.store import (
    KEEP,
    Capability,
    Durability,
    Head,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    Ttl,
    check_base,
    check_id,
    check_limit,
    check_ttl,
    new_incarnation,
)
from turnkeep_session_jsonl.lines import (
    Line,
    as_bytes,
    as_text,
    expired,
    head_of,
    last_head,
    list_key,
    moment,
    now_ms,
    parsed_cursor,
    read_all,
    record,
    sync,
    written,
)

T = TypeVar("T")


class JsonlStore:
    """A `SessionStore` in a folder. POSIX only, for its locks; not for network file systems."""

    name: Final = "jsonl"
    capabilities: Final = frozenset({Capability.LIST_ALL})
    durability: Final[Durability] = "power"

    def __init__(self, folder: Path, *, clock: Callable[[], int] = now_ms) -> None:
        self._folder = folder
        self._clock = clock
        self._closed = False
        self._running: set[asyncio.Future[Any]] = set()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do work beside the loop. If the caller is cancelled, the work is over when it leaves.

        Even if it is cancelled once more meanwhile, as by a time limit around a time limit.
        """
        if self._closed:
            raise StoreClosed(self.name)
        running = asyncio.ensure_future(asyncio.to_thread(work))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()  # looked at: nobody else will
            raise

    async def close(self) -> None:
        """Let what runs come to its end, and refuse what comes later."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what the operating system complains of into an error that core knows."""
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"{error.filename or self._folder}: {error.strerror}; sessions cannot be {what} "
                "there: check its folder, its permissions and the room on the disk"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep other writers out, those of other processes too, while the work is done."""
        with self._told("written"):
            self._make_folder()
            lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    def _make_folder(self) -> None:
        """Create the folder and those above it. Each is durable once the one above it is."""
        new = [each for each in (self._folder, *self._folder.parents) if not each.exists()]
        self._folder.mkdir(parents=True, exist_ok=True)
        for each in new:
            sync(each.parent)

    def _path(self, session_id: str) -> Path:
        """Name the file: something to recognise it by, and a hash that makes it the only one."""
        shown = re.sub(r"[^A-Za-z0-9_-]", "_", session_id)[:40]
        digest = hashlib.sha256(session_id.encode()).hexdigest()[:32]
        return self._folder / f"{shown}-{digest}.jsonl"

    def _last(self, session_id: str, now: int) -> Line | None:
        """Read the newest head of a session; None if there is none, or it has expired."""
        try:
            with self._path(session_id).open("rb") as file:
                found = last_head(file, session_id)
        except FileNotFoundError:
            return None
        return None if found is None or expired(found[0], now) else found[0]

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session: a file with one line. See `SessionStore.create`."""
        check_id(session_id)
        if user_id is not None:
            check_id(user_id, "user id")
        check_ttl(ttl)

        def work() -> Head:
            now = self._clock()
            with self._writing():
                if (found := self._last(session_id, now)) is not None:
                    if found["version"] == 0 and found["commit"] == commit_id.hex():
                        return head_of(found)
                    raise SessionExists(session_id)
                line: Line = {
                    "id": session_id,
                    "user": user_id,
                    "incarnation": new_incarnation().hex(),
                    "version": 0,
                    "seq": 0,
                    "base": 0,
                    "meta": "",
                    "created": now,
                    "updated": now,
                    "ttl": ttl,
                    "commit": commit_id.hex(),
                    "state": as_text(state),
                }
                self._begin_file(session_id, line)
                return head_of(line)

        return await self._in_thread(work)

    def _begin_file(self, session_id: str, line: Line) -> None:
        """Put a new file in its place, whole or not at all, over an expired one too."""
        path = self._path(session_id)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(written([], line))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(self._folder)

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`. All of the file is read: that is the price."""
        check_id(session_id)
        check_limit(limit)

        def work() -> Loaded | NotModified | None:
            now = self._clock()
            with self._told("read"):
                try:
                    with self._path(session_id).open("rb") as file:
                        found = read_all(file, session_id)
                except FileNotFoundError:
                    return None
            if found is None or expired(found[0], now):
                return None
            line, lines = found
            head = head_of(line)
            if known == head.revision:
                return NotModified(head, moment(now))
            first = max(head.base, 1) if after is None else max(after, 0) + 1
            last = head.seq if limit is None else min(head.seq, first + limit - 1)
            records = [
                record(raw, session_id, seq)
                for seq, raw in enumerate(lines[first - 1 : last], first)
            ]
            state = as_bytes(line["state"])
            return Loaded(head, state, first, records, last < head.seq, moment(now))

        return await self._in_thread(work)

    async def append(
        self,
        session_id: str,
        records: Sequence[Record],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
        ttl: Ttl | Keep = KEEP,
    ) -> Head:
        """Add a line; see `SessionStore.append`."""
        check_id(session_id)
        if not isinstance(ttl, Keep):
            check_ttl(ttl)
        data = [bytes(record.data) for record in records]

        def work() -> Head:
            now = self._clock()
            with self._writing():
                if (last := self._last(session_id, now)) is None:
                    raise SessionNotFound(session_id)
                if last["commit"] == commit_id.hex():
                    return head_of(last)  # done already: the answer to the first try was lost
                if head_of(last).revision != expected:
                    raise SessionConflict(session_id, head_of(last))
                line = last | {
                    "version": last["version"] + 1,
                    "seq": last["seq"] + len(data),
                    "updated": now,
                    "commit": commit_id.hex(),
                }
                changed = {
                    "meta": None if meta is None else as_text(meta),
                    "state": None if state is None else as_text(state),
                    "base": base,
                }
                line |= {key: value for key, value in changed.items() if value is not None}
                if not isinstance(ttl, Keep):
                    line["ttl"] = ttl
                check_base(line["base"], line["seq"])
                self._write(session_id, written(data, line))
                return head_of(line)

        return await self._in_thread(work)

    def _write(self, session_id: str, lines: bytes) -> None:
        """Write behind the last whole write, and see it on the disk before it counts."""
        with self._path(session_id).open("r+b") as file:
            found = last_head(file, session_id)
            end = 0 if found is None else found[1]
            try:
                file.seek(end)
                file.truncate()  # what a crash has left there was never acknowledged
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove the file; see `SessionStore.delete`."""
        check_id(session_id)

        def work() -> bool:
            with self._writing():
                if (last := self._last(session_id, self._clock())) is None:
                    return False
                if expected is not None and head_of(last).revision != expected:
                    raise SessionConflict(session_id, head_of(last))
                self._path(session_id).unlink()
                sync(self._folder)
                return True

        return await self._in_thread(work)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through the folder; see `SessionStore.list`. The end of each file is read."""
        if user_id is not None:
            check_id(user_id, "user id")
        check_limit(limit)
        start = None if cursor is None else parsed_cursor(cursor)

        def work() -> Page:
            now = self._clock()
            with self._told("read"):
                heads = [
                    head_of(last)
                    for last in self._everything()
                    if not expired(last, now) and user_id in (None, last["user"])
                ]
            heads.sort(key=list_key)
            if start is not None:
                heads = [head for head in heads if list_key(head) > start]
            page = heads[:limit]
            return Page(page, json.dumps(list_key(page[-1])) if len(heads) > limit else None)

        return await self._in_thread(work)

    def _everything(self) -> Iterator[Line]:
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                with path.open("rb") as file:
                    found = last_head(file, path.name)
            except FileNotFoundError:
                continue  # deleted meanwhile
            if found is not None:
                yield found[0]

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove the files of expired sessions; see `SessionStore.purge`."""
        check_limit(limit)

        def work() -> int:
            now = self._clock()
            with self._writing():
                gone = [last["id"] for last in self._everything() if expired(last, now)][:limit]
                for session_id in gone:
                    self._path(session_id).unlink()
                sync(self._folder)
                return len(gone)

        return await self._in_thread(work)
