"""Killing a process at a named point: around a store, a model and tools, for crash matrices.

A point is written "append:3:before": what, which time (from 1), on which side. The kill is SIGKILL,
so nothing is cleaned up. What had been acknowledged is written to a file first, line by line, each
one write, for the test to hold against the log.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from turnkeep.agent.tools import FunctionTool
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelClient,
    ModelPiece,
    ModelRequest,
    ModelSettings,
)
from turnkeep.store import Head, Record, SessionStore

F = TypeVar("F", bound=Callable[..., Any])


class Point(NamedTuple):
    """Where to die."""

    what: str
    time: int
    side: str

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read "append:3:before"."""
        what, time, side = text.rsplit(":", 2)
        return cls(what, int(time), side)

    def __str__(self) -> str:
        return f"{self.what}:{self.time}:{self.side}"


class Kills:
    """Counts what happens, writes it to a file, and kills this process at a point (None: never).

    `store`, `model` and `tool` wrap what is to be watched; `decided` is called by the test itself.
    """

    def __init__(self, point: Point | None, file: Path) -> None:
        self._point = point
        self._file = file
        self._times: Counter[str] = Counter()

    def begin(self, what: str) -> int:
        """Note that something begins; give which time it is."""
        self._times[what] += 1
        time = self._times[what]
        self.write(f"begin {what}:{time}")
        self._reach(Point(what, time, "before"))
        return time

    def end(self, what: str, time: int, note: str = "") -> None:
        """Note that it is acknowledged."""
        self.write(f"end {what}:{time} {note}".rstrip())
        self._reach(Point(what, time, "after"))

    def write(self, line: str) -> None:
        """Write a line to the file: it is there whatever comes next."""
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)

    def store(self, store: SessionStore) -> Any:
        """Give the store, watched."""
        return _Store(store, self)

    def model(self, model: ModelClient) -> ModelClient:
        """Give the model client, watched."""
        return _Model(model, self)

    def tool(self, made: FunctionTool) -> FunctionTool:
        """Watch a tool's function, and give the tool."""
        function = made.function

        async def watched(**arguments: Any) -> Any:
            time = self.begin(f"tool {made.name}")
            value = await function(**arguments)
            self.end(f"tool {made.name}", time)
            return value

        made.function = watched
        return made

    def _reach(self, point: Point) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


class _Store:
    def __init__(self, store: SessionStore, kills: Kills) -> None:
        self._store = store
        self._kills = kills

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, session_id: str, records: Sequence[Record], **fields: Any) -> Head:
        if not records and fields.get("meta") is None and fields.get("state") is None:
            # What keeps a turn fresh comes by the clock: it cannot be counted.
            return await self._store.append(session_id, records, **fields)
        time = self._kills.begin("append")
        head = await self._store.append(session_id, records, **fields)
        self._kills.end("append", time, f"{head.seq} {len(records)}")
        return head


class _Model:
    def __init__(self, model: ModelClient, kills: Kills) -> None:
        self._model = model
        self._kills = kills
        self.model_id = model.model_id
        self.profile = model.profile
        self.limits = model.limits

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        time = self._kills.begin("model")
        answer = await self._model.generate(request, settings)
        self._kills.end("model", time)
        return answer

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        time = self._kills.begin("model")
        async for piece in self._model.stream(request, settings):
            if isinstance(piece, ModelAnswer):
                self._kills.end("model", time)
            yield piece
