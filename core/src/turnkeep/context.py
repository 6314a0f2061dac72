"""The live context: what the events of a session leave standing, in order, with its identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult
from turnkeep.events import Checkpoint, Decision, Event, Retract


class Entry(NamedTuple):
    """An item and where in the log it comes from."""

    ref: Ref
    item: Item


class Context:
    """Built by `add`ing events in order, from the base on.

    `base` is the seq of the checkpoint that counts (0: none): any other one was voided by a later
    retraction and is passed over. Items of partial events are left out.
    """

    def __init__(self, events: Iterable[Event] = (), *, base: int = 0) -> None:
        self.base = base
        self.entries: list[Entry] = []
        self.decisions: dict[Ref, Decision] = {}
        for event in events:
            self.add(event)

    @property
    def items(self) -> list[Item]:
        """The items alone."""
        return [entry.item for entry in self.entries]

    def add(self, event: Event) -> None:
        """Take in the next event of the log."""
        seq = event.seq or 0
        if type(event) is Event:
            if not event.partial:
                self.entries += [
                    Entry(Ref(seq, index), item) for index, item in enumerate(event.content)
                ]
        elif isinstance(event, Checkpoint):
            if seq == self.base:
                self.entries = [
                    Entry(Ref(placed.seq, placed.index), placed.item) for placed in event.contents
                ]
                self.decisions = {decision.call: decision for decision in event.decisions}
        elif isinstance(event, Retract):
            self._take_back(set(event.items), event.after)
        elif isinstance(event, Decision):
            self.decisions[event.call] = event

    def _take_back(self, gone: set[Ref], after: int | None) -> None:
        self.entries = [
            entry
            for entry in self.entries
            if entry.ref not in gone and (after is None or entry.ref.seq <= after)
        ]
        self.decisions = {
            ref: decision
            for ref, decision in self.decisions.items()
            if ref not in gone and (after is None or (decision.seq or 0) <= after)
        }

    def open_calls(self) -> list[Entry]:
        """Give the calls that still want a result.

        A result answers the latest open call with its id. Calls before the last assistant answer
        want none any more: a model call has gone over them.
        """
        waiting: list[Entry] = []
        for entry in self._last_step():
            if isinstance(entry.item, ToolCall):
                waiting.append(entry)
            elif isinstance(entry.item, ToolResult):
                for place in range(len(waiting) - 1, -1, -1):
                    call = waiting[place].item
                    if isinstance(call, ToolCall) and (
                        call.tool_call_id == entry.item.tool_call_id
                    ):
                        del waiting[place]
                        break
        return waiting

    def pending(self) -> list[Entry]:
        """Give the open calls that wait for a decision."""
        return [
            entry
            for entry in self.open_calls()
            if isinstance(entry.item, ToolCall)
            and entry.item.needs_approval
            and entry.ref not in self.decisions
        ]

    def _last_step(self) -> list[Entry]:
        """Give the last run of assistant items with what follows it."""
        start = len(self.entries)
        seen_assistant = False
        while start > 0:
            item = self.entries[start - 1].item
            assistant = not isinstance(item, ToolResult) and not (
                isinstance(item, Message) and item.role != "assistant"
            )
            if seen_assistant and not assistant:
                break
            seen_assistant = seen_assistant or assistant
            start -= 1
        return self.entries[start:]


def standing_base(events: Iterable[Event]) -> int:
    """Give the seq of the newest checkpoint that still counts in a whole log; 0 if none.

    A retraction voids every checkpoint from the oldest item on that it takes back.
    """
    standing: list[int] = []
    for event in events:
        if isinstance(event, Checkpoint):
            standing.append(event.seq or 0)
        elif isinstance(event, Retract):
            oldest = event.after + 1 if event.after is not None else min(event.items).seq
            while standing and standing[-1] >= oldest:
                standing.pop()
    return standing[-1] if standing else 0
