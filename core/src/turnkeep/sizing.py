"""Sizing: how large a session's next request will be, anchored in what the provider last reported.

What a provider reports of a request includes what no log holds: hidden system text, reminders, its
own formatting. So the next request is the last report, plus what has been added since as our counts
say, corrected by what earlier reports have taught (`tokens/correction.py`). Where the context was
rewritten since, the change of the whole count takes the place of what was added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import (
    Item,
    Message,
    Opaque,
    Reasoning,
    ToolCall,
    ToolResult,
    Usage,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.context import Context
from turnkeep.tokens.correction import Correction, Growth
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.learned import Learned

OWN_SHARE: Final = 0.8
"""Reported output tokens count as those of the answer if they are at least this part of our count:
some logs report an answer as it begins."""
GUESS_SHARE: Final = 0.1
GUESS_TOKENS: Final = 200
"""The margin of a request that no report anchors: a guess."""


class Size(NamedTuple):
    """The expected tokens of a request, and by how much it may be larger in 99 of 100 cases.

    `anchored`: it builds on a report of this session; else the margin is a guess.
    """

    expected: int
    margin: int
    anchored: bool

    @property
    def most(self) -> int:
        """What a budget must leave room for."""
        return self.expected + self.margin


class Anchor(NamedTuple):
    """A report, and what we had counted when it came.

    `seq` is that of the answer's event; `reported` its request's tokens as the provider said, and
    `answer` those of the answer (None: to be counted). `whole` and `fixed` are our counts of the
    whole request and of its system text and tools; None if that is not known any more. `base` is
    that of the context then.
    """

    model: str
    seq: int
    reported: int
    answer: int | None
    whole: int | None = None
    fixed: int | None = None
    base: int = 0

    def dump(self) -> list[Any]:
        """Give it as JSON."""
        return list(self)

    @classmethod
    def load(cls, document: object) -> Anchor | None:
        """Read what `dump` gave; None for anything else."""
        match document:
            case [
                str(model),
                int(seq),
                int(reported),
                int() | None as answer,
                int() | None as whole,
                int() | None as fixed,
                int(base),
            ]:
                return cls(model, seq, reported, answer, whole, fixed, base)
        return None


class Sizing:
    """Sizes the requests of one session; `learned` gives the priors and takes what is learned."""

    def __init__(self, counter: TokenCounter, learned: Learned, *, learn: bool = True) -> None:
        self._counter = counter
        self._learned = learned
        self._learn = learn
        self._anchor: Anchor | None = None
        self._corrections: dict[str, Correction] = {}

    def resume(self, context: Context, notes: object) -> None:
        """Begin with what an earlier turn has left: its notes, and the answers in the context."""
        self._anchor, self._corrections = None, {}
        if isinstance(notes, Mapping):
            self._anchor = Anchor.load(notes.get("anchor"))
            models = notes.get("models")
            if self._learn and isinstance(models, dict):
                self._corrections = {
                    str(key): Correction.load(each) for key, each in models.items()
                }
        usage = context.last_usage
        if usage is None and context.base == (self._anchor.base if self._anchor else 0):
            self._anchor = None
        elif usage is None:
            return  # a checkpoint stands in the place of the answer that was reported
        elif self._anchor is None or self._anchor.seq != usage[0]:
            # The turn that noted it died: the log knows the report, not what we had counted.
            model = "" if self._anchor is None else self._anchor.model
            seq, report = usage
            own = [item for found, item in context.since(seq) if found == seq]
            answer = self._answer(report, own, model)
            self._anchor = Anchor(model, seq, report.input_tokens, answer, base=context.base)

    def notes(self) -> dict[str, Any]:
        """Give what the next turn begins with, as JSON."""
        notes: dict[str, Any] = {}
        if self._anchor is not None:
            notes["anchor"] = self._anchor.dump()
        if self._learn and self._corrections:
            notes["models"] = {model: each.dump() for model, each in self._corrections.items()}
        return notes

    def size(self, context: Context, *, model: str, whole: int, fixed: int) -> Size:
        """Size a request that is made of the context as it is.

        Parameters: the model's id; our counts of the whole request and of its system text and
        tools, by the provider's formula.
        """
        correction = self.correction(model)
        anchor = self._anchor
        rewritten = anchor is not None and anchor.base != context.base
        if (
            anchor is None
            or (anchor.model and model and anchor.model != model)
            or (rewritten and anchor.whole is None)
        ):
            return guess(whole, correction.factor if correction.observations else 1.0)
        start = anchor.reported
        if rewritten and anchor.whole is not None:
            change = correction.factor * (whole - anchor.whole)
            margin = correction.margin_of_change(change)
            return Size(max(round(start + change), 0), margin, anchored=True)
        growth, own = self._since(anchor, context, model)
        change = 0.0 if anchor.fixed is None else correction.factor * (fixed - anchor.fixed)
        expected = round(start + own + correction.expect(growth) + change)
        return Size(max(expected, 0), correction.margin(growth), anchored=True)

    def reported(
        self,
        usage: Usage,
        *,
        context: Context,
        answer: Sequence[Item],
        seq: int,
        model: str,
        whole: int | None,
        fixed: int | None,
    ) -> None:
        """Take a report of the request that was made of the context.

        Parameters: what the answer adds to it, and the seq that its event has or will have; the
        model's id ("": unknown); the counts that `size` was given, None if they are not known.
        """
        if usage.input_tokens <= 0:
            return
        anchor = self._anchor
        if (
            self._learn
            and anchor is not None
            and anchor.seq != seq  # the same report again, after a lost answer of the store
            and anchor.model == model
            and anchor.base == context.base
            and None not in (fixed, anchor.fixed)
            and anchor.fixed == fixed
        ):
            growth, own = self._since(anchor, context, model)
            correction = self.correction(model)
            correction.observe(growth, usage.input_tokens - anchor.reported - own)
            self._learned.take(model, self._counter_of(model).name, correction)
        said = self._answer(usage, answer, model)
        self._anchor = Anchor(model, seq, usage.input_tokens, said, whole, fixed, context.base)

    def correction(self, model: str) -> Correction:
        """Give the correction of a model's counts in this session."""
        if model not in self._corrections:
            name = self._counter_of(model).name
            self._corrections[model] = self._learned.correction(model, name)
        return self._corrections[model]

    def _counter_of(self, model: str) -> TokenCounter:
        return counter_for(self._counter, model)

    def _since(self, anchor: Anchor, context: Context, model: str) -> tuple[Growth, int]:
        """Give what was added since a report, and the tokens of its answer if they are known."""
        items = [
            item
            for seq, item in context.since(anchor.seq)
            if seq != anchor.seq or anchor.answer is None
        ]
        counts = self._counter_of(model).count_texts(texts_of(items))
        return Growth(sum(counts), sum(map(_framed, items))), anchor.answer or 0

    def _answer(self, usage: Usage, answer: Sequence[Item], model: str) -> int | None:
        """Give the tokens that an answer adds to the context; None where it cannot be meant."""
        if not answer:
            return 0  # cut off: it is left out of requests
        said = usage.output_tokens - usage.reasoning_tokens
        counted = sum(self._counter_of(model).count_texts(texts_of(answer)))
        return said if said >= OWN_SHARE * counted else None


def guess(whole: int, factor: float = 1.0) -> Size:
    """Size a request of which nothing is known but our count."""
    expected = round(whole * max(factor, 1.0))
    return Size(expected, GUESS_TOKENS + math.ceil(GUESS_SHARE * expected), anchored=False)


def _framed(item: Item) -> bool:
    """Say whether an item brings a frame of its own beside the answer's."""
    return isinstance(item, ToolResult) or (isinstance(item, Message) and item.role != "assistant")


def texts_of(items: Sequence[Item]) -> list[str]:
    """Give the texts of items, in no provider's form."""
    texts: list[str] = []
    for item in items:
        if isinstance(item, Message):
            texts.append(message_text(item))
        elif isinstance(item, ToolCall):
            texts += (item.name, compact_json(item.arguments))
        elif isinstance(item, ToolResult):
            texts.append(result_text(item))
        elif isinstance(item, Reasoning | Opaque):
            texts.append(compact_json(item.data))
    return texts
