"""Rewriting: the engine as a policy, with the pipeline and the limit that it is given."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from turnkeep.content import Item, Message
from turnkeep.context import Context
from turnkeep.errors import ContextOverflow
from turnkeep.hookspecs import Env
from turnkeep.model import ModelClient, ModelRequest
from turnkeep.optimize.arrival import Arrivals
from turnkeep.optimize.ask import Ask, Rewrite
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.course import Course
from turnkeep.optimize.engine import Engine
from turnkeep.optimize.pipeline import ChosenStep, opened_engine
from turnkeep.optimize.recall import DEFINITION
from turnkeep.optimize.rules import ContextRules
from turnkeep.prepared import PreparedRequest
from turnkeep.replay.cache import CacheUse, use_of_cache
from turnkeep.replay.meter import Meter
from turnkeep.replay.policies import Outgoing
from turnkeep.replay.recording import Recording
from turnkeep.replay.sending import Sender
from turnkeep.replay.terms import Terms
from turnkeep.replay.weigh import Scales
from turnkeep.tally import Snapshot, Tally, Way, fixed_weight
from turnkeep.tokens.formulas import formula_for

_GIVEN: Final = 8
"""Requests that steps were given and may still send: some ask ahead, in the background."""


class Rewriting:
    """Sends what the engine makes of the conversation, from call to call.

    `summarizer` is the model that its steps ask, whichever they name; without one those that need a
    model are refused.
    """

    def __init__(
        self,
        label: str,
        rules: ContextRules,
        steps: Sequence[ChosenStep],
        folder: Path,
        summarizer: ModelClient | None = None,
    ) -> None:
        self.label = label
        self.rules = rules
        self.steps = steps
        self.folder = folder
        self.summarizer = summarizer

    @asynccontextmanager
    async def opened(self, recording: Recording, terms: Terms) -> AsyncIterator[Played]:
        """Open the pipeline for one session. Raises ConfigError where it lacks a summarizer."""
        asking = _Asking(recording, terms)
        meter = Meter(
            self.summarizer, self.label, terms.price, asking.cache, terms.counter.count_texts
        )
        env = Env(data_dir=self.folder, logger=logging.getLogger("turnkeep"), open_model=meter.open)
        async with opened_engine(self.rules, self.steps, env) as engine:
            yield Played(engine, recording, terms, meter, asking)

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield the messages of each call. The counter's tokens are taken for the truth."""
        async with self.opened(recording, terms) as played:
            for call in range(len(recording.calls)):
                yield await played.call(call)


class _Given(NamedTuple):
    """A request that goes on from the conversation's own, as it would be sent, and what was before.

    `before` was sent last, so a provider has cached it, `idle` seconds ago.
    """

    request: ModelRequest
    outgoing: Outgoing
    before: Outgoing | None
    idle: float


class _Asking:
    """Knows which requests go on from the conversation's own, and how those would be billed."""

    def __init__(self, recording: Recording, terms: Terms) -> None:
        self.last: Outgoing | None = None
        self.idle = 0.0
        self._recording = recording
        self._terms = terms
        self._given: deque[_Given] = deque(maxlen=_GIVEN)

    def give(self, request: ModelRequest, outgoing: Outgoing) -> None:
        """Note a request that a step is given."""
        self._given.append(_Given(request, outgoing, self.last, self.idle))

    def cache(self, request: ModelRequest) -> CacheUse | None:
        """Say how a request would be billed; None where it is none of the conversation's own."""
        given = next((each for each in self._given if each.request is request), None)
        if given is None:
            return None
        sender = Sender(self._recording, self._terms, Scales(self._terms.counter))
        before = None if given.before is None else sender.make(given.before).sent
        return use_of_cache(sender.make(given.outgoing).sent, before, self._terms.price, given.idle)


class Played:
    """One session as it goes on, under an opened engine."""

    def __init__(
        self, engine: Engine, recording: Recording, terms: Terms, meter: Meter, asking: _Asking
    ) -> None:
        self.engine = engine
        self.meter = meter
        self.asking = asking
        self.recording = recording
        self.terms = terms
        profile = terms.profile
        rules = engine.rules
        # Without any declared tool the profile names those that are called.
        self.tools = list(recording.tools)
        if rules.recall and self.tools:
            self.tools.append(DEFINITION)
        self.way = Way(profile, formula_for(profile.name, ""), terms.counter, "", self.tools)
        self.scale = Scale(self.way, recording.instructions)
        self.limit = rules.limit
        self.arrival = Arrivals(terms.counter, rules)
        self.context = Context(arrival=self.arrival)
        self.course = Course()
        self.tally = Tally(self.way)
        self.fed = 0
        self.repaired = 0
        own = profile.system(recording.instructions, [])
        self.fixed = fixed_weight(self.way, *own).tokens

    async def call(self, number: int) -> Outgoing:
        """Give the request of a call.

        Raises ConfigError where a step asked a summarizer for what there is not.
        """
        place = self.recording.calls[number]
        for ref, item, _ in self.recording.entries[self.fed : place]:
            self.context.take(ref, item)
        self.fed = place
        self.tally.follow(self.context.items, len(self.context.items))
        self.course.follow(self.context.items, self.scale, self.engine.saw)
        rewrite, overflow = None, None
        if self.limit is not None:
            idle = self.terms.idle_before_user if self.recording.begins_turn(number) else 0.0
            self.asking.idle = idle
            ask = Ask(
                self.scale,
                self.limit,
                self.fixed,
                self.fixed + self.course.leading + self.tally.weight().tokens,
                self.terms.price,
                self.tally.snapshot().repairs(),
                idle,
                self.recording.session_id,
                self._extended,
            )
            try:
                rewrite = await self.engine.rewrite(
                    lambda: self.context.entries, self.context.memory, ask, self.course
                )
            except ContextOverflow as error:
                overflow = str(error)
            if self.meter.fault is not None:
                raise self.meter.fault
        spent = self.meter.spent(None if rewrite is None else rewrite.report)
        if number == len(self.recording.calls) - 1:
            spent += self.meter.rest()
        if rewrite is not None:
            self._take(rewrite, place)
        outgoing = self._outgoing(self.tally.snapshot())._replace(
            checkpoint=rewrite is not None,
            report=None if rewrite is None else rewrite.report,
            overflow=overflow,
            spent=spent,
        )
        if overflow is None:
            self.asking.last = outgoing
        return outgoing

    def _outgoing(self, snapshot: Snapshot) -> Outgoing:
        return Outgoing(
            _leading(snapshot),
            snapshot.messages(),
            self.repaired + len(snapshot.repairs()),
            limit=self.limit,
            stable=snapshot.messages_of(self.context.stable),
            tools=self.tools,
        )

    def _extended(self, items: Sequence[Item]) -> ModelRequest:
        """Give the request as it was about to be sent, with further items behind it."""
        every = [*self.context.items, *items]
        prepared = PreparedRequest.of_items(
            every,
            instructions=self.recording.instructions,
            tools=self.tools,
            session_id=self.recording.session_id,
            counter=self.terms.counter,
            stable=self.context.stable,
        )
        tally = Tally(self.way)
        tally.follow(every, len(every))
        self.asking.give(prepared, self._outgoing(tally.snapshot()))
        return prepared

    def _take(self, rewrite: Rewrite, place: int) -> None:
        """Go on from the rewritten context, as from a checkpoint in a log."""
        self.repaired += len(self.tally.snapshot().repairs())
        seq = self.recording.entries[place - 1].ref.seq
        self.context.rebase(seq, rewrite.entries, rewrite.memory)
        items = self.context.items
        self.course = Course(len(items), rewrite.memory)
        self.tally = rewrite.tally
        self.course.follow(items, self.scale)
        self.scale.forget(items)


def _leading(snapshot: Snapshot) -> list[Message]:
    first = snapshot.first()
    return [item for item in first.items[: first.leading] if isinstance(item, Message)]
