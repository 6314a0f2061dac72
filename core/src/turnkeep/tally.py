"""Tally: the running weight of a context in one provider's form. A call weighs only what is new.

Items are fed to the step builder as they come. A step that is closed never changes, so it is
weighed once and added to a total; only the open one is weighed anew. The total up to the last
closed step can be carried over a restart (`mark`), so that a program that goes on with a session
does not count its past again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import Item, ToolDefinition
from turnkeep.formats.profile import Profile, WireMessage
from turnkeep.optimize.steps import Repair, Step, StepBuilder
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
    def load(cls, document: object) -> Mark | None:
        """Read what `dump` gave; None for anything else."""
        match document:
            case [str(way), int(steps), int(items), [int(tokens), int(overhead), int(expected)]]:
                return cls(way, steps, items, Weight(tokens, overhead, expected))
        return None


class Snapshot(NamedTuple):
    """What a tally held at one moment: the beginnings of `closed` and `mended`, which grow."""

    closed: Sequence[Step]
    steps: int
    current: Step
    mended: Sequence[Repair]
    repaired: int
    weight: Weight

    def first(self) -> Step:
        """Give the step that begins the context, which holds the leading system messages."""
        return self.closed[0] if self.steps else self.current

    def messages(self) -> list[WireMessage]:
        """Give all messages but the leading system ones."""
        steps = [*self.closed[: self.steps], self.current]
        return [message for step in steps for message in step.messages()]

    def repairs(self) -> list[Repair]:
        """Give what was repaired."""
        return [*self.mended[: self.repaired], *self.current.repairs]


class Tally:
    """Follows a list of items that only grows. `mark` tells what is known of its beginning."""

    def __init__(
        self,
        profile: Profile,
        formula: Formula,
        counter: TokenCounter,
        *,
        model: str = "",
        tools: Iterable[ToolDefinition] = (),
        mark: Mark | None = None,
    ) -> None:
        tools = list(tools)
        self.profile = profile
        self._formula = formula
        self._counter = counter
        self._model = model
        self._builder = StepBuilder(profile, tools=tools)
        self._way = way_of(profile, counter, model, tools)
        self._fed = 0
        self._starts: list[int] = []
        self._weighed = 0
        self._total = NOTHING
        self._mended: list[Repair] = []
        self._current: tuple[Step, Weight] | None = None
        self._mark = mark if mark is not None and mark.way == self._way else None

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
        return Snapshot(closed, len(closed), current, mended, len(mended), weight)

    def mark(self) -> Mark | None:
        """Give the total of the closed steps; None where there are none."""
        if not self._weighed:
            return None
        return Mark(self._way, self._weighed, self._starts[self._weighed - 1], self._total)

    def _weigh(self, step: Step) -> Weight:
        return weigh(step.messages(), self._formula, self._counter, self._model)


def weigh(
    messages: Sequence[WireMessage], formula: Formula, counter: TokenCounter, model: str = ""
) -> Weight:
    """Weigh messages in a provider's form."""
    texts = [text for message in messages for text in message.texts]
    said = sum(counter.count_texts(texts))
    overhead = sum(message.overhead for message in messages)
    frames = sum(formula.frame(message.body, model) for message in messages)
    return Weight(said + overhead, overhead, said + frames)


def way_of(
    profile: Profile, counter: TokenCounter, model: str, tools: Sequence[ToolDefinition]
) -> str:
    """Name everything that a total depends on beside the items."""
    names = hashlib.blake2b("\0".join(tool.name for tool in tools).encode(), digest_size=6)
    return f"{profile.name}|{counter.name}|{model}|{names.hexdigest()}"
