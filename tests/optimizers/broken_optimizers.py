"""Broken optimizers: beside each stand the tests of the suite that must notice it.

Each is a sound step but for one thing: it shortens old results to a line with their reference, and
covers the oldest steps by a line with theirs.
"""

import asyncio
import random
import time

from turnkeep.content import Message, Reasoning, ToolCall, ToolResult, result_text
from turnkeep.optimize.plan import Cover, Plan, Replace
from turnkeep.optimize.reference import mark
from turnkeep.optimize.view import is_pinned

BROKEN = {}
"""Name: (class, names of the tests that fail, without `test_`). Those fail, and no others."""

SAME = "the_same_view_gives_the_same_plan"
FRESH = "a_fresh_optimizer_gives_the_same_plan"
COPY = "a_copy_of_the_view_gives_the_same_plan"
RESTART = "after_a_restart_the_next_plan_is_the_same"
PROCESS = "another_process_gives_the_same_plan"
ACCEPTED = "a_plan_is_accepted"
SKIPPED = "a_step_that_raises_is_skipped"
"""It compares two rewrites, one of them without the step that raises."""


def fails(*tests):
    """Register an optimizer with the tests that it must fail."""

    def register(optimizer):
        BROKEN[optimizer.__name__] = optimizer, frozenset(tests)
        return optimizer

    return register


class Sound:
    """Replaces long old results, and nothing else."""

    async def plan(self, view):
        return Plan([*self.edits(view)])

    def edits(self, view):
        for entry in self.old(view):
            if isinstance(entry.item, ToolResult) and len(result_text(entry.item)) > 600:
                yield Replace(entry, [self.stub(entry)])

    def old(self, view):
        return [
            entry
            for entry in view.entries[: view.turn]
            if entry.form == "whole" and entry.ref not in view.fixed
        ]

    def stub(self, entry):
        return f"(left out, recall {mark(entry.ref)})"


BROKEN["Sound"] = Sound, frozenset()


@fails("a_plan_does_not_raise")
class Raises(Sound):
    def edits(self, view):
        raise RuntimeError("no")


@fails("a_plan_is_in_time")
class Hangs(Sound):
    async def plan(self, view):
        await asyncio.Event().wait()


@fails("a_plan_does_not_raise")
class GivesAList(Sound):
    async def plan(self, view):
        return None if not view.entries else [1]


@fails(ACCEPTED, "every_edit_makes_it_smaller")
class Grows(Sound):
    def stub(self, entry):
        return f"(left out, recall {mark(entry.ref)}) {result_text(entry.item)} and more of it"


@fails(ACCEPTED, "edits_name_what_is_in_the_view")
class MakesOrphans(Sound):
    """Covers a step up to its calls, by a group that it made itself."""

    def edits(self, view):
        for group in view.groups:
            if group.kind == "step" and group.coverable and group.last > group.first:
                half = group._replace(last=group.first)
                yield Cover(half, half)
                return


@fails(ACCEPTED, "edits_name_what_is_in_the_view")
class CoversBackwards(Sound):
    def edits(self, view):
        groups = [group for group in view.groups if group.coverable]
        if len(groups) > 1:
            yield Cover(groups[-1], groups[0])


@fails(ACCEPTED, "edits_name_what_is_in_the_view")
class ReplacesTwice(Sound):
    def edits(self, view):
        for edit in super().edits(view):
            yield edit
            yield edit


@fails(ACCEPTED, "the_users_current_message_is_left_alone")
class EditsTheCurrentMessage(Sound):
    def edits(self, view):
        for entry in view.entries[view.turn :]:
            item = entry.item
            mine = isinstance(item, Message) and item.role == "user" and not is_pinned(item)
            if mine and view.weigh(item) > 60:
                yield Replace(entry, self.stub(entry))


@fails(ACCEPTED, "what_is_pinned_is_left_alone")
class EditsWhatIsPinned(Sound):
    def edits(self, view):
        for entry in view.entries:
            if isinstance(entry.item, ToolResult) and view.weigh(entry.item) > 60:
                yield Replace(entry, [self.stub(entry)])


@fails(ACCEPTED, "instructions_are_left_alone")
class CoversInstructions(Sound):
    def edits(self, view):
        for group in view.groups:
            if group.kind == "system" and not is_pinned(view.entries[group.first].item):
                yield Cover(group, group)


@fails(ACCEPTED, "what_is_the_providers_own_is_not_replaced")
class EditsReasoning(Sound):
    def edits(self, view):
        for entry in view.entries:
            if isinstance(entry.item, Reasoning) and not is_pinned(entry.item):
                yield Replace(entry, self.stub(entry))


@fails(ACCEPTED, "what_covers_is_not_replaced", "every_edit_makes_it_smaller")
class EditsCovers(Sound):
    def edits(self, view):
        for entry in view.entries:
            if entry.form == "cover" and not is_pinned(entry.item):
                yield Replace(entry, self.stub(entry))


@fails(ACCEPTED, "open_calls_are_not_covered")
class CoversOpenCalls(Sound):
    def edits(self, view):
        for group in view.groups:
            if group.open and not group.fixed:
                yield Cover(group, group)


@fails(ACCEPTED, "nothing_becomes_empty", "a_stub_tells_how_it_is_read_back")
class Empties(Sound):
    def stub(self, entry):
        return " "


@fails("a_stub_tells_how_it_is_read_back", "every_stub_reads_back_its_original")
class DropsTheReference(Sound):
    def stub(self, entry):
        return "(left out)"


@fails("a_stub_tells_how_it_is_read_back", "every_stub_reads_back_its_original")
class NamesAnother(Sound):
    def stub(self, entry):
        return f"(left out, recall #{entry.ref.seq + 1_000}.0)"


@fails("the_references_of_a_cover_lead_to_what_it_covers")
class CoversWithALie(Sound):
    def edits(self, view):
        for group in view.groups[:-4]:
            if group.coverable and group.tokens > 100:
                yield Cover(group, group, "(left out, recall #9999.0)")


@fails(
    "the_view_is_unchanged",
    "the_input_is_unchanged",
    "a_stored_context_gives_the_same_request",
    "between_checkpoints_a_request_extends_the_one_before",
    "counts_are_those_of_a_fresh_count",
)
class ChangesItems(Sound):
    def edits(self, view):
        for entry in self.old(view):
            if isinstance(entry.item, ToolCall):
                entry.item.arguments["seen"] = True
        return iter(())


@fails("the_view_is_unchanged")
class ChangesItsState(Sound):
    async def plan(self, view):
        if isinstance(view.state, dict) and "kept" in view.state:
            view.state["kept"].append(2)
        return await super().plan(view)


@fails(SAME, FRESH, COPY, RESTART, PROCESS, SKIPPED)
class ThrowsDice(Sound):
    def stub(self, entry):
        return f"(left out, recall {mark(entry.ref)}, {random.random()})"


@fails(SAME, FRESH, COPY, RESTART, PROCESS, SKIPPED)
class ReadsTheClock(Sound):
    def stub(self, entry):
        return f"(left out at {time.perf_counter_ns()}, recall {mark(entry.ref)})"


@fails(PROCESS)
class HashesTexts(Sound):
    def stub(self, entry):
        return f"(left out {hash(result_text(entry.item)) % 997}, recall {mark(entry.ref)})"


@fails(COPY, RESTART, PROCESS)
class LooksAtIdentity(Sound):
    def stub(self, entry):
        return f"(left out {id(entry.item)}, recall {mark(entry.ref)})"


@fails(SAME, FRESH, RESTART)
class CountsItsPlans(Sound):
    """Keeps in memory what belongs in the plan's state."""

    def __init__(self):
        self.plans = 0

    async def plan(self, view):
        self.plans += 1
        return await super().plan(view)

    def stub(self, entry):
        return f"(left out {self.plans}, recall {mark(entry.ref)})"


@fails(FRESH, RESTART)
class RemembersTheFirst(Sound):
    """Says what it says by the first session that it met."""

    first = None

    async def plan(self, view):
        self.first = self.first or len(view.entries)
        return await super().plan(view)

    def stub(self, entry):
        return f"(left out {self.first}, recall {mark(entry.ref)})"


@fails("the_work_of_a_plan_is_linear", "the_work_of_a_rewrite_is_linear")
class ComparesAll(Sound):
    def edits(self, view):
        for entry in view.entries:
            for other in view.entries:
                str.isascii(getattr(other.item, "name", "")) and is_pinned(entry.item)
        yield from super().edits(view)
