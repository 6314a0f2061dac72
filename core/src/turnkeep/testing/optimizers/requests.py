"""What the requests promise that a pipeline of optimizers leaves, through the engine."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from turnkeep.content import ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.errors import ContextOverflow
from turnkeep.formats import get_profile
from turnkeep.optimize.plan import Optimizer, Plan
from turnkeep.optimize.recall import answer, exchange
from turnkeep.optimize.reference import references
from turnkeep.optimize.view import View, is_pinned
from turnkeep.testing.optimizers.base import Base, invariant
from turnkeep.testing.optimizers.bench import Bench, body_of, frozen, prepared, text_in
from turnkeep.testing.optimizers.scenes import Scene, limited, long_log, numbered
from turnkeep.testing.work import calls_made
from turnkeep.tokens.estimate import EstimateCounter

LATE: Final = 0.01
"""Seconds that a step may take in the test of one that takes for ever."""
STEPS: Final = (60, 240)
FACTOR: Final = 1.4
"""By how much the work for each item may rise from the shorter to the longer session."""


class Requests(Base):
    """A pipeline (`stages`) and the engine, over generated sessions."""

    async def rewritten(self, bench: Bench) -> list[Entry]:
        """Give what stands after the engine has looked at a scene; as before if it overflows."""
        try:
            rewrite = await bench.rewrite()
        except ContextOverflow:
            return list(bench.scene.entries)
        return list(bench.scene.entries) if rewrite is None else rewrite.entries

    # Validity

    @invariant(profile="openai-chat")
    async def test_valid_stays_valid_for_openai_chat(self, scene: Scene) -> None:
        """A rewritten request breaks no rule, and needs no repair where there was no need."""
        await self._valid(scene)

    @invariant(profile="anthropic")
    async def test_valid_stays_valid_for_anthropic(self, scene: Scene) -> None:
        """A rewritten request breaks no rule, and needs no repair where there was no need."""
        await self._valid(scene)

    @invariant(profile="openai-responses")
    async def test_valid_stays_valid_for_openai_responses(self, scene: Scene) -> None:
        """A rewritten request breaks no rule, and needs no repair where there was no need."""
        await self._valid(scene)

    @invariant(profile="gemini")
    async def test_valid_stays_valid_for_gemini(self, scene: Scene) -> None:
        """A rewritten request breaks no rule, and needs no repair where there was no need."""
        await self._valid(scene)

    async def _valid(self, scene: Scene) -> None:
        entries = await self.rewritten(self.bench(scene))
        items = [entry.item for entry in entries]
        assert get_profile(scene.profile).check(body_of(scene, items)) == []
        before = prepared(scene.items).report(scene.profile).repairs
        if not before:
            assert prepared(items).report(scene.profile).repairs == []

    # Size

    @invariant()
    async def test_a_request_fits_or_nothing_could_be_done(self, scene: Scene) -> None:
        """What is left is within the limit; an overflow means that the least is above it."""
        bench = self.bench(scene)
        try:
            rewrite = await bench.rewrite()
        except ContextOverflow as error:
            told = error
        else:
            items = scene.items if rewrite is None else [each.item for each in rewrite.entries]
            fresh = prepared(items, fresh=True).report(scene.profile)
            assert fresh.tokens <= scene.limit
            return
        assert bench.floor() > scene.limit, "there was something left to take out"
        assert told.tokens > told.limit == scene.limit
        assert told.floor

    @invariant()
    async def test_no_step_adds_tokens(self, scene: Scene) -> None:
        """Each step leaves as many tokens as before or fewer, and so does the whole."""
        bench = self.bench(scene)
        try:
            rewrite = await bench.rewrite()
        except ContextOverflow:
            return
        if rewrite is not None:
            steps = rewrite.report["steps"]
            assert isinstance(steps, list)
            for step in steps:
                assert isinstance(step, dict)
                assert step["after"] <= step["before"], step  # type: ignore[operator]  # numbers
            assert rewrite.tokens <= bench.ask.tokens

    @invariant()
    async def test_counts_are_those_of_a_fresh_count(self, scene: Scene) -> None:
        """What the engine remembers of sizes is what counting everything anew gives."""
        bench = self.bench(scene)
        entries = await self.rewritten(bench)
        items = [entry.item for entry in entries]
        fresh = prepared(items, fresh=True).weighed(scene.profile)
        scale = type(bench.scale)(fresh.way._replace(counter=EstimateCounter()))
        assert [bench.scale.weigh(item) for item in items] == [scale.weigh(item) for item in items]
        assert bench.ask.fixed + bench.scale.check(items).tokens == fresh.tokens

    # What stays

    @invariant()
    async def test_order_is_kept(self, scene: Scene) -> None:
        """What is left are items of before in their order, of the same kinds, and covers."""
        before = scene.entries
        places = {entry.ref: place for place, entry in enumerate(before)}
        after = await self.rewritten(self.bench(scene))
        order = [places[entry.ref] for entry in after]
        assert order == sorted(set(order))
        for entry in after:
            if entry.form != "cover":
                old = before[places[entry.ref]].item
                assert type(entry.item) is type(old)
                for name in ("role", "name", "tool_call_id", "status"):
                    assert getattr(entry.item, name, None) == getattr(old, name, None)

    @invariant()
    async def test_the_input_is_unchanged(self, scene: Scene) -> None:
        """The items and notes that the engine was given are as they were."""
        before = frozen(scene.entries), dict(scene.memory)
        await self.rewritten(self.bench(scene))
        assert (frozen(scene.entries), dict(scene.memory)) == before

    @invariant()
    async def test_pinned_items_stay_word_for_word(self, scene: Scene) -> None:
        """What is pinned is in the request as it was."""
        after = frozen(await self.rewritten(self.bench(scene)))
        for entry in scene.entries:
            if is_pinned(entry.item) and entry.item.type not in ("reasoning", "opaque"):
                assert frozen([entry])[1:-1] in after

    @invariant()
    async def test_the_users_current_message_stays_word_for_word(self, scene: Scene) -> None:
        """What the user said last, and instructions, are in the request as they were."""
        view = Bench(scene).view()
        after = frozen(await self.rewritten(self.bench(scene)))
        for entry in view.entries:
            if entry.ref in view.fixed:
                assert frozen([entry])[1:-1] in after

    # What is gone

    @invariant()
    async def test_every_stub_reads_back_its_original(self, scene: Scene) -> None:
        """The reference in a shortened item's text, as the request has it, recalls the whole."""
        entries = await self.rewritten(self.bench(scene))
        said = set(references(str(body_of(scene, [entry.item for entry in entries]))))
        for entry in entries:
            if entry.form != "stub":
                continue
            [original] = [each for each in scene.log if each.ref == entry.ref]
            assert entry.ref in references(text_in(entry.item)), "it has no reference"
            assert entry.ref in said or not scene.sound, "the request does not have it"
            assert exchange(scene.log, entry.ref)[0] == original
            if isinstance(original.item, ToolCall | ToolResult) or text_in(original.item):
                found = await answer(
                    {"ref": f"#{entry.ref.seq}.{entry.ref.index}"},
                    scene.log,
                    cap=10**9,
                    count=bench_count,
                )
                assert not found.failed

    # Failing

    @invariant()
    async def test_a_step_that_takes_too_long_is_skipped(self, scene: Scene) -> None:
        """The other steps go on without it, it is named in the report, and the request fits."""
        await self._skipped(scene, _Late(), "took longer")

    @invariant()
    async def test_a_step_that_raises_is_skipped(self, scene: Scene) -> None:
        """The other steps go on without it, it is named in the report, and the request fits."""
        await self._skipped(scene, _Raising(), "RuntimeError")

    async def _skipped(self, scene: Scene, broken: Optimizer, said: str) -> None:
        alone = Bench(scene, self.guarded())
        seconds = LATE if isinstance(broken, _Late) else self.seconds * 2
        bench = Bench(scene, [broken, *self.guarded()], seconds=seconds)
        # The others are given their time: only the broken one is to be late.
        bench.engine.rules = bench.engine.rules.model_copy(update={"step_timeout": seconds})
        try:
            rewrite = await bench.rewrite()
        except ContextOverflow:
            with pytest.raises(ContextOverflow):
                await alone.rewrite()
            return
        if rewrite is not None:
            assert said in str(rewrite.report["steps"])
            assert rewrite.tokens <= scene.limit
        if said != "took longer":  # a slow machine may make the others late, too
            assert frozen(await self.rewritten(alone)) == frozen(
                scene.entries if rewrite is None else rewrite.entries
            )

    # Work

    def test_the_work_of_a_rewrite_is_linear(self) -> None:
        """Four times the session takes about four times the calls."""
        short, long = (self._work(steps) for steps in STEPS)
        assert long <= short * (STEPS[1] / STEPS[0]) * FACTOR + 2_000

    def _work(self, steps: int) -> int:
        log = numbered(long_log(steps))
        scene = limited(Scene("openai-chat", log, list(log), 1), 0.5)
        with asyncio.Runner() as runner:
            runner.run(self.rewritten(self.bench(scene)))  # counts are remembered from here on
            bench = self.bench(scene)
            return calls_made(lambda: runner.run(self.rewritten(bench)))


class _Late:
    async def plan(self, view: View) -> Plan | None:
        await asyncio.Event().wait()
        raise AssertionError(view)


class _Raising:
    async def plan(self, view: View) -> Plan | None:
        raise RuntimeError(len(view.entries))


def bench_count(texts: object) -> list[int]:
    """Count nothing: what is read back here has no cap."""
    return [0 for _ in texts]  # type: ignore[attr-defined]  # a sequence of texts
