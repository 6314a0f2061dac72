"""What every peer shares: a policy around it, items by value, and the summarizer that is a fake.

A peer gets each step as it is said, repaired (so that every fault in its requests is its own), in
its own message types, and keeps whatever its documentation says that it keeps. What it would send
comes back as items without any mending: where it left a message alone the very item comes back, so
that a cached prefix is recognised; where it changed or wrote one, a new item is made of its text.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from turnkeep.content import (
    Item,
    Message,
    ToolCall,
    ToolDefinition,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.formats.profile import Profile, WireMessage, leading_run, side_of
from turnkeep.repair.steps import Step, StepBuilder
from turnkeep.replay.policies import Outgoing
from turnkeep.replay.recording import Recording
from turnkeep.replay.terms import Terms

Count = Callable[[str], int]
"""Counts the tokens of one text."""

SUMMARY_CHARS = 6_000
"""About 1,500 tokens: what models write when they are asked for a summary of a long session."""
MOST_CHARS = 200
FEWEST_CHARS = 80
MARK = "Extract of what was said:"
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")


@dataclass
class Ledger:
    """What a peer did in one session beside its requests.

    `cpu` is its own work in seconds, without our conversions; `read` and `written` are the tokens
    of its summarizer; `lost` counts summaries that were a placeholder, `raised` calls at which it
    raised, so that what it had was sent as it was.
    """

    cpu: float = 0.0
    summaries: int = 0
    read: int = 0
    written: int = 0
    lost: int = 0
    raised: int = 0
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def meter(self) -> Iterator[None]:
        """Take the CPU time of a peer's own work."""
        begun = time.process_time()
        try:
            yield
        finally:
            self.cpu += time.process_time() - begun


def extract(texts: Sequence[str], most: int = SUMMARY_CHARS) -> str:
    """Summarize by a fixed rule: the first sentences of each text, all together `most` characters.

    Each text gets the same room, at most 200 characters and at least 80; where not all fit, the
    first and the latest do. A text that holds an earlier extract gets half of all, as a model would
    carry a summary over.
    """
    carried, fresh = [], []
    for text in texts:
        _, mark, rest = text.partition(MARK)
        (carried if mark else fresh).append(rest if mark else text)
    kept = "\n".join(rest.strip() for rest in carried)[: most // 2]
    room = min(MOST_CHARS, max(FEWEST_CHARS, (most - len(kept)) // max(len(fresh), 1)))
    fit = max((most - len(kept)) // (room + 1), 1)
    if len(fresh) > fit:
        fresh = [fresh[0], *fresh[len(fresh) - fit + 1 :]]
    return "\n".join([MARK, *filter(None, [kept, *(_beginning(text, room) for text in fresh)])])


def _beginning(text: str, room: int) -> str:
    """Cut a text behind its last whole sentence within its room, if that fills a third of it."""
    piece = text[: 4 * room].strip()[:room]
    ends = [found.end() for found in _SENTENCE_END.finditer(piece) if found.end() >= room // 3]
    return (piece[: ends[-1]] if ends else piece).strip()


class Book:
    """Items by value: the same text of the same role is always the same object.

    So a rendering is made once for each stretch of a request, however often it is sent.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._messages: dict[tuple[str, str], Item] = {}
        self._calls: dict[str, ToolCall] = {}
        self._results: dict[str, ToolResult] = {}
        self._texts: dict[str, str] = {}
        self._changed: dict[tuple[str, str], Item] = {}
        self._runs: dict[tuple[int, ...], list[WireMessage]] = {}

    @property
    def keeps_order(self) -> bool:
        """Whether texts and calls of one message have an order in the provider's format."""
        return not self._profile.name.startswith("openai")

    def enter(self, items: Sequence[Item]) -> None:
        """Take in what was said."""
        for item in items:
            if isinstance(item, Message):
                self._messages.setdefault((item.role, message_text(item)), item)
            elif isinstance(item, ToolCall):
                self._calls[item.tool_call_id] = item
            elif isinstance(item, ToolResult):
                self._results[item.tool_call_id] = item
                self._texts[item.tool_call_id] = result_text(item)

    def alias(self, role: str, text: str, item: Item) -> None:
        """Say that a peer keeps an item under another role or text."""
        self._messages[role, text] = item

    def message(self, role: Any, text: str) -> Item:
        """Give the message of a role and text."""
        found = self._messages.get((role, text))
        if found is None:
            found = self._messages[role, text] = Message(role=role, content=text)
        return found

    def call(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> Item:
        """Give a call; a changed one is made anew."""
        known = self._calls.get(call_id)
        if known is not None and known.name == name and known.arguments == arguments:
            return known
        key = (f"call {call_id} {name}", compact_json(arguments))
        if key not in self._changed:
            self._changed[key] = ToolCall(
                tool_call_id=call_id, name=name, arguments=dict(arguments)
            )
        return self._changed[key]

    def said(self, call_id: str) -> ToolCall:
        """Give a call as it was made."""
        return self._calls[call_id]

    def result(self, call_id: str, text: str) -> Item:
        """Give a result; a changed one keeps its status."""
        if self._texts.get(call_id) == text:
            return self._results[call_id]
        key = (f"result {call_id}", text)
        if key not in self._changed:
            known = self._results[call_id]
            self._changed[key] = known.model_copy(update={"content": [text]})
        return self._changed[key]

    def render(self, items: Sequence[Item]) -> list[WireMessage]:
        """Render a request as it stands, step by step as the engine's own policies do."""
        messages: list[WireMessage] = []
        run: list[Item] = []
        answering = True
        for item in items:
            is_answer = side_of(item) == "assistant"
            if is_answer and not answering and run:
                messages += self._render(run)
                run = []
            answering = is_answer
            run.append(item)
        return [*messages, *self._render(run)] if run else messages

    def _render(self, run: list[Item]) -> list[WireMessage]:
        # The items are held by the book, so that no other object can take their identity.
        key = tuple(map(id, run))
        if key not in self._runs:
            self._runs[key] = self._profile.render(run)
        return self._runs[key]


@dataclass
class Desk:
    """What a peer works with in one session."""

    leading: list[Message]
    tools: list[ToolDefinition]
    book: Book
    ledger: Ledger
    count: Count

    @property
    def system(self) -> str:
        """The system text, for peers that keep it apart."""
        return "\n\n".join(message_text(message) for message in self.leading)

    def summarize(self, texts: Sequence[str], prompt: str, most: int = SUMMARY_CHARS) -> str:
        """Write the fake summary, and charge it: the whole prompt read, the summary written."""
        summary = extract(texts, most)
        self.ledger.summaries += 1
        self.ledger.read += self.count(prompt)
        self.ledger.written += self.count(summary)
        return summary


def assistant_items(step: Step) -> tuple[list[str], list[ToolCall]]:
    """Give the model's texts and calls of a step."""
    texts = [message_text(item) for item in step.items[: step.assistant] if _is_message(item)]
    calls = [item for item in step.items[: step.assistant] if isinstance(item, ToolCall)]
    return texts, calls


def results_of(step: Step) -> list[ToolResult]:
    """Give the results of a step."""
    found = step.items[step.assistant : step.assistant + step.results]
    return [item for item in found if isinstance(item, ToolResult)]


def inputs_of(step: Step) -> list[Message]:
    """Give what was put in after a step's results, without the leading system messages."""
    rest = step.items[step.assistant + step.results :][step.leading :]
    return [item for item in rest if isinstance(item, Message)]


def _is_message(item: Item) -> bool:
    return isinstance(item, Message)


class Session(ABC):
    """A peer in one session, in its own types."""

    holds_system = False
    """Whether the system messages are in its list; else they are sent apart, always."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @abstractmethod
    async def add(self, step: Step) -> None:
        """Take in what was said since the call before."""

    @abstractmethod
    async def request(self) -> Sequence[Any]:
        """Give the messages of the next call; the peer's own work is metered by the ledger."""

    @abstractmethod
    def everything(self) -> Sequence[Any]:
        """Give the messages it has, for when it raises."""

    @abstractmethod
    def items(self, messages: Sequence[Any]) -> list[Item]:
        """Turn its messages back into items, as they stand."""


class Peer:
    """A peer with its settings, as a policy."""

    def __init__(
        self, name: str, settings: str, start: Callable[[Desk], Session], count: Count
    ) -> None:
        self.label = name
        self.settings = settings
        self._start = start
        self._count = count
        self.ledgers: list[Ledger] = []

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield the messages of each call (see `Policy`)."""
        ledger = Ledger()
        self.ledgers.append(ledger)
        book = Book(terms.profile)
        builder = StepBuilder(terms.profile, tools=recording.tools)
        session: Session | None = None
        leading: list[Message] = []
        fed = repaired = 0
        for place in recording.calls:
            for item in recording.items[fed:place]:
                builder.feed(item)
            fed = place
            step = builder.current()
            repaired += len(step.repairs)
            book.enter(step.items)
            if session is None:
                leading = [item for item in step.items[: step.leading] if _is_message(item)]
                session = self._start(Desk(leading, recording.tools, book, ledger, self._count))
            await session.add(step)
            try:
                messages = await session.request()
            except Exception as error:  # noqa: BLE001  # a peer's fault is a finding, not ours
                ledger.raised += 1
                ledger.errors.append(f"{type(error).__name__}: {error}")
                messages = session.everything()
            items = session.items(messages)
            first = leading_run(items) if session.holds_system else leading
            rest = items[len(first) :] if session.holds_system else items
            yield Outgoing(first, book.render(rest), repaired)
