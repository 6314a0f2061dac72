"""What sessions promise whose contexts a pipeline rewrites: turns, stores, restarts, cancels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from turnkeep.content import Item
from turnkeep.errors import ContextOverflow, PluginError
from turnkeep.events import Checkpoint
from turnkeep.formats import get_profile
from turnkeep.formats.profile import side_of
from turnkeep.hookspecs import Env
from turnkeep.keeper import Keeper
from turnkeep.optimize.rules import ContextRules
from turnkeep.plugins import Plugins
from turnkeep.prepared import PreparedRequest
from turnkeep.store import SessionStore
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.histories import TOOLS
from turnkeep.testing.optimizers.base import Base, invariant
from turnkeep.testing.optimizers.bench import TARGET, TRIGGER
from turnkeep.testing.optimizers.scenes import INSTRUCTIONS, Scene, limited, long_log, numbered
from turnkeep.turn import Turn

CANCELS: Final = 400
"""Awaits of a rewriting request at most."""
ARRIVAL_CAP: Final = 600


class Asked(NamedTuple):
    """One request of a session: its messages as they go out, one text each; None: an overflow."""

    messages: list[str] | None
    tokens: int
    report: dict[str, Any] | None
    valid: bool = True
    expected: int = 0
    """Tokens as the provider is expected to count them, which is what a limit is about."""


class Sessions(Base):
    """A pipeline in turns of generated sessions."""

    def keeper(self, store: SessionStore, limit: int, **fields: Any) -> Keeper:
        """Make a keeper with a fresh pipeline, as after a restart."""
        rules = ContextRules(
            max_tokens=limit,
            **{"trigger": TRIGGER, "target": TARGET, "arrival_cap": ARRIVAL_CAP, **fields},
        )
        return Keeper(store=store, context=rules, optimizers=self.guarded(), learn=False)

    @invariant()
    async def test_between_checkpoints_a_request_extends_the_one_before(self, scene: Scene) -> None:
        """Until a checkpoint is stored, each request begins with the bytes of the one before."""
        before: list[str] = []
        async with self.keeper(MemoryStore(), scene.limit) as keeper:
            async for asked in played(keeper, scene):
                if asked.messages is None:
                    continue
                if asked.report is None:
                    assert asked.messages[: len(before)] == before
                assert asked.expected <= scene.limit
                assert asked.valid
                before = asked.messages

    @invariant()
    async def test_a_stored_context_gives_the_same_request(self, scene: Scene) -> None:
        """After a restart the request is the same to the byte; what was just rewritten stays."""
        store = MemoryStore()
        last: Asked | None = None
        async with self.keeper(store, scene.limit) as keeper:
            async for asked in played(keeper, scene):
                last = asked
        if last is None or last.messages is None:
            return
        # Without a limit: a try that gained nothing may be made again after a restart.
        limit = scene.limit if last.report is not None else 10**9
        async with self.keeper(store, limit) as keeper, keeper.turn("s") as turn:
            again = await request(turn, scene.profile)
        assert again.report is None, "it was rewritten again though nothing has changed"
        assert again.messages == last.messages

    @invariant()
    async def test_rewrites_are_rare(self, scene: Scene) -> None:
        """Unless the limit forces it, each rewrite is paid for by growth: trigger less target."""
        grown, rewrites, before = 0, 0, 0
        gap = 0.0
        async with self.keeper(MemoryStore(), scene.limit) as keeper:
            async for asked in played(keeper, scene):
                if asked.messages is None:
                    return
                now = asked.tokens
                if asked.report is not None:
                    if asked.report["reason"] == "limit":
                        return  # forced; what follows is reckoned from another size
                    rewrites += 1
                    now = asked.report["tokens_before"]
                    gap = asked.report["trigger"] - asked.report["target"]
                grown += max(now - before, 0)
                before = asked.tokens
        assert not rewrites or rewrites <= math.ceil(grown / max(gap, 1))

    def test_a_cancel_leaves_the_old_or_the_new_context(self) -> None:
        """Whichever await a cancel meets, the store in memory holds all of a checkpoint or none."""
        asyncio.run(self._cancelled(lambda: contextlib.nullcontext(MemoryStore())))

    def test_a_cancel_leaves_the_old_or_the_new_context_in_a_file(self, tmp_path: Path) -> None:
        """Whichever await a cancel meets, a SQLite file holds all of a checkpoint or none."""
        files = iter(range(CANCELS + 2))
        try:
            spec = Plugins().store("sqlite")
        except PluginError:
            pytest.skip("needs the plugin turnkeep-session-sqlite")

        def opened() -> contextlib.AbstractAsyncContextManager[SessionStore]:
            path = tmp_path / f"{next(files)}.db"
            options = spec.options.model_validate({"path": path})
            return spec.open(options, Env(data_dir=tmp_path, logger=logging.getLogger("turnkeep")))

        asyncio.run(self._cancelled(opened))

    async def _cancelled(
        self, opened: Callable[[], contextlib.AbstractAsyncContextManager[SessionStore]]
    ) -> None:
        log = numbered(long_log(12))
        scene = limited(Scene("openai-chat", log, list(log), 1), 0.6)
        outcomes: set[bool] = set()
        async with opened() as store:
            old, new, _ = await self._cut(store, scene, CANCELS)
        for number in range(CANCELS):
            async with opened() as store:
                _, after, finished = await self._cut(store, scene, number)
            outcomes.add(after == new)
            assert after in (old, new)
            if finished:
                break
        else:
            pytest.fail("the request never came to its end")
        assert True in outcomes

    async def _cut(self, store: SessionStore, scene: Scene, number: int) -> tuple[str, str, bool]:
        """Cancel a request at one await; give the context before and after, and if it was done."""
        async with self.keeper(store, scene.limit) as keeper, keeper.turn("s") as turn:
            await turn.add(*[entry.item for entry in scene.log])
            before = _context(turn)
            try:
                await cancelled_at(request(turn, scene.profile), number)
                finished = True
            except asyncio.CancelledError:
                finished = False
            here = _context(turn)
        async with self.keeper(store, scene.limit) as keeper, keeper.turn("s") as turn:
            after = _context(turn)
            session = await keeper.sessions.get("s")
            assert session is not None
            events = session.events
            assert sum(isinstance(event, Checkpoint) for event in events) <= 1
            if finished:
                assert here == after
            asked = await request(turn, scene.profile)
            assert asked.messages is not None
            assert asked.expected <= scene.limit
        return before, after, finished


def _context(turn: Turn) -> str:
    return json.dumps([item.model_dump(mode="json") for item in turn.context.items])


async def played(keeper: Keeper, scene: Scene) -> AsyncIterator[Asked]:
    """Play a scene's log as an agent would: a request before each answer, and one at the end."""
    async with keeper.turn("s") as turn:
        for run in _runs([entry.item for entry in scene.log]):
            if side_of(run[0]) == "assistant":
                yield await request(turn, scene.profile)
                await turn.add_response(run)
            else:
                await turn.add(*run)
        yield await request(turn, scene.profile)


async def request(turn: Turn, profile: str) -> Asked:
    """Make a request in a form."""
    try:
        made = await turn.request(instructions=INSTRUCTIONS, tools=TOOLS, profile=profile)
    except ContextOverflow as error:
        return Asked(None, error.tokens, None)
    report = None if made.rewritten is None else dict(made.rewritten)
    valid = not get_profile(profile).check(made.to(profile, cache=False))
    return Asked(
        _messages(made, profile),
        made.report(profile).tokens,
        report,
        valid,
        made.report(profile).expected,
    )


def _messages(made: PreparedRequest, profile: str) -> list[str]:
    wire = made._wire(profile)
    return [json.dumps(each.body) for each in [*wire.leading, *wire.snapshot.messages()]]


def _runs(items: Sequence[Item]) -> list[list[Item]]:
    runs: list[list[Item]] = []
    for item in items:
        if runs and (side_of(runs[-1][-1]) == "assistant") == (side_of(item) == "assistant"):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


async def cancelled_at(work: Coroutine[Any, Any, Any], number: int) -> Any:
    """Run a coroutine, and cancel the task at its await of this number (from 0)."""
    return await _Stepped(work, number)


class _Stepped(Awaitable[Any]):
    """Passes on what a coroutine waits for, and counts it."""

    def __init__(self, work: Coroutine[Any, Any, Any], number: int) -> None:
        self._work = work
        self._number = number

    def _steps(self) -> Generator[Any, Any, Any]:
        count = 0
        sent: Any = None
        raised: BaseException | None = None
        while True:
            try:
                waits = self._work.send(sent) if raised is None else self._work.throw(raised)
            except StopIteration as end:
                return end.value
            if count == self._number:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            count += 1
            sent, raised = None, None
            try:
                sent = yield waits
            except BaseException as error:  # noqa: BLE001  # passed on as it comes
                raised = error

    def __await__(self) -> Generator[Any, Any, Any]:
        """Run it."""
        return self._steps()
