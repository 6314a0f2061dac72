"""Whole lists made valid for a provider, and checked: the same repair as of steps, in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from turnkeep.content import Item, ToolDefinition
from turnkeep.formats.profile import Profile, Violation, render_context
from turnkeep.repair.steps import Repair, Step, StepBuilder


class Repaired(NamedTuple):
    """Items that make a valid request, and what was done to them."""

    items: list[Item]
    repairs: list[Repair]


def cut(
    items: Iterable[Item], profile: Profile, *, tools: Iterable[ToolDefinition | str] = ()
) -> list[Step]:
    """Cut items into repaired steps (see `StepBuilder`)."""
    builder = StepBuilder(profile, tools=tools)
    for item in items:
        builder.feed(item)
    return builder.steps()


def repair(
    items: Iterable[Item], profile: Profile, *, tools: Iterable[ToolDefinition | str] = ()
) -> Repaired:
    """Make a list valid for a provider; a valid list comes back as it is, item by item.

    Args:
        items: a context as the log has it.
        profile: the provider to be valid for.
        tools: what the request declares; if not empty, calls of other tools are removed.
    """
    steps = cut(items, profile, tools=tools)
    return Repaired(
        [item for step in steps for item in step.items],
        [repair for step in steps for repair in step.repairs],
    )


def violations(
    items: Sequence[Item],
    profile: Profile,
    *,
    instructions: str = "",
    tools: Sequence[ToolDefinition] = (),
) -> list[Violation]:
    """Render items exactly as they stand into a request and list the rules that it breaks."""
    system, messages = render_context(profile, items, instructions)
    body = profile.payload(messages=messages, system=system, tools=profile.tools(tools))
    return profile.check(body)
