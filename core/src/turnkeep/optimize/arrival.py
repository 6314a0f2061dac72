"""Arrival: what is too long for a context is shortened as it enters, before anything caches it.

That is the one moment at which shortening costs nothing of a provider's prompt cache. The log keeps
the whole, and the text that stands for it says how it is read back.
"""

from __future__ import annotations

import hashlib
from typing import Final

from turnkeep.content import Item, Ref, ToolResult, result_text
from turnkeep.optimize.recall import RECALL
from turnkeep.optimize.rules import ContextRules
from turnkeep.optimize.shorten import is_media, to_tokens
from turnkeep.tokens.counter import TokenCounter

_BYTES: Final = 4
"""Bytes of a character at most; no token is shorter than a byte."""


class Arrivals:
    """Shortens results above their tool's cap."""

    def __init__(self, counter: TokenCounter, rules: ContextRules) -> None:
        self._counter = counter
        self._cap = rules.cap()
        self._caps = {tool: rules.cap(tool) for tool in rules.arrival_caps}

    @property
    def key(self) -> str:
        """Name this way of shortening, so that counts of two ways are never mixed up."""
        caps = "\0".join(f"{tool} {cap}" for tool, cap in sorted(self._caps.items()))
        digest = hashlib.blake2b(caps.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        return f"{self._cap}|{digest}|{self._counter.name}"

    def __call__(self, ref: Ref, item: Item) -> Item:
        """Give the form in which an item enters a context: itself unless it is too long."""
        if type(item) is not ToolResult or item.name == RECALL:
            return item  # what is recalled has a cap of its own
        cap = self._caps.get(item.name, self._cap)
        if cap <= 0:
            return item
        text = result_text(item)
        if len(text) * _BYTES <= cap:
            return item
        shorter = to_tokens(text, cap, ref, self._counter.count_texts)
        if shorter is text:
            return item
        media = [piece for piece in item.content if is_media(piece)]
        return item.model_copy(update={"content": [shorter, *media]})
