"""The live context: what the events of a session leave standing, in order, with its identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import JsonValue

from turnkeep.blobs import refer
from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult, Usage
from turnkeep.events import Checkpoint, Decision, Event, Form, Placed, Retract
from turnkeep.history import standing


class Entry(NamedTuple):
    """An item, where in the log it comes from, and in which form it stands in the context."""

    ref: Ref
    item: Item
    form: Form = "whole"


Arrival = Callable[[Ref, Item], Item]
"""Gives the form in which an item enters a context: itself, or a shorter one."""
_NOTHING: Final[Mapping[str, JsonValue]] = {}


class Context:
    """Built from the events from the base on; later ones are `add`ed.

    `base` is the seq of the checkpoint that counts (0: none): any other one was voided by a later
    retraction and is passed over. Items of partial events are left out. An event that goes back to
    an earlier one cannot be added: what stood then is known only from the whole, so build anew.
    `arrival` shortens items that are too long for a context as they come in; the log keeps them.
    """

    def __init__(
        self, events: Iterable[Event] = (), *, base: int = 0, arrival: Arrival | None = None
    ) -> None:
        self.base = base
        self.memory = _NOTHING
        """What the steps of the pipeline noted in the checkpoint that counts."""
        self.items: list[Item] = []
        """What stands, in order. Do not change the list."""
        self.decisions: dict[Ref, Decision] = {}
        self.last_usage: tuple[int, Usage] | None = None
        """The newest report of a provider that still stands, with the seq of its answer."""
        # Two plain numbers an item: an object each would be the collector's to walk, for ever.
        self._seqs: list[int] = []
        self._indexes: list[int] = []
        self._forms: dict[Ref, Form] = {}
        """Of the items that are not whole."""
        self._arrival = arrival
        for event in standing(list(events)):
            self._take_in(event)

    @property
    def entries(self) -> list[Entry]:
        """The items with their identity."""
        return [self._entry(place) for place in range(len(self.items))]

    def add(self, event: Event) -> None:
        """Take in the next event of the log."""
        assert type(event) is not Retract, "build the context anew"
        self._take_in(event)

    def take(self, ref: Ref, item: Item) -> None:
        """Take in a single item that stands somewhere in a log."""
        self.items.append(item)
        self._seqs.append(ref.seq)
        self._indexes.append(ref.index)
        if self._arrival is not None:
            self._shorten(ref.seq, 1, self._arrival)

    def rebase(self, base: int, entries: Sequence[Entry], memory: Mapping[str, JsonValue]) -> None:
        """Go on from the entries of a checkpoint, event `base`; the list of items is a new one."""
        self.base = base
        self.memory = memory
        self.items = [entry.item for entry in entries]
        self._seqs = [entry.ref.seq for entry in entries]
        self._indexes = [entry.ref.index for entry in entries]
        self._forms = {entry.ref: entry.form for entry in entries if entry.form != "whole"}

    def _take_in(self, event: Event) -> None:
        seq = event.seq or 0
        if type(event) is Event:
            if event.usage is not None and event.usage.input_tokens > 0:
                self.last_usage = seq, event.usage
            if not event.partial:
                self.items += event.content
                size = len(event.content)
                self._seqs += [seq] * size
                self._indexes += range(size)
                if self._arrival is not None:
                    self._shorten(seq, size, self._arrival)
        elif isinstance(event, Checkpoint):
            if seq == self.base:
                entries = [
                    Entry(Ref(each.seq, each.index), each.item, each.form)
                    for each in event.contents
                ]
                self.rebase(seq, entries, event.memory)
                self.decisions = {decision.call: decision for decision in event.decisions}
        elif isinstance(event, Retract) and event.items:
            self._take_back(set(event.items))
        elif isinstance(event, Decision):
            self.decisions[event.call] = event

    def _shorten(self, seq: int, size: int, arrival: Arrival) -> None:
        for place in range(len(self.items) - size, len(self.items)):
            ref, item = Ref(seq, self._indexes[place]), self.items[place]
            shorter = arrival(ref, item)
            if shorter is not item:
                self.items[place] = shorter
                self._forms[ref] = "cut"

    @property
    def stable(self) -> int:
        """How many of the items are those of the checkpoint; 0 without one."""
        return self.place_of(self.base + 1) if self.base else 0

    def place_of(self, seq: int) -> int:
        """Give the place of the first item of event `seq` or a later one, from the end back."""
        place = len(self.items)
        while place > 0 and self._seqs[place - 1] >= seq:
            place -= 1
        return place

    def since(self, place: int) -> list[tuple[int, Item]]:
        """Give the items from a place on, each with its event's seq."""
        return list(zip(self._seqs[place:], self.items[place:], strict=True))

    def put(self, place: int, item: Item) -> None:
        """Put another form of the same item in its place."""
        self.items[place] = item

    def _entry(self, place: int) -> Entry:
        ref = Ref(self._seqs[place], self._indexes[place])
        return Entry(ref, self.items[place], self._forms.get(ref, "whole"))

    def _take_back(self, gone: set[Ref]) -> None:
        if self.last_usage is not None and min(gone).seq <= self.last_usage[0]:
            self.last_usage = None  # it was of a request that held what is gone
        kept = [entry for entry in self.entries if entry.ref not in gone]
        self.items = [entry.item for entry in kept]
        self._seqs = [entry.ref.seq for entry in kept]
        self._indexes = [entry.ref.index for entry in kept]
        self.decisions = {ref: each for ref, each in self.decisions.items() if ref not in gone}

    def open_calls(self) -> list[Entry]:
        """Give the calls of the last step that still want a result.

        A step is a run of the assistant's items with what follows it. A result answers the latest
        open call with its id. Calls of earlier steps want none any more: a model call has gone over
        them.
        """
        waiting: list[Entry] = []
        for place in range(self._last_step(), len(self.items)):
            item = self.items[place]
            if isinstance(item, ToolCall):
                waiting.append(self._entry(place))
            elif isinstance(item, ToolResult):
                for number in range(len(waiting) - 1, -1, -1):
                    call = waiting[number].item
                    if isinstance(call, ToolCall) and call.tool_call_id == item.tool_call_id:
                        del waiting[number]
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

    def _last_step(self) -> int:
        """Give the place where the last run of the assistant's items begins."""
        start = len(self.items)
        seen_assistant = False
        while start > 0:
            item = self.items[start - 1]
            kind = type(item)
            assistant = kind is not ToolResult and not (
                kind is Message and item.role != "assistant"  # type: ignore[union-attr]  # a Message
            )
            if seen_assistant and not assistant:
                break
            seen_assistant = seen_assistant or assistant
            start -= 1
        return start


def placed(entry: Entry, original: Item | None = None) -> Placed:
    """Give an entry of a context as a checkpoint keeps it, large media by reference.

    Of an entry that does not stand as in the log, `original` is the item there; without it the
    media are repeated.
    """
    kept = Placed.model_construct(
        seq=entry.ref.seq, index=entry.ref.index, item=entry.item, form=entry.form
    )
    return kept if entry.form != "whole" and original is None else refer(kept, original)
