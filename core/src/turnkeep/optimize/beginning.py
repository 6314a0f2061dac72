"""Beginning: what a context may begin with once older groups are gone, as providers want it."""

from __future__ import annotations

from collections.abc import Collection

from turnkeep.content import Message
from turnkeep.formats.profile import side_of
from turnkeep.optimize.plan import Cover
from turnkeep.optimize.view import Group, View
from turnkeep.repair.steps import NO_START


def start_size(view: View) -> int:
    """Give the tokens of the text that stands for what was taken out."""
    return view.weigh(Message(role="user", content=NO_START))


def with_a_start(view: View, covers: list[Cover], gone: Collection[int]) -> list[Cover]:
    """Let a text stand for what was taken out where the model's answer would stand first."""
    first = next(
        (
            each
            for each in view.groups
            if each.number not in gone and each.kind != "system" and is_sent(view, each)
        ),
        None,
    )
    if not covers or first is None or first.kind != "step" or covers[0].first.number > first.number:
        return covers
    beginning = covers[0]
    taken = view.groups[beginning.first.number : beginning.last.number + 1]
    if start_size(view) >= sum(group.tokens for group in taken):
        return covers[1:]  # it would save nothing
    return [Cover(beginning.first, beginning.last, NO_START), *covers[1:]]


def is_sent(view: View, group: Group) -> bool:
    """Say whether anything of a group reaches the provider.

    What another provider said for itself does not, nor results without a call: repair leaves both
    out, so they are no beginning. In place of an empty message it puts one that says so.
    """
    items = [entry.item for entry in view.entries_of(group)]
    return any(
        type(item) is Message or (view.weigh(item) and side_of(item) != "result") for item in items
    )
