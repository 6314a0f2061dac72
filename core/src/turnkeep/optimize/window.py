"""`window`: only the last groups stay, and the user's first message."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.optimize.beginning import with_a_start
from turnkeep.optimize.plan import Cover, Plan
from turnkeep.optimize.view import Group, View


class WindowOptions(BaseModel):
    """How many of the newest groups stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: int = Field(default=40, ge=1, description="Newest groups that stay")
    keep_first: bool = Field(default=True, description="Keep the user's first message, too")


class Window:
    """Takes out what is older than the last groups.

    In its place stands nothing, or a short text where the model's answer would stand first.
    """

    def __init__(self, options: WindowOptions) -> None:
        self._options = options

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        first = first_input(view) if self._options.keep_first else None
        old = [
            group
            for group in view.before_recent(self._options.groups)
            if group.coverable and group is not first
        ]
        covers = [Cover(run[0], run[-1]) for run in runs(old)]
        covers = with_a_start(view, covers, {group.number for group in old})
        return Plan(covers) if covers else None


def first_input(view: View) -> Group | None:
    """Give the group of the user's first message, if nothing but instructions stands before it."""
    for group in view.groups:
        if group.kind != "system":
            return group if group.kind == "input" else None
    return None


def runs(groups: list[Group]) -> list[list[Group]]:
    """Put groups together that stand side by side."""
    found: list[list[Group]] = []
    for group in groups:
        if found and found[-1][-1].number == group.number - 1:
            found[-1].append(group)
        else:
            found.append([group])
    return found
