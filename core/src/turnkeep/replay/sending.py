"""Sending: a call's messages as the request that a provider gets, and as its cache sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from turnkeep.content import ToolDefinition
from turnkeep.formats.profile import Wire
from turnkeep.replay.cache import Sent
from turnkeep.replay.policies import Outgoing
from turnkeep.replay.recording import Recording
from turnkeep.replay.terms import Terms
from turnkeep.replay.weigh import Scales, Weight


class Made(NamedTuple):
    """One request; `overhead` is the part of its tokens that stands for structure."""

    system: list[Wire] | None
    body: Wire
    sent: Sent
    overhead: int


class Sender:
    """Makes the requests of one recording under one policy."""

    def __init__(self, recording: Recording, terms: Terms, scales: Scales) -> None:
        self.recording = recording
        self.profile = terms.profile
        self.scales = scales
        self.tool_texts: tuple[str, ...] = ()
        """The texts of the tools that the last request declared."""
        self._definitions: Sequence[ToolDefinition] | None = None
        self._tools: list[Wire] = []
        self._tool_weight = Weight(0, 0)

    def make(self, outgoing: Outgoing) -> Made:
        """Make the request of a call, and weigh it."""
        recording, profile, scales = self.recording, self.profile, self.scales
        self._declare(recording.tools if outgoing.tools is None else outgoing.tools)
        system, first = profile.system(recording.instructions, outgoing.leading)
        messages = [*first, *outgoing.messages]
        stable = len(first) + outgoing.stable if outgoing.stable else 0
        body = profile.payload(
            messages=messages,
            system=system,
            tools=self._tools,
            session_id=recording.session_id,
            stable=stable,
        )
        declared, tool_weight = self._tools, self._tool_weight
        if not declared and (declared := profile.inferred_tools(messages)):
            named = [ToolDefinition(name=tool["name"], parameters={}) for tool in declared]
            tool_weight = scales.countable(profile.tool_texts(named))
        head = scales.countable(profile.system_texts(system))
        weights = [scales.message(message) for message in messages]
        marks = profile.breakpoints(declared, system, messages, stable=stable)
        sent = Sent(
            head=(declared, system or []),
            head_tokens=profile.request_overhead + tool_weight.tokens + head.tokens,
            messages=messages,
            tokens=[weight.tokens for weight in weights],
            breakpoints=marks,
            by_itself=not marks,
        )
        overhead = profile.request_overhead + tool_weight.overhead + head.overhead
        overhead += sum(weight.overhead for weight in weights)
        return Made(system, body, sent, overhead)

    def _declare(self, definitions: Sequence[ToolDefinition]) -> None:
        if definitions is not self._definitions:
            countable = self.profile.tool_texts(definitions)
            self._definitions = definitions
            self._tools = self.profile.tools(definitions)
            self.tool_texts, self._tool_weight = countable.texts, self.scales.countable(countable)
