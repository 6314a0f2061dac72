"""The wrapper `metrics`: what calls of the store cost, for the log, a scraper and the program."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from pydantic import BaseModel, ConfigDict, Field, field_validator

from turnkeep.store import (
    KEEP,
    Head,
    Hits,
    Keep,
    Loaded,
    NotModified,
    Page,
    Record,
    Revision,
    SessionStore,
    Ttl,
)
from turnkeep.stores.measures import Metrics, Snapshot
from turnkeep.stores.wrapped import StoreWrapper

try:
    import fcntl
except ImportError:  # Windows: several processes write over each other
    fcntl = None  # type: ignore[assignment]

OWN_LABELS: Final = ("store", "operation", "error", "direction", "le")


class MetricsOptions(BaseModel):
    """The table `[session.metrics]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds between two reports; the last one comes at the end",
    )
    log: bool = Field(default=True, description="report to the logger turnkeep, at the level INFO")
    path: Path | None = Field(
        default=None,
        description="a file for reports as Prometheus reads them, written whole each time, by one "
        "process only; a relative path starts from the folder of this configuration",
        examples=["turnkeep.prom"],
    )
    labels: dict[str, str] = Field(
        default={},
        description="what every measure in that file is marked with, such as the worker's name",
        examples=[{"worker": "1"}],
    )

    @field_validator("labels")
    @classmethod
    def _names(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name in OWN_LABELS:
                raise ValueError(
                    "a label's name is made of letters, digits and _, and is none of "
                    f"{', '.join(OWN_LABELS)}"
                )
        return labels


@dataclass
class _Call:
    """What is known of a call that runs."""

    bytes_in: int = 0
    bytes_out: int = 0
    not_modified: bool = False

    def took(self, *parts: bytes | None) -> None:
        """Count what the store was given."""
        self.bytes_in += sum(len(part) for part in parts if part is not None)

    def gave(self, heads: Iterable[Head], *parts: bytes) -> None:
        """Count what came back."""
        self.bytes_out += sum(len(head.meta) for head in heads) + sum(map(len, parts))


class MeasuredStore(StoreWrapper):
    """A store whose calls are measured: see its `metrics`."""

    def __init__(self, inner: SessionStore) -> None:
        super().__init__(inner)
        self.metrics = Metrics(inner.name)

    async def create(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        state: bytes = b"{}",
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Begin a session; see `SessionStore.create`."""
        with self._measured("create") as call:
            call.took(state)
            head = await self.inner.create(
                session_id, user_id=user_id, state=state, ttl=ttl, commit_id=commit_id
            )
            call.gave([head])
            return head

    async def load(
        self,
        session_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        known: Revision | None = None,
    ) -> Loaded | NotModified | None:
        """Read a session; see `SessionStore.load`."""
        with self._measured("load") as call:
            found = await self.inner.load(session_id, after=after, limit=limit, known=known)
            if isinstance(found, NotModified):
                call.not_modified = True
                call.gave([found.head])
            elif found is not None:
                call.gave([found.head], found.state, *found.records)
            return found

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
        """Add records; see `SessionStore.append`."""
        with self._measured("append") as call:
            call.took(meta, state, *[record.data for record in records])
            head = await self.inner.append(
                session_id,
                records,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
                ttl=ttl,
            )
            call.gave([head])
            return head

    async def fork(
        self,
        session_id: str,
        new_id: str,
        *,
        upto: int,
        incarnation: bytes,
        user_id: str | None = None,
        state: bytes = b"{}",
        meta: bytes = b"",
        base: int = 0,
        ttl: Ttl = None,
        commit_id: bytes,
    ) -> Head:
        """Copy a session; see `ForkingStore.fork`."""
        with self._measured("fork") as call:
            call.took(state, meta)
            head = await super().fork(
                session_id,
                new_id,
                upto=upto,
                incarnation=incarnation,
                user_id=user_id,
                state=state,
                meta=meta,
                base=base,
                ttl=ttl,
                commit_id=commit_id,
            )
            call.gave([head])
            return head

    async def erase(
        self,
        session_id: str,
        replacements: Mapping[int, bytes],
        *,
        expected: Revision,
        commit_id: bytes,
        meta: bytes | None = None,
        state: bytes | None = None,
        base: int | None = None,
    ) -> Head:
        """Replace records; see `ErasingStore.erase`."""
        with self._measured("erase") as call:
            call.took(meta, state, *replacements.values())
            head = await super().erase(
                session_id,
                replacements,
                expected=expected,
                commit_id=commit_id,
                meta=meta,
                state=state,
                base=base,
            )
            call.gave([head])
            return head

    async def delete(self, session_id: str, *, expected: Revision | None = None) -> bool:
        """Remove a session; see `SessionStore.delete`."""
        with self._measured("delete"):
            return await self.inner.delete(session_id, expected=expected)

    async def list(
        self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Page through sessions; see `SessionStore.list`."""
        with self._measured("list") as call:
            page = await self.inner.list(user_id=user_id, limit=limit, cursor=cursor)
            call.gave(page.heads)
            return page

    async def search(
        self, query: str, *, user_id: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Hits:
        """Find records; see `SearchingStore.search`."""
        with self._measured("search"):
            return await super().search(query, user_id=user_id, limit=limit, cursor=cursor)

    async def purge(self, *, limit: int = 1000) -> int:
        """Remove expired sessions; see `SessionStore.purge`."""
        with self._measured("purge"):
            return await self.inner.purge(limit=limit)

    @contextmanager
    def _measured(self, name: str) -> Iterator[_Call]:
        call, error = _Call(), None
        began = time.perf_counter()
        try:
            yield call
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self.metrics.note(
                name,
                time.perf_counter() - began,
                error=error,
                bytes_in=call.bytes_in,
                bytes_out=call.bytes_out,
                not_modified=call.not_modified,
            )


@asynccontextmanager
async def opened_metrics(
    store: SessionStore, options: MetricsOptions, folder: Path, logger: logging.Logger
) -> AsyncIterator[MeasuredStore]:
    """Stand around a store, and report now and then, and at the end."""
    measured = MeasuredStore(store)
    reporter = _Reporter(measured.metrics, options, folder, logger)
    reporting = asyncio.create_task(reporter.run())
    try:
        yield measured
    finally:
        reporter.ended.set()
        try:
            await measured.close()
        finally:
            await reporting
            await reporter.report()
            reporter.close()


class _Reporter:
    """Reports measures; one that fails is told once and ends no program."""

    def __init__(
        self, metrics: Metrics, options: MetricsOptions, folder: Path, logger: logging.Logger
    ) -> None:
        self._metrics = metrics
        self._options = options
        self._path = None if options.path is None else folder / options.path.expanduser()
        self._logger = logger
        self._told = False
        self.ended = asyncio.Event()
        self._ours: TextIO | None = None
        """The lock on the file, once this process has it."""

    async def run(self) -> None:
        """Report now and then, until it has ended."""
        while not self.ended.is_set():
            try:
                async with asyncio.timeout(self._options.every):
                    await self.ended.wait()
            except TimeoutError:
                await self.report()

    async def report(self) -> None:
        """Report once."""
        snapshot = self._metrics.snapshot()
        if not snapshot.operations:  # `turnkeep check` opens a store and calls nothing
            return
        if self._options.log and self._logger.isEnabledFor(logging.INFO):
            for name, found in snapshot.operations.items():
                self._logger.info("%s store, %s: %s", snapshot.store, name, found.line())
        if self._path is None:
            return
        try:
            await asyncio.to_thread(self._write, self._path, snapshot)
        except OSError as error:
            if not self._told:
                self._told = True
                self._logger.warning("metrics are not written to %s: %s", self._path, error)

    def _write(self, path: Path, snapshot: Snapshot) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ours = self._ours or _locked(path)
        if self._ours is None:
            return  # a program reports there, and this is a command beside it, or another worker
        write_whole(path, snapshot.to_prometheus(**self._options.labels))

    def close(self) -> None:
        """Let others report to the file."""
        if self._ours is not None:
            self._ours.close()


def _locked(path: Path) -> TextIO | None:
    """Take the right to write a file, for as long as what is given stays open; None: not free."""
    lock = path.with_name(f".{path.name}.lock").open("a", encoding="utf-8")
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
    return lock


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds all of it, the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)  # a scraper is another user
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
