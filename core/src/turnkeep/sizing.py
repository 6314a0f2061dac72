"""Sizing: how large a session's next request will be, anchored in what the provider last reported.

What a provider reports of a request includes what no log holds: hidden system text, reminders, its
own formatting. So the next request is the last report, plus what has been added since as our counts
say, corrected by what earlier reports have taught (`tokens/correction.py`). Where the context was
rewritten since, the change of the whole count takes the place of what was added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
from turnkeep.tokens.correction import MOST, Correction, Growth
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.learned import Learned

OWN_LEAST, OWN_MOST, OWN_FREE = 0.8, 2.5, 100
"""Reported output tokens count as those of the answer if they are at least this part of our count:
some logs report an answer as it begins. Above the other (and some tokens more) they hold thinking,
which later requests hold with one provider and not with another: that is learned."""
GUESS_SHARE: Final = 0.1
GUESS_TOKENS: Final = 200
"""The margin of a request that no report anchors: a guess."""
MODELS_NOTED: Final = 8
"""Corrections that a session keeps for its next turn."""

Undo = Callable[[], None]


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


class Counted(NamedTuple):
    """Our counts of a request: the whole, its system text and tools, and the way of counting."""

    whole: int
    fixed: int
    way: str


class Anchor(NamedTuple):
    """A report, and what we knew of its request.

    `upto` is the seq of the last event that the request held, `seq` that of the answer's event.
    `reported` are the request's tokens as the provider said, `answer` those of the answer (None: to
    be counted), `thought` whether most of these are thinking. `counted` are our counts of the
    request, None if they are not known (any more); `base` is that of the context then.
    """

    model: str
    upto: int
    seq: int
    reported: int
    answer: int | None
    counted: Counted | None = None
    base: int = 0
    thought: bool = False

    def dump(self) -> list[Any]:
        """Give it as JSON."""
        counted = None if self.counted is None else list(self.counted)
        return [*self[:5], counted, self.base, self.thought]

    @classmethod
    def load(cls, document: Any) -> Anchor | None:
        """Read what `dump` gave; None for anything else."""
        match document:
            case [str(model), upto, seq, reported, answer, counted, base, bool(thought)]:
                known = None
                if counted is not None:
                    match counted:
                        case [whole, fixed, str(way)] if _sensible(whole, fixed):
                            known = Counted(whole, fixed, way)
                if _sensible(upto, seq, reported, answer or 0, base):
                    return cls(model, upto, seq, reported, answer, known, base, thought)
        return None


def _sensible(*numbers: object) -> bool:
    return all(type(each) is int and 0 <= each <= MOST for each in numbers)


class _Added(NamedTuple):
    """What has been counted of what was added since an anchor, up to a place of a list."""

    anchor: Anchor
    counting: bool
    items: int
    """The list, by its id."""
    place: int
    growth: Growth


class Sizing:
    """Sizes the requests of one session; `learned` gives the priors and takes what is learned."""

    def __init__(self, counter: TokenCounter, learned: Learned, *, learn: bool = True) -> None:
        self._counter = counter
        self._learned = learned
        self._learn = learn
        self._anchor: Anchor | None = None
        self._corrections: dict[str, Correction] = {}
        self._added: _Added | None = None

    def resume(self, context: Context, notes: Mapping[str, Any]) -> None:
        """Begin with what an earlier turn has left: its notes, and the answers in the context."""
        self._anchor, self._corrections, self._added = Anchor.load(notes.get("anchor")), {}, None
        models = notes.get("models")
        if self._learn and isinstance(models, dict):
            self._corrections = {
                str(key): Correction.load(each) for key, each in list(models.items())[:MODELS_NOTED]
            }
        anchor, usage = self._anchor, context.last_usage
        if usage is None:
            # A checkpoint may stand in the place of the answer that was reported.
            if anchor is not None and anchor.base == context.base:
                self._anchor = None
        elif anchor is None or anchor.seq != usage[0]:
            # The turn that noted it died: the log knows the report, not what we had counted.
            model = "" if anchor is None else anchor.model
            seq, report = usage
            own = [item for found, item in context.since(context.place_of(seq)) if found == seq]
            answer, thought = self._answer(report, own, model)
            self._anchor = None
            if 0 < report.input_tokens <= MOST:
                self._anchor = Anchor(
                    model, seq - 1, seq, report.input_tokens, answer, None, context.base, thought
                )

    def notes(self) -> dict[str, Any]:
        """Give what the next turn begins with, as JSON."""
        notes: dict[str, Any] = {}
        if self._anchor is not None:
            notes["anchor"] = self._anchor.dump()
        taught = {key: each for key, each in self._corrections.items() if each.observations}
        if self._learn and taught:
            kept = list(taught)[-MODELS_NOTED:]
            notes["models"] = {key: taught[key].dump() for key in kept}
        return notes

    def size(self, context: Context, *, model: str, counted: Counted) -> Size:
        """Size a request that is made of the context as it is."""
        correction = self.correction(model)
        anchor = self._anchor
        if anchor is None or (anchor.model and model and anchor.model != model):
            return guess(counted.whole, correction.factor if correction.observations else 1.0)
        known = anchor.counted
        comparable = known is not None and known.way == counted.way
        if anchor.base != context.base:  # rewritten since
            if known is None or not comparable:
                return guess(counted.whole, correction.factor if correction.observations else 1.0)
            change = correction.factor * (counted.whole - known.whole)
            expected = max(round(anchor.reported + change), 0)
            return Size(expected, correction.margin_of_change(change), anchored=True)
        own, counting = self._own(anchor, correction)
        growth = self._growth(anchor, context, model, counting=counting)
        fixed = 0.0
        if known is not None and comparable:
            fixed = correction.factor * (counted.fixed - known.fixed)
        expected = round(anchor.reported + own + correction.expect(growth) + fixed)
        return Size(max(expected, 0), correction.margin(growth), anchored=True)

    def reported(
        self,
        usage: Usage,
        *,
        context: Context,
        answer: Sequence[Item],
        seq: int,
        upto: int,
        model: str,
        counted: Counted | None,
    ) -> Undo:
        """Take a report of a request that was made of the context up to event `upto`.

        Parameters: what the answer adds to the context, and the seq that its event will have; the
        model's id ("": unknown); what `size` was given, None if it is not known. Gives a call that
        takes it back, for where the answer comes not to be stored.
        """
        if not 0 < usage.input_tokens <= MOST:
            return lambda: None
        before, anchor = self._anchor, self._anchor
        key = self._key(model)
        taught = self.correction(model)
        if (
            self._learn
            and anchor is not None
            and anchor.seq < seq
            and anchor.model == model
            and anchor.base == context.base
            and counted is not None
            and anchor.counted is not None
            and (anchor.counted.way, anchor.counted.fixed) == (counted.way, counted.fixed)
        ):
            correction = taught.copy()
            grown = usage.input_tokens - anchor.reported
            if anchor.thought and anchor.answer is not None:
                bare, full = (
                    self._since(anchor, context, model, upto, counting=each)
                    for each in (False, True)
                )
                correction.settle_thinking(
                    grown - anchor.answer - correction.expect(bare), grown - correction.expect(full)
                )
            own, counting = self._own(anchor, correction)
            growth = self._since(anchor, context, model, upto, counting=counting)
            correction.observe(growth, grown - own)
            self._corrections.pop(key)
            self._corrections[key] = correction
        said, thought = self._answer(usage, answer, model)
        self._anchor = Anchor(
            model, upto, seq, usage.input_tokens, said, counted, context.base, thought
        )

        def undo() -> None:
            self._anchor = before
            self._corrections[key] = taught

        return undo

    def teach(self, model: str) -> None:
        """Let other sessions begin with what this one has learned of a model."""
        self._learned.take(model, self._counter_of(model).name, self.correction(model))

    def correction(self, model: str) -> Correction:
        """Give the correction of a model's counts in this session."""
        key = self._key(model)
        if key not in self._corrections:
            name = self._counter_of(model).name
            self._corrections[key] = self._learned.correction(model, name)
        return self._corrections[key]

    def _key(self, model: str) -> str:
        # Another way of counting has another factor.
        return f"{model}|{self._counter_of(model).name}"

    def _counter_of(self, model: str) -> TokenCounter:
        return counter_for(self._counter, model)

    def _own(self, anchor: Anchor, correction: Correction) -> tuple[int, bool]:
        """Give the tokens of the reported answer, and whether it is to be counted instead."""
        if anchor.answer is None or (anchor.thought and correction.drops_thinking):
            return 0, True
        return anchor.answer, False

    def _growth(self, anchor: Anchor, context: Context, model: str, *, counting: bool) -> Growth:
        """Give all that was added since a report, counting only what is new since the last call."""
        added = self._added
        if added is None or added[:3] != (anchor, counting, id(context.items)):
            place = context.place_of(anchor.upto + 1)
            added = _Added(anchor, counting, id(context.items), place, Growth(0, 0))
        more = self._counted(anchor, context.since(added.place), model, counting=counting)
        total = Growth(added.growth.tokens + more.tokens, added.growth.items + more.items)
        self._added = added._replace(place=len(context.items), growth=total)
        return total

    def _since(
        self, anchor: Anchor, context: Context, model: str, upto: int, *, counting: bool
    ) -> Growth:
        """Give what was added between a report and the request that ended with event `upto`."""
        items = context.since(context.place_of(anchor.upto + 1))
        held = [pair for pair in items if pair[0] <= upto]
        return self._counted(anchor, held, model, counting=counting)

    def _counted(
        self, anchor: Anchor, items: Sequence[tuple[int, Item]], model: str, *, counting: bool
    ) -> Growth:
        """Count items; those of the answer only where `counting` says so."""
        found = [item for seq, item in items if counting or seq != anchor.seq]
        counts = self._counter_of(model).count_texts(texts_of(found))
        return Growth(sum(counts), sum(map(_framed, found)))

    def _answer(self, usage: Usage, answer: Sequence[Item], model: str) -> tuple[int | None, bool]:
        """Give the tokens of an answer as reported, and whether most of them are thinking.

        None where they cannot be meant.
        """
        if not answer:
            return 0, False  # cut off: it is left out of requests
        said = usage.output_tokens - usage.reasoning_tokens
        count = sum(self._counter_of(model).count_texts(texts_of(answer)))
        if not OWN_LEAST * count <= said <= MOST:
            return None, False
        return said, said > OWN_MOST * count + OWN_FREE


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
