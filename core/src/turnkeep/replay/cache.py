"""The prompt cache of a provider: what of a request was sent before, and is still remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from turnkeep.content import compact_json
from turnkeep.formats.profile import Wire, WireMessage
from turnkeep.prices import PriceRow


class Sent(NamedTuple):
    """A request as its cache sees it: `head` (tools and system), then messages.

    `tokens` holds the weight of each message. `breakpoints` are positions in the flat list of
    blocks (see `Profile.breakpoints`), empty where the provider caches by itself.
    """

    head: tuple[Sequence[Wire], Sequence[Wire]]
    head_tokens: int
    messages: Sequence[WireMessage]
    tokens: Sequence[int]
    breakpoints: tuple[int, ...]
    by_itself: bool

    @property
    def total(self) -> int:
        """Tokens of the whole request."""
        return self.head_tokens + sum(self.tokens)


class CacheUse(NamedTuple):
    """How the provider bills a request's tokens. They add up to the request."""

    cached: int
    written: int
    plain: int


def use_of_cache(sent: Sent, before: Sent | None, row: PriceRow, idle: float) -> CacheUse:
    """Say what of a request is read from the cache, what is written to it, and what is neither.

    Cached is the longest byte-identical prefix with the request before that the request asked to
    have cached, was worth caching (`minimum`), and is still remembered after `idle` seconds. Where
    a provider has breakpoints, an entry ends at a breakpoint of the request before, and is found
    from one of this request at most `lookback` blocks behind it; what stands behind the last
    breakpoint is not written.
    """
    if row.read >= 1:
        return CacheUse(0, 0, sent.total)
    last, writable = _asked(sent)
    if writable < row.minimum:
        return CacheUse(0, 0, sent.total)
    cached = 0
    if before is not None and idle <= row.lifetime:
        cached = _by_itself(sent, before) if sent.by_itself else _by_breakpoints(sent, before, row)
        cached -= cached % row.step
        if cached < row.minimum:
            cached = 0
    assert last is not None or writable == 0
    return CacheUse(cached, writable - cached, sent.total - writable)


def _asked(sent: Sent) -> tuple[int | None, int]:
    """Give the last breakpoint, and the tokens up to it."""
    if sent.by_itself:
        return -1, sent.total
    if not sent.breakpoints:
        return None, 0
    last = sent.breakpoints[-1]
    return last, _tokens_until(sent, last)


def _by_itself(sent: Sent, before: Sent) -> int:
    if sent.head != before.head:
        return 0
    cached = sent.head_tokens
    for message, old, tokens in zip(sent.messages, before.messages, sent.tokens, strict=False):
        if message is not old and message.body != old.body:
            return cached + _common_part(message, old, tokens)
        cached += tokens
    return cached


def _by_breakpoints(sent: Sent, before: Sent, row: PriceRow) -> int:
    if sent.head != before.head:
        return 0
    common = _common_blocks(sent, before)
    best = -1
    for entry in before.breakpoints:
        if entry < common and any(
            entry <= mark <= entry + row.lookback or not row.lookback for mark in sent.breakpoints
        ):
            best = max(best, entry)
    return _tokens_until(sent, best) if best >= 0 else 0


def _common_blocks(sent: Sent, before: Sent) -> int:
    """Count the blocks that two requests with the same head have in common at the beginning."""
    blocks = len(sent.head[0]) + len(sent.head[1])
    for message, old in zip(sent.messages, before.messages, strict=False):
        if message is not old and message.body != old.body:
            return blocks + len(_common_content(message, old))
        blocks += message.blocks
    return blocks


def _tokens_until(sent: Sent, position: int) -> int:
    """Sum the tokens up to and including the block at a position."""
    blocks = len(sent.head[0]) + len(sent.head[1])
    total = sent.head_tokens
    for message, tokens in zip(sent.messages, sent.tokens, strict=True):
        if blocks > position:
            break
        if blocks + message.blocks > position + 1:
            part = _blocks(message)[: position + 1 - blocks]
            return total + _share(message, part, tokens)
        blocks += message.blocks
        total += tokens
    return total


def _common_part(message: WireMessage, old: WireMessage, tokens: int) -> int:
    return _share(message, _common_content(message, old), tokens)


def _common_content(message: WireMessage, old: WireMessage) -> list[Wire]:
    """Give the blocks that two messages of one role have in common at the beginning."""
    if message.body.get("role") != old.body.get("role"):
        return []
    common: list[Wire] = []
    for block, other in zip(_blocks(message), _blocks(old), strict=False):
        if block != other:
            break
        common.append(block)
    return common


def _blocks(message: WireMessage) -> list[Wire]:
    """Give the blocks of a message; none where it is all of a piece."""
    found = message.body.get("content", message.body.get("parts"))
    return found if isinstance(found, list) else []


def _share(message: WireMessage, part: Sequence[Wire], tokens: int) -> int:
    """Give a part of a message its share of the tokens, by the length of its JSON."""
    if not part:
        return 0
    whole = len(compact_json(_blocks(message)))
    return tokens * len(compact_json(list(part))) // whole
