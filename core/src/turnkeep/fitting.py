"""Fitting: a turn's side of the engine — which form must fit, and what the turn before left."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from turnkeep.blobs import is_large
from turnkeep.codec import encode_object
from turnkeep.content import Item, Ref, ToolCall, ToolDefinition
from turnkeep.context import Context, Entry, placed
from turnkeep.errors import ContentError, ContextOverflow, CorruptSession
from turnkeep.events import Checkpoint, Placed
from turnkeep.formats import profile_of
from turnkeep.limit import is_beyond, limit_for
from turnkeep.log import read_event, stream_events
from turnkeep.optimize.arrival import Arrivals
from turnkeep.optimize.ask import Ask, Rewrite, StepReport
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.course import Course
from turnkeep.optimize.engine import Engine
from turnkeep.optimize.recall import DEFINITION, RECALL, Answer, answer, log_entries
from turnkeep.optimize.rules import ContextRules
from turnkeep.optimize.shorten import is_media
from turnkeep.prepared import PreparedRequest, Weighed
from turnkeep.prices import price_row, price_row_for
from turnkeep.sizing import guess
from turnkeep.store import SessionStore
from turnkeep.tokens.counter import TokenCounter

_logger = logging.getLogger("turnkeep")

DEFAULT_PROFILE: Final = "openai-chat"
RECALLED: Final = 4_000
"""Tokens that are read back at once where results have no cap."""


class Fitting:
    """Follows one session's context for the engine; made for each turn."""

    def __init__(
        self, engine: Engine, store: SessionStore, session_id: str, counter: TokenCounter
    ) -> None:
        self._engine = engine
        self._store = store
        self._counter = counter
        rules = engine.rules
        self.arrival = Arrivals(counter, rules)
        """Gives the form in which items enter the context."""
        self.recall: str | None = RECALL if rules.recall else None
        """The name of the tool that reads back, if the model has it and it is ours."""
        self._session_id = session_id
        self._scale: Scale | None = None
        self._course = Course()
        self._items: list[Item] | None = None
        self._unstored: tuple[int, Sequence[StepReport]] | None = None
        """The base of a context that was rewritten, and what was paid; a checkpoint comes next."""
        self._base: int | None = None
        """The base of the context that is followed; None before the first."""
        self._asked: str | None = None
        """The form that was asked for last."""

    @property
    def rules(self) -> ContextRules:
        """The rules of the engine."""
        return self._engine.rules

    def with_recall(
        self, tools: Iterable[ToolDefinition | Mapping[str, Any]]
    ) -> list[ToolDefinition | Mapping[str, Any]]:
        """Add the tool that reads back, unless the program has one of that name."""
        declared = list(tools)
        if self.rules.recall:
            taken = any(
                (tool.name if isinstance(tool, ToolDefinition) else tool.get("name")) == RECALL
                for tool in declared
            )
            # Without any declared tool repair keeps all calls; with one it keeps only those of it.
            self.recall = RECALL if declared and not taken else None
            if self.recall:
                declared.append(DEFINITION)
        return declared

    async def answers(self, calls: Sequence[ToolCall]) -> list[tuple[ToolCall, Answer]]:
        """Answer calls that read back. The log is read once for all of them.

        Where a record of it is damaged the model is told: the live context is whole.
        """
        try:
            events = [event async for event in stream_events(self._store, self._session_id)]
        except CorruptSession as error:
            _logger.warning("nothing can be read back: %s", error)
            said = Answer(f"it could not be read back: {error}", failed=True)
            return [(call, said) for call in calls]
        entries = log_entries(events)
        return [(call, await self._answer(call, entries)) for call in calls]

    async def _answer(self, call: ToolCall, entries: Sequence[Entry]) -> Answer:
        cap = self.rules.cap() or RECALLED
        try:
            return await answer(call.arguments, entries, cap=cap, count=self._counter.count_texts)
        except Exception as error:  # the model is told; a turn does not end by it
            _logger.debug("a call of recall failed", exc_info=error)
            return Answer(f"it could not be read back ({type(error).__name__})", failed=True)

    async def placed(self, entries: Sequence[Entry]) -> list[Placed]:
        """Give entries as a checkpoint keeps them, large media by reference to their events."""
        return [await self._placed(entry) for entry in entries]

    def checkpoint(
        self, context: Context, rewrite: Rewrite, contents: list[Placed], execution_id: str
    ) -> Checkpoint:
        """Make the event that stands for all of a context from now on."""
        refs = {Ref(placed.seq, placed.index) for placed in contents}
        return Checkpoint(
            execution_id=execution_id,
            author="system",
            contents=contents,
            decisions=[each for ref, each in context.decisions.items() if ref in refs],
            previous=context.base,
            report=rewrite.report,
            memory=rewrite.memory,
            usage=rewrite.usage,
        )

    def notes(self, before: Mapping[str, Any], base: int) -> dict[str, Any]:
        """Give what the next turn begins with, as JSON, of a context of that base.

        How long no try is to be made again, and what models took that no checkpoint tells of yet.
        `before` is what this turn began with.
        """
        if self._base is None:  # nothing was looked at
            return {name: before[name] for name in ("waits", "owed") if name in before}
        course = self._course
        notes: dict[str, Any] = {}
        if course.waits:
            notes["waits"] = [self._base, round(course.waits), round(course.failed)]
        self._settle(base)
        if owed := [told for step in course.owed[-_OWED:] if _is_json(told := step.told())]:
            notes["owed"] = [self._base, owed]
        return notes

    def _settle(self, base: int) -> None:
        """Owe what was paid for a rewrite that is not stored: the context's base is what it was."""
        if self._unstored is not None and self._unstored[0] == base:
            self._course.owed += self._unstored[1]
        self._unstored = None

    async def _placed(self, entry: Entry) -> Placed:
        content = getattr(entry.item, "content", None)
        original = None
        if entry.form != "whole" and isinstance(content, list) and any(map(is_large, content)):
            event = await read_event(self._store, self._session_id, entry.ref.seq)
            original = event.content[entry.ref.index]
        return placed(entry, original)

    def profile(self, model: str | None, before: PreparedRequest | None) -> str:
        """Say in whose form the next request must fit."""
        self._asked = (None if before is None else before.last_profile) or self._asked
        if self.rules.profile != "auto":
            return self.rules.profile
        return profile_of(model or "") or self._asked or DEFAULT_PROFILE

    async def look(
        self,
        prepared: PreparedRequest,
        context: Context,
        *,
        profile: str,
        idle: float,
        factor: float,
        notes: Mapping[str, Any],
    ) -> Rewrite | None:
        """Give the context rewritten if it is time to.

        `idle` are the seconds since the last request, `factor` how many of the provider's tokens
        one of ours is, `notes` what an earlier turn has left. Raises ContextOverflow where the
        request cannot be made to fit.
        """
        limit = self.rules.limit
        if limit is None:
            return None
        weighed = prepared.weighed(profile)
        scale = self._scale
        if scale is None or scale.way.name != weighed.way.name:
            scale = Scale(weighed.way, prepared.request.instructions)
            self._items = None
        self._scale = scale
        self._settle(context.base)
        if context.items is not self._items:
            waits, failed = self._course.waits, self._course.failed
            if self._base != context.base:
                waits, failed = _carried(notes, context)
            owed = self._course.owed if self._base == context.base else _owed(notes, context)
            self._course, self._items = Course(context.stable, context.memory), context.items
            self._course.owed, self._course.failed = owed, failed
            self._course.waits = max(self._course.waits, waits)
            self._base = context.base
            scale.forget(context.items)
        self._course.follow(context.items, scale, self._engine.saw)
        name, model = self.rules.prices, prepared.request.model_id or ""
        prices = price_row_for(model, profile) if name == "auto" else price_row(name)
        ask = Ask(
            scale,
            limit_for(limit, weighed, factor),
            weighed.fixed,
            weighed.tokens,
            prices,
            weighed.repairs,
            idle,
            self._session_id,
            prepared.extended,
        )
        rewrite = None
        try:
            if is_beyond(limit, weighed, factor):
                rewrite = await self._without_media(ask, weighed, context, factor)
                weighed = weighed._replace(size=guess(weighed.expected, factor))
                ask = ask._replace(limit=limit_for(limit, weighed, factor))
            if rewrite is None:
                rewrite = await self._engine.rewrite(
                    lambda: context.entries, context.memory, ask, self._course
                )
            if rewrite is not None:
                rewrite = await self._fitted(rewrite, prepared, ask, weighed, factor)
                self._unstored = context.base, rewrite.paid
        except ContextOverflow as error:
            raise ContextOverflow(
                error.limit, error.tokens, error.floor, self._session_id
            ) from None
        return rewrite

    async def _without_media(
        self, ask: Ask, weighed: Weighed, context: Context, factor: float
    ) -> Rewrite | None:
        """Deal with a report above the limit of a request that is far below it by our count.

        Such a report must not end the session: nothing would be sent, and no other report come.
        Media can count for more than any formula says, as a document by its URL does, so they go
        first, with what else is as large. Where that does not help, or there are none, the report
        is of something else (inner calls of a hosted tool): it is left out of account, as it is
        once media are gone, until the next one.
        """
        limit = self.rules.limit
        if limit is None or not any(map(_has_media, context.items)):
            return None
        size = weighed.size._replace(anchored=False)  # as if it were of what we see
        small = ask._replace(limit=limit_for(limit, weighed._replace(size=size), factor))
        course = self._course
        waits, failed = course.waits, course.failed
        rewrite = None
        with suppress(ContextOverflow):
            rewrite = await Engine(self.rules, []).rewrite(
                lambda: context.entries, context.memory, small, course
            )
        if rewrite is None:
            course.waits, course.failed = waits, failed  # of the steps, which were not asked
        return rewrite

    async def fit(
        self, prepared: PreparedRequest, context: Context, *, profile: str
    ) -> Sequence[Item]:
        """Give the items of a request that is not the context's, made to fit; nothing is noted.

        What stands in the context as it is keeps its reference; what does not has none that reads
        anything back. Raises ContextOverflow.
        """
        items, limit = prepared.items, self.rules.limit
        if limit is None:
            return items
        weighed = prepared.weighed(profile)
        own = limit_for(limit, weighed, 1.0)
        if weighed.tokens <= own:
            return items
        # An item that is there twice stands in the context once.
        known = {id(entry.item): entry for entry in context.entries}
        entries = [
            known.pop(id(item), Entry(Ref(0, n), item, "whole")) for n, item in enumerate(items)
        ]
        scale = Scale(weighed.way, prepared.request.instructions)
        course = Course()
        course.follow(items, scale)
        prices = price_row_for(prepared.request.model_id or "", profile)
        ask = Ask(scale, own, weighed.fixed, weighed.tokens, prices, weighed.repairs)
        try:
            rewrite = await Engine(self.rules, []).rewrite(lambda: entries, {}, ask, course)
        except ContextOverflow as error:
            raise ContextOverflow(
                error.limit, error.tokens, error.floor, self._session_id
            ) from None
        return items if rewrite is None else [entry.item for entry in rewrite.entries]

    async def _fitted(
        self,
        rewrite: Rewrite,
        prepared: PreparedRequest,
        ask: Ask,
        first: Weighed,
        factor: float,
    ) -> Rewrite:
        """Fit what is left once more where it differs from what the limit was reckoned from.

        How many of the provider's tokens one of ours is differs from text to picture, and after a
        rewrite the request is made of other things than before.
        """
        limit = self.rules.limit
        assert limit is not None
        profile = first.way.profile.name
        for _ in range(_REFITS):
            weighed = prepared.weighed_with([entry.item for entry in rewrite.entries], profile)
            if first.size.anchored:  # what was reported was the old request: count the change
                change = round(factor * (weighed.expected - first.expected))
                size = first.size._replace(expected=max(first.size.expected + change, 0))
                weighed = weighed._replace(size=size)
            elif weighed.size.anchored:  # in the report that is left out of account
                weighed = weighed._replace(size=guess(weighed.expected, factor))
            own = limit_for(limit, weighed, factor)
            if weighed.tokens <= own:
                break
            less = ask._replace(limit=own, tokens=weighed.tokens)
            before, entries = rewrite, rewrite.entries
            try:
                again = await Engine(self.rules, []).rewrite(
                    lambda entries=entries: entries,  # type: ignore[misc]  # bound here
                    before.memory,
                    less,
                    self._course,
                )
            except ContextOverflow:
                self._course.owed += before.paid
                raise
            if again is None:
                break
            rewrite = again._replace(
                report=_joined(before.report, again.report),
                paid=[*before.paid, *again.paid],
            )
        return rewrite


_REFITS: Final = 4
_OWED: Final = 20
"""Steps that came to nothing, of which a session keeps what they took until a checkpoint does."""


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Tell of two rewrites as of one: from where the first began to where the second ended."""
    begun = ("reason", "trigger", "target", "tokens_before", "parts_before", "growth", "idle")
    return {
        **second,
        **{name: first[name] for name in begun},
        "steps": [*first["steps"], *second["steps"]],
        "seconds": first["seconds"] + second["seconds"],
        **{name: first[name] for name in ("for_nothing",) if name in first},
    }


def _carried(notes: Mapping[str, Any], context: Context) -> tuple[float, float]:
    """Read how long no try is to be made again, of a turn before this one."""
    match notes.get("waits"):
        case [int(base), int(waits), int(failed)] if base == context.base:
            return float(waits), float(failed)
    return 0.0, 0.0


def _owed(notes: Mapping[str, Any], context: Context) -> list[StepReport]:
    """Read what models took for nothing, of turns before this one; a later checkpoint told it."""
    match notes.get("owed"):
        case [int(base), list(told)] if base == context.base:
            return [step for step in map(StepReport.of_told, told) if step is not None]
    return []


def _is_json(told: Mapping[str, Any]) -> bool:
    """Say whether a stranger's step can be told: no answer is to be lost by what it says."""
    try:
        encode_object(told, "a step")
    except ContentError:
        return False
    return True


def _has_media(item: Item) -> bool:
    content = getattr(item, "content", None)
    return isinstance(content, list) and any(map(is_media, content))
