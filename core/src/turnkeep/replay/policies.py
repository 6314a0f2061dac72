"""Policies: which messages a model call gets, out of what was recorded before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from turnkeep.content import Item, Message, ToolDefinition
from turnkeep.errors import ConfigError
from turnkeep.formats.profile import WireMessage, leading_run
from turnkeep.repair.steps import StepBuilder
from turnkeep.replay.meter import Spent
from turnkeep.replay.recording import Recording
from turnkeep.replay.terms import Terms


class Outgoing(NamedTuple):
    """One model call's messages.

    `leading` are the system messages before all others; `repairs` counts what was repaired so far.
    `checkpoint`: this is the first request on a rewritten context, and `report` says how it came to
    be. `stable` is how many of the messages a checkpoint holds. `overflow`: nothing can be sent, as
    this sentence explains; the messages are then what would have been too much.
    `limit` is what they had to fit, in tokens. `tools` are those that the request declares, None:
    the recording's. `spent` is what models took for summaries before it could be made.
    """

    leading: list[Message]
    messages: list[WireMessage]
    repairs: int
    checkpoint: bool = False
    report: Mapping[str, Any] | None = None
    stable: int = 0
    overflow: str | None = None
    limit: int | None = None
    tools: Sequence[ToolDefinition] | None = None
    spent: Spent = Spent()


class Policy(Protocol):
    """What stands behind `--policy NAME`."""

    @property
    def label(self) -> str:
        """The policy as it was asked for."""

    def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield the messages of each model call, in order."""


class Everything:
    """`none`: sends everything, repaired."""

    label: Final = "none"

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield all messages so far. Closed steps keep their rendering from call to call."""
        builder = StepBuilder(terms.profile, tools=recording.tools)
        fed = repaired = done = 0
        closed: list[WireMessage] = []
        leading: list[Message] = []
        for place in recording.calls:
            for item in recording.items[fed:place]:
                builder.feed(item)
            fed = place
            for step in builder.closed[done:]:
                closed += step.messages()
                repaired += len(step.repairs)
            done = len(builder.closed)
            current = builder.current()
            first = builder.closed[0] if builder.closed else current
            leading = [item for item in first.items[: first.leading] if isinstance(item, Message)]
            new = repaired + len(current.repairs)
            yield Outgoing(leading, [*closed, *current.messages()], new)


class TutorialWindow:
    """`tutorial-window`: the tutorial's published sliding window, orphans and all.

    Contents up to and including the first user message are kept, then the last `window_size` items
    of the rest, wherever that cuts; nothing happens without a user message. Nothing is repaired.
    """

    name: Final = "tutorial-window"

    def __init__(self, window_size: int = 20) -> None:
        if window_size < 1:
            raise ConfigError(f"tutorial-window: window_size must be at least 1, not {window_size}")
        self.window_size = window_size

    @property
    def label(self) -> str:
        """The policy with its window."""
        return f"{self.name}:window_size={self.window_size}"

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield the windowed messages of each call."""
        leading = leading_run(recording.items)
        for place in recording.calls:
            contents = self._window(recording.items[len(leading) : place])
            yield Outgoing(leading, terms.profile.render(contents), 0)

    def _window(self, contents: Sequence[Item]) -> list[Item]:
        for place, item in enumerate(contents):
            if isinstance(item, Message) and item.role == "user":
                rest = contents[place + 1 :]
                return [*contents[: place + 1], *rest[-self.window_size :]]
        return list(contents)
