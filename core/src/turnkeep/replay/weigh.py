"""Tokens of requests, counted once for each message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from turnkeep.formats.profile import Countable, WireMessage
from turnkeep.tokens.counter import TokenCounter


class Weight(NamedTuple):
    """Tokens of a piece of a request; `overhead` is the part for structure."""

    tokens: int
    overhead: int


class Scales:
    """Weighs pieces, remembering messages by identity and texts by value."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._texts: dict[str, int] = {}
        self._messages: dict[int, tuple[WireMessage, Weight]] = {}

    def message(self, message: WireMessage) -> Weight:
        """Weigh a message; the same object is weighed once."""
        # The message is kept beside its weight, so its identity cannot be taken by another.
        known = self._messages.get(id(message))
        if known is None:
            weight = self.countable(Countable(message.texts, message.overhead))
            known = self._messages[id(message)] = (message, weight)
        return known[1]

    def countable(self, part: Countable) -> Weight:
        """Weigh texts and their structure."""
        return Weight(self._sum(part.texts) + part.overhead, part.overhead)

    def forget_messages(self) -> None:
        """Let go of the messages of a session that is done."""
        self._messages.clear()

    def _sum(self, texts: Sequence[str]) -> int:
        new = [text for text in texts if text not in self._texts]
        if new:
            self._texts.update(zip(new, self._counter.count_texts(new), strict=True))
        return sum(self._texts[text] for text in texts)
