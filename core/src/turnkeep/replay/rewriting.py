"""Rewriting: the engine as a policy, with the pipeline and the limit that it is given."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from turnkeep.content import Message
from turnkeep.context import Context
from turnkeep.errors import ContextOverflow
from turnkeep.hookspecs import Env
from turnkeep.optimize.arrival import Arrivals
from turnkeep.optimize.ask import Ask, Rewrite
from turnkeep.optimize.checked import Scale
from turnkeep.optimize.course import Course
from turnkeep.optimize.engine import Engine
from turnkeep.optimize.pipeline import ChosenStep, opened_engine
from turnkeep.optimize.recall import DEFINITION
from turnkeep.optimize.rules import ContextRules
from turnkeep.replay.policies import Outgoing
from turnkeep.replay.recording import Recording
from turnkeep.replay.terms import Terms
from turnkeep.tally import Tally, Way, fixed_weight
from turnkeep.tokens.formulas import formula_for


class Rewriting:
    """Sends what the engine makes of the conversation, from call to call."""

    def __init__(
        self, label: str, rules: ContextRules, steps: Sequence[ChosenStep], folder: Path
    ) -> None:
        self.label = label
        self.rules = rules
        self.steps = steps
        self.env = Env(data_dir=folder, logger=logging.getLogger("turnkeep"))

    async def play(self, recording: Recording, terms: Terms) -> AsyncIterator[Outgoing]:
        """Yield the messages of each call. The counter's tokens are taken for the truth."""
        async with opened_engine(self.rules, self.steps, self.env) as engine:
            played = Played(engine, recording, terms)
            for call in range(len(recording.calls)):
                yield await played.call(call)


class Played:
    """One session as it goes on, under an opened engine."""

    def __init__(self, engine: Engine, recording: Recording, terms: Terms) -> None:
        self.engine = engine
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
        """Give the request of a call."""
        place = self.recording.calls[number]
        for ref, item, _ in self.recording.entries[self.fed : place]:
            self.context.take(ref, item)
        self.fed = place
        self.tally.follow(self.context.items, len(self.context.items))
        self.course.follow(self.context.items, self.scale, self.engine.saw)
        rewrite, overflow = None, None
        if self.limit is not None:
            idle = self.terms.idle_before_user if self.recording.begins_turn(number) else 0.0
            ask = Ask(
                self.scale,
                self.limit,
                self.fixed,
                self.fixed + self._leading()[1] + self.tally.weight().tokens,
                self.terms.price,
                self.tally.snapshot().repairs(),
                idle,
            )
            try:
                rewrite = await self.engine.rewrite(
                    lambda: self.context.entries, self.context.memory, ask, self.course
                )
            except ContextOverflow as error:
                overflow = str(error)
        if rewrite is not None:
            self._take(rewrite, place)
        snapshot = self.tally.snapshot()
        return Outgoing(
            self._leading()[0],
            snapshot.messages(),
            self.repaired + len(snapshot.repairs()),
            checkpoint=rewrite is not None,
            report=None if rewrite is None else rewrite.report,
            overflow=overflow,
            limit=self.limit,
            stable=snapshot.messages_of(self.context.stable),
            tools=self.tools,
        )

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

    def _leading(self) -> tuple[list[Message], int]:
        first = self.tally.snapshot().first()
        messages = [item for item in first.items[: first.leading] if isinstance(item, Message)]
        return messages, self.course.leading
