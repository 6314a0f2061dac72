"""Tally: the running weight of a context in one provider's form. A call weighs only what is new.

Items are fed to the step builder as they come. A step that is closed never changes, so it is
weighed once and added to a total; only the open one is weighed anew. The total up to the last
closed step can be carried over a restart (`mark`), so that a program that goes on with a session
does not count its past again.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from turnkeep.content import Item, ToolDefinition
from turnkeep.formats.profile import Profile, Wire, WireMessage
from turnkeep.repair.steps import Repair, Step, StepBuilder
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.formulas import Formula


class Weight(NamedTuple):
    """Tokens of a part of a request.

    `tokens` errs upward, `overhead` is its part for structure; `expected` is what the provider's
    formula gives.
    """

    tokens: int = 0
    overhead: int = 0
    expected: int = 0

    def __add__(self, other: Weight) -> Weight:  # type: ignore[override]  # no concatenation
        return Weight(*(one + two for one, two in zip(self, other, strict=True)))


NOTHING: Final = Weight()
WAY: Final = 1
"""Raised when steps, formulas or estimates change, so that totals of before are not taken over."""
MOST: Final = 10**12
"""Of any number in a mark."""


class Way(NamedTuple):
    """Everything that a count depends on beside the items."""

    profile: Profile
    formula: Formula
    counter: TokenCounter
    model: str = ""
    tools: Sequence[ToolDefinition] = ()

    @property
    def form(self) -> str:
        """Name it but for the tools: what two whole requests must share to be compared."""
        return f"{WAY}|{self.profile.name}|{self.counter.name}|{self.model}"

    @property
    def name(self) -> str:
        """Name it, so that counts of two ways are never taken for each other."""
        tools = "\0".join(tool.name for tool in self.tools).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(tools, digest_size=6).hexdigest()
        return f"{self.form}|{digest}"


class Mark(NamedTuple):
    """A total that outlives the program: of so many closed steps and items, counted in a way."""

    way: str
    steps: int
    items: int
    weight: Weight

    def dump(self) -> list[Any]:
        """Give it as JSON."""
        return [self.way, self.steps, self.items, list(self.weight)]

    @classmethod
    def load(cls, document: Any) -> Mark | None:
        """Read what `dump` gave; None for anything else."""
        match document:
            case [str(way), int(), int(), [int(), int(), int()] as weight]:
                numbers = [*document[1:3], *weight]
                if all(type(each) is int and 0 <= each <= MOST for each in numbers):
                    return cls(way, numbers[0], numbers[1], Weight(*weight))
        return None


class _Rendered:
    """The messages of closed steps in one list, rendered when they are first asked for."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []
        self.ends: list[int] = []

    def count(self, closed: Sequence[Step], steps: int) -> int:
        """Count the messages of the first so many steps."""
        for place in range(len(self.ends), steps):
            self.messages += closed[place].messages()
            self.ends.append(len(self.messages))
        return self.ends[steps - 1] if steps else 0


class Snapshot(NamedTuple):
    """What a tally held at one moment: the beginnings of `closed` and `mended`, which grow."""

    closed: Sequence[Step]
    steps: int
    starts: Sequence[int]
    rendered: _Rendered
    current: Step
    mended: Sequence[Repair]
    repaired: int
    weight: Weight

    def first(self) -> Step:
        """Give the step that begins the context, which holds the leading system messages."""
        return self.closed[0] if self.steps else self.current

    def messages(self) -> list[WireMessage]:
        """Give all messages but the leading system ones."""
        count = self.rendered.count(self.closed, self.steps)
        return [*self.rendered.messages[:count], *self.current.messages()]

    def messages_of(self, items: int) -> int:
        """Count the messages of the closed steps that are made of the first so many items."""
        steps = bisect_right(self.starts, items, 0, self.steps)
        return self.rendered.count(self.closed, steps)

    def repairs(self) -> list[Repair]:
        """Give what was repaired."""
        return [*self.mended[: self.repaired], *self.current.repairs]


class Tally:
    """Follows a list of items that only grows. `mark` tells what is known of its beginning."""

    def __init__(self, way: Way, *, mark: Mark | None = None) -> None:
        self.way = way
        self._name = way.name
        self._builder = StepBuilder(way.profile, tools=way.tools)
        self._fed = 0
        self._starts: list[int] = []
        """Where the items of each closed step end."""
        self._rendered = _Rendered()
        self._weighed = 0
        self._total = NOTHING
        self._mended: list[Repair] = []
        self._current: tuple[Step, Weight] | None = None
        self._mark = mark if mark is not None and mark.way == self._name else None

    @property
    def fed(self) -> int:
        """How many items it has taken."""
        return self._fed

    def follow(self, items: Sequence[Item], upto: int) -> None:
        """Take the items up to number `upto` that are new, and weigh the steps that they close."""
        builder = self._builder
        for place in range(self._fed, upto):
            before = len(builder.closed)
            builder.feed(items[place])
            if len(builder.closed) > before:
                self._starts.append(place)
        self._fed = upto
        closed = builder.closed
        if self._weighed == len(closed):
            return
        for step in closed[self._weighed :]:
            self._mended += step.repairs
        self._take_mark()
        for step in closed[self._weighed :]:
            self._total += self._weigh(step)
        self._weighed = len(closed)

    def _take_mark(self) -> None:
        """Start from the total that is known, if these are the steps that it was made of."""
        mark, self._mark = self._mark, None
        if mark is None or self._weighed or not 0 < mark.steps <= len(self._builder.closed):
            return
        if self._starts[mark.steps - 1] == mark.items:
            self._total, self._weighed = mark.weight, mark.steps

    def weight(self) -> Weight:
        """Give the weight of all messages but the leading system ones, as of now."""
        step = self._builder.current()
        if self._current is None or self._current[0] is not step:
            self._current = step, self._weigh(step)
        return self._total + self._current[1]

    def snapshot(self) -> Snapshot:
        """Give everything as of now. It stays so, whatever is fed later, and costs nothing."""
        current = self._builder.current()
        weight = self.weight()
        closed, mended = self._builder.closed, self._mended
        return Snapshot(
            closed, len(closed), self._starts, self._rendered, current, mended, len(mended), weight
        )

    def mark(self) -> Mark | None:
        """Give the total of the closed steps; None where there are none.

        Also where the counter was given up in the middle: then they were not counted in one way.
        """
        if not self._weighed or self.way.name != self._name:
            return None
        return Mark(self._name, self._weighed, self._starts[self._weighed - 1], self._total)

    def _weigh(self, step: Step) -> Weight:
        return weigh(step.messages(), self.way)


def weigh(messages: Sequence[WireMessage], way: Way) -> Weight:
    """Weigh messages in a provider's form."""
    texts = [text for message in messages for text in message.texts]
    said = sum(way.counter.count_texts(texts))
    overhead = sum(message.overhead for message in messages)
    frames = sum(way.formula.frame(message.body, way.model) for message in messages)
    return Weight(said + overhead, overhead, said + frames)


def fixed_weight(
    way: Way,
    system: list[Wire] | None,
    leading: Sequence[WireMessage],
    tool_choice: JsonValue = None,
) -> Weight:
    """Weigh what every request of a conversation begins with: system text and tools."""
    profile, formula, count = way.profile, way.formula, way.counter.count_texts
    tools = profile.tool_texts(way.tools)
    said = profile.system_texts(system)
    texts = sum(count(said.texts))
    rendered = formula.tools(way.tools, count, way.model, tool_choice)
    return (
        Weight(profile.request_overhead, profile.request_overhead, formula.priming)
        + Weight(sum(count(tools.texts)) + tools.overhead, tools.overhead, rendered)
        + Weight(texts + said.overhead, said.overhead, texts + formula.system(said.texts))
        + weigh(leading, way)
    )
