"""What the plans of one optimizer promise, whatever the engine makes of them."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from turnkeep.content import Opaque, Reasoning, ToolCall
from turnkeep.context import Entry
from turnkeep.optimize.edits import BadEdit, apply, with_content
from turnkeep.optimize.plan import Cover, Edit, Plan, Replace
from turnkeep.optimize.recall import exchange
from turnkeep.optimize.reference import references
from turnkeep.optimize.view import Group, View, is_pinned
from turnkeep.testing.conformance.base import Coverage
from turnkeep.testing.optimizers.base import Base, invariant, over
from turnkeep.testing.optimizers.bench import Bench, frozen, text_in, told
from turnkeep.testing.optimizers.scenes import Scene, limited, long_log, numbered
from turnkeep.testing.work import calls_made

STEPS: Final = (60, 240)
"""Lengths of the sessions by which the growth of work is measured."""
FACTOR: Final = 1.4
"""By how much the work for each item may rise from the shorter to the longer one."""


class Plans(Base):
    """An optimizer's plans, over views of generated sessions."""

    async def planned(self, scene: Scene) -> tuple[View, Plan]:
        """Give the view of a scene, and a fresh optimizer's plan (an empty one for None)."""
        view = Bench(scene).view()
        plan = await self.plan(self.optimizer(), view)
        return view, plan if isinstance(plan, Plan) else Plan([])

    # Failing

    @invariant()
    async def test_a_plan_does_not_raise(self, scene: Scene) -> None:
        """No view makes the optimizer raise."""
        view = Bench(scene).view()
        if not type(self)._late:
            try:
                async with asyncio.timeout(self.seconds):
                    plan = await self.optimizer().plan(view)
            except TimeoutError:
                type(self)._late = True
            else:
                assert plan is None or isinstance(plan, Plan), "it is no plan"

    @invariant()
    async def test_a_plan_is_in_time(self, scene: Scene) -> None:
        """No view keeps the optimizer busy or waiting for longer than `seconds`."""
        await self.planned(scene)
        assert not type(self)._late, f"a plan took longer than {self.seconds:g} s"

    # What may be touched

    @invariant()
    async def test_a_plan_is_accepted(self, scene: Scene) -> None:
        """The engine takes each plan as it is."""
        view, plan = await self.planned(scene)
        try:
            apply(view, plan)
        except BadEdit as error:
            pytest.fail(f"the plan is discarded: {error}")

    @invariant()
    async def test_edits_name_what_is_in_the_view(self, scene: Scene) -> None:
        """Entries are the view's own, groups are as the view has them, in their order, once."""
        view, plan = await self.planned(scene)
        own = set(map(id, view.entries))
        groups = {group.number: group for group in view.groups}
        touched: list[Any] = []
        for edit in plan.edits:
            if isinstance(edit, Replace):
                assert id(edit.entry) in own
                touched.append(edit.entry.ref)
            else:
                assert isinstance(edit, Cover)
                assert groups.get(edit.first.number) == edit.first
                assert groups.get(edit.last.number) == edit.last
                assert edit.first.number <= edit.last.number
                touched += range(edit.first.number, edit.last.number + 1)
        assert len(set(touched)) == len(touched), "something is replaced or covered twice"

    @invariant()
    async def test_what_is_pinned_is_left_alone(self, scene: Scene) -> None:
        """No edit touches an item with the extra field `pinned`."""
        view, plan = await self.planned(scene)
        for entry, edit in touched_by(view, plan):
            assert not is_pinned(entry.item), edit

    @invariant()
    async def test_the_users_current_message_is_left_alone(self, scene: Scene) -> None:
        """No edit touches what the user said last."""
        view, plan = await self.planned(scene)
        said = [
            entry
            for entry in view.entries
            if getattr(entry.item, "role", "") == "user" and entry.form != "cover"
        ]
        for entry, edit in touched_by(view, plan):
            assert not said or entry is not said[-1], edit

    @invariant()
    async def test_instructions_are_left_alone(self, scene: Scene) -> None:
        """No edit touches system or developer messages."""
        view, plan = await self.planned(scene)
        for entry, edit in touched_by(view, plan):
            assert getattr(entry.item, "role", "") not in ("system", "developer"), edit

    @invariant()
    async def test_what_is_the_providers_own_is_not_replaced(self, scene: Scene) -> None:
        """Reasoning and items of unknown kinds stay as they are, or go with their group."""
        _, plan = await self.planned(scene)
        for edit in plan.edits:
            if isinstance(edit, Replace):
                assert not isinstance(edit.entry.item, Reasoning | Opaque)

    @invariant()
    async def test_what_covers_is_not_replaced(self, scene: Scene) -> None:
        """A text in place of others may be covered again, not replaced: it has no original."""
        _, plan = await self.planned(scene)
        for edit in plan.edits:
            if isinstance(edit, Replace):
                assert edit.entry.form != "cover"

    @invariant()
    async def test_open_calls_are_not_covered(self, scene: Scene) -> None:
        """A group is left alone while a call of it wants its result."""
        view, plan = await self.planned(scene)
        for group in covered_by(view, plan):
            assert not view.groups[group.number].open

    # What may stand in its place

    @invariant()
    async def test_every_edit_makes_it_smaller(self, scene: Scene) -> None:
        """What stands in place of something has fewer tokens than that."""
        view, plan = await self.planned(scene)
        for edit in plan.edits:
            if isinstance(edit, Replace):
                try:
                    new = with_content(edit.entry.item, edit.content)
                except BadEdit:
                    continue  # that it is not accepted is another test's
                assert view.weigh(new) < view.weigh(edit.entry.item)
        texts = [edit.text for edit in plan.edits if isinstance(edit, Cover) and edit.text]
        gone = sum(group.tokens for group in covered_by(view, plan))
        if texts and gone:
            assert sum(view.count(texts)) < gone

    @invariant()
    async def test_nothing_becomes_empty(self, scene: Scene) -> None:
        """No message, result or cover is left without anything in it."""
        _, plan = await self.planned(scene)
        for edit in plan.edits:
            if isinstance(edit, Cover):
                assert edit.text is None or edit.text.strip()
            elif isinstance(edit.entry.item, ToolCall):
                assert isinstance(edit.content, dict)
            else:
                content = [edit.content] if isinstance(edit.content, str) else edit.content
                assert any(not isinstance(part, str) or part.strip() for part in content)

    @invariant()
    async def test_a_stub_tells_how_it_is_read_back(self, scene: Scene) -> None:
        """What is put in place of an item names that item's reference."""
        _, plan = await self.planned(scene)
        for edit in plan.edits:
            if isinstance(edit, Replace) and isinstance(edit.content, str | list | dict):
                assert edit.entry.ref in references(text_in(edit.content))

    @invariant()
    async def test_the_references_of_a_cover_lead_to_what_it_covers(self, scene: Scene) -> None:
        """Each reference in a covering text is one of the log's, and reads something back."""
        view, plan = await self.planned(scene)
        known = {ref for entry in scene.log for ref in references(text_in(entry.item))}
        covers = [edit.text for edit in plan.edits if isinstance(edit, Cover) and edit.text]
        for text in covers:
            for ref in references(text):
                assert ref in known or exchange(scene.log, ref), f"{ref} reads nothing back"
        assert view.groups is not None

    # Purity

    @invariant()
    async def test_the_view_is_unchanged(self, scene: Scene) -> None:
        """Planning changes neither an item nor what the step noted before."""
        bench = Bench(scene._replace(memory={"step0": {"kept": [1, {"a": "b"}]}}))
        view = bench.view()
        before = frozen(view.entries), frozen(scene.entries), json.dumps(view.state)
        await self.plan(self.optimizer(), view)
        assert (frozen(view.entries), frozen(scene.entries), json.dumps(view.state)) == before

    @invariant()
    async def test_the_same_view_gives_the_same_plan(self, scene: Scene) -> None:
        """An optimizer that is asked twice says the same twice."""
        view = Bench(scene).view()
        optimizer = self.optimizer()
        first = told(await self.plan(optimizer, view))
        assert told(await self.plan(optimizer, view)) == first

    @invariant()
    async def test_a_fresh_optimizer_gives_the_same_plan(self, scene: Scene) -> None:
        """Nothing of what an optimizer has seen before changes its plan."""
        view = Bench(scene).view()
        used = self.optimizer()
        await self.plan(used, Bench(_OTHER).view())
        assert told(await self.plan(used, view)) == told(await self.plan(self.optimizer(), view))

    @invariant()
    async def test_a_copy_of_the_view_gives_the_same_plan(self, scene: Scene) -> None:
        """Items read back from JSON are as good as those that were said."""
        here = told(await self.plan(self.optimizer(), Bench(scene).view()))
        copy = Scene.load(scene.dump())
        assert told(await self.plan(self.optimizer(), Bench(copy).view())) == here

    @invariant()
    async def test_after_a_restart_the_next_plan_is_the_same(self, scene: Scene) -> None:
        """What a step noted, stored as JSON, is all that a fresh optimizer needs to go on."""
        used = self.optimizer()
        view = Bench(scene).view()
        plan = await self.plan(used, view)
        if plan is None or not plan.edits:
            return
        try:
            entries = apply(view, plan)
        except BadEdit:
            return
        memory = {} if plan.state is None else {"step0": plan.state}
        later = scene.longer(entries, memory)
        went_on = told(await self.plan(used, Bench(later).view()))
        stored = Scene.load(later.dump())
        assert told(await self.plan(self.optimizer(), Bench(stored).view())) == went_on

    def test_another_process_gives_the_same_plan(self) -> None:
        """A new interpreter, with other hashes of texts, makes the same plans."""
        self._same_elsewhere(None)

    def test_another_process_gives_the_same_plans_for_many_sessions(self) -> None:
        """So it is for `histories` sessions, too."""
        if not self.histories:
            pytest.skip("no number of generated sessions: set the attribute `histories`")
        self._same_elsewhere(self.histories)

    test_another_process_gives_the_same_plans_for_many_sessions.__turnkeep__ = Coverage((), True)  # type: ignore[attr-defined]  # read by the plugin

    def _same_elsewhere(self, number: int | None) -> None:
        asked: list[Scene] = []
        over(self, "collected", {}, asked.append, number=number)
        with asyncio.Runner() as runner:
            here = [
                told(runner.run(self.plan(self.optimizer(), Bench(scene).view())))
                for scene in asked
            ]
        # What was too late here is not waited for there.
        there = elsewhere(type(self), asked) if not type(self)._late else here
        for scene, one, other in zip(asked, here, there, strict=True):
            assert one == other, scene

    # Work

    def test_the_work_of_a_plan_is_linear(self) -> None:
        """Four times the session takes about four times the calls."""
        short, long = (self._work(steps) for steps in STEPS)
        assert long <= short * (STEPS[1] / STEPS[0]) * FACTOR + 2_000

    def _work(self, steps: int) -> int:
        log = numbered(long_log(steps))
        view = Bench(limited(Scene("openai-chat", log, list(log), 1), 0.5)).view()
        optimizer = self.optimizer()
        with asyncio.Runner() as runner:
            runner.run(self.plan(optimizer, view))  # counts are remembered from here on
            return calls_made(lambda: runner.run(self.plan(optimizer, view)))


_OTHER: Final = limited(
    Scene("openai-chat", numbered(long_log(12)), numbered(long_log(12)), 1), 0.3
)
"""A scene that an optimizer has seen before."""


def touched_by(view: View, plan: Plan) -> Iterator[tuple[Entry, Edit]]:
    """Yield each entry that an edit replaces or covers; what is not in the view is passed over."""
    for edit in plan.edits:
        if isinstance(edit, Replace):
            yield edit.entry, edit
        elif isinstance(edit, Cover):
            for entry in view.entries[edit.first.first : edit.last.last + 1]:
                yield entry, edit


def covered_by(view: View, plan: Plan) -> list[Group]:
    """Give the groups that a plan covers, as the view has them."""
    return [
        group
        for edit in plan.edits
        if isinstance(edit, Cover)
        for group in view.groups[max(edit.first.number, 0) : edit.last.number + 1]
    ]


def elsewhere(kit: type[Plans], asked: list[Scene]) -> list[str]:
    """Have the plans made in a new interpreter, whose hashes of texts are others."""
    found = sys.modules.get(kit.__module__)
    file = getattr(found, "__file__", None)
    assert operator.attrgetter(kit.__qualname__)(found) is kit, "the class must be a module's own"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    path = os.pathsep.join(each for each in sys.path if each)
    said = subprocess.run(  # our own module
        [sys.executable, "-m", "turnkeep.testing.optimizers.elsewhere"],
        input="\n".join(
            [
                json.dumps([kit.__module__, file, kit.__qualname__]),
                *(scene.dump() for scene in asked),
            ]
        ),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        check=False,
    )
    assert said.returncode == 0, f"the other process failed:\n{said.stderr}"
    plans: list[str] = json.loads(said.stdout.rpartition("\n")[2])
    return plans
