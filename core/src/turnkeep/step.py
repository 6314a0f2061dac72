"""Step: one answer of the model as it is stored, and which of its calls are to run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from turnkeep.content import Item, Message, ToolCall, message_text
from turnkeep.events import Event


class Step(NamedTuple):
    """One answer of the model, as stored."""

    event: Event
    tool_calls: list[ToolCall]
    """Calls to run now."""
    pending: list[ToolCall]
    """Calls that may not run before a decision."""
    answered: Sequence[ToolCall] = ()
    """Calls that the turn has answered itself: what they asked to read back is in the context."""

    @property
    def done(self) -> bool:
        """Whether this was the final answer."""
        return not (self.tool_calls or self.pending or self.answered)

    @property
    def text(self) -> str:
        """The text of the answer."""
        messages = [item for item in self.event.content if isinstance(item, Message)]
        return "\n".join(message_text(message) for message in messages)


def is_call_of(item: Item, name: str | None) -> bool:
    """Say whether an item is a call of the tool of this name."""
    return isinstance(item, ToolCall) and item.name == name


def gated(item: Item, needs_approval: Callable[[ToolCall], bool] | Collection[str]) -> Item:
    """Mark a call that may not run before a decision, by its tool's name or as a function says."""
    if isinstance(item, ToolCall) and (
        needs_approval(item) if callable(needs_approval) else item.name in needs_approval
    ):
        return item.model_copy(update={"needs_approval": True})
    return item
