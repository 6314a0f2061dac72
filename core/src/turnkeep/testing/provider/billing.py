"""Billing: what of a request is read from the provider's cache, and what is written to it.

The rules are those of `turnkeep.replay.cache`, by the figures of `turnkeep.prices`. That model
compares two requests; here are all that the provider still remembers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from turnkeep.content import compact_json
from turnkeep.formats.profile import WireMessage
from turnkeep.prices import PriceRow, price_row_for
from turnkeep.replay.cache import CacheUse, Sent, use_of_cache
from turnkeep.testing.provider.clock import Clock
from turnkeep.testing.provider.dialect import Prompt
from turnkeep.testing.provider.weight import REQUEST, Scale

HOUR: Final = 3_600.0
MOST: Final = 10_000
"""Entries, above which those that have ended are looked for and dropped."""
_OPEN: Final = frozenset({"input", "input_schema", "args", "arguments"})
"""Fields that hold what users wrote: a key of the marker's name in there is none."""


class Bill(NamedTuple):
    """How the prompt of a request is billed.

    `written` are the tokens that are billed as written, 0 where writing costs nothing extra; `hour`
    of them stay for an hour.
    """

    use: CacheUse
    written: int
    hour: int

    @property
    def tokens(self) -> int:
        """Tokens of the whole prompt."""
        return sum(self.use)


@dataclass
class _Entry:
    """A prefix that is remembered: up to the one breakpoint of `sent`, or all of it."""

    sent: Sent
    at: float
    lifetime: float


class Marked(NamedTuple):
    """A request for the cache, and which of its breakpoints ask for an hour."""

    sent: Sent
    hours: frozenset[int]


class Cache:
    """The prompt caches of all models; each knows what was sent to it."""

    def __init__(self, scale: Scale, clock: Clock, prices: Mapping[str, PriceRow]) -> None:
        self._scale = scale
        self._clock = clock
        self._prices = prices
        self._whole: dict[tuple[str, str], list[_Entry]] = {}
        self._marked: dict[tuple[str, str], dict[bytes, _Entry]] = {}

    def weigh(self, profile: str, model: str, prompt: Prompt) -> Marked:
        """Give a prompt as its cache sees it, with its weights."""
        marks: dict[int, bool] = {}
        position = 0
        heads: list[list[Any]] = []
        weight = REQUEST
        for parts in (prompt.tools, prompt.system):
            clean = []
            for part in parts:
                clean.append(_unmarked(part, marks, position))
                weight += self._scale.part(clean[-1], model)
                position += 1
            heads.append(clean)
        messages, tokens = [], []
        for message in prompt.messages:
            content = message.get("content") if profile == "anthropic" else None
            if content is None:
                clean_message, blocks = message, 1
            else:
                inner = [_unmarked(block, marks, position + at) for at, block in enumerate(content)]
                clean_message, blocks = message | {"content": inner}, len(inner)
            messages.append(WireMessage(clean_message, (), 0, blocks))
            tokens.append(self._scale.part(clean_message, model))
            position += blocks
        if prompt.automatic is not None and position:
            _unmarked({"cache_control": prompt.automatic}, marks, position - 1)
        sent = Sent(
            head=(heads[0], heads[1]),
            head_tokens=weight,
            messages=messages,
            tokens=tokens,
            breakpoints=tuple(sorted(marks)),
            by_itself=profile != "anthropic",
        )
        return Marked(sent, frozenset(at for at, hour in marks.items() if hour))

    def bill(self, profile: str, model: str, marked: Marked) -> Bill:
        """Bill a request, and remember it."""
        row = self._prices.get(profile) or price_row_for(model, profile)
        sent = marked.sent
        place = (profile, model)
        if sent.by_itself:
            best = self._by_itself(self._whole.setdefault(place, []), sent, row)
        else:
            best = self._by_breakpoints(self._marked.setdefault(place, {}), marked, row)
        hour = 0
        if marked.hours and best.written:
            upto = sent._replace(breakpoints=(max(marked.hours),))
            hour = max(0, use_of_cache(upto, None, row, 0).written - best.cached)
        return Bill(best, best.written if row.write > 1 else 0, hour)

    def _by_itself(self, known: list[_Entry], sent: Sent, row: PriceRow) -> CacheUse:
        """Read the longest common prefix; a request takes the place of what it goes on with."""
        now = self._clock.now()
        known[:] = [entry for entry in known if now - entry.at <= entry.lifetime]
        uses = [use_of_cache(sent, entry.sent, row, 0) for entry in known]
        known[:] = [entry for entry in known if not _begins(sent, entry.sent)]
        known.append(_Entry(sent, now, row.lifetime))
        return max([use_of_cache(sent, None, row, 0), *uses], key=lambda use: use.cached)

    def _by_breakpoints(
        self, known: dict[bytes, _Entry], marked: Marked, row: PriceRow
    ) -> CacheUse:
        """Read the longest entry in reach; a hit refreshes it and the entries in front of it."""
        sent, now = marked.sent, self._clock.now()
        names = _names(sent)
        found = [
            entry
            for name in reversed(names)
            if (entry := known.get(name)) is not None and now - entry.at <= entry.lifetime
        ]
        best = use_of_cache(sent, None, row, 0)
        for entry in found:  # the longest first
            use = use_of_cache(sent, entry.sent, row, 0)
            if use.cached or best.cached:
                best = best if best.cached else use
                entry.at = now
        if len(known) > MOST:
            for name in [name for name, old in known.items() if now - old.at > old.lifetime]:
                del known[name]
        for mark in sent.breakpoints:
            old = known.get(names[mark])
            if old is None or old.at < now:
                lifetime = HOUR if mark in marked.hours else row.lifetime
                alone = sent._replace(breakpoints=(mark,))
                known[names[mark]] = _Entry(alone, now, lifetime)
        return best


def _names(sent: Sent) -> list[bytes]:
    """Name the prefixes that end at each block; those inside of the head hold all of it."""
    digest = hashlib.sha256(_bytes(sent.head))
    names = [digest.digest() + b"%d" % at for at in range(sum(map(len, sent.head)))]
    for message in sent.messages:
        digest.update(_bytes(message.body.get("role")))
        for block in message.body["content"]:
            digest.update(_bytes(block))
            names.append(digest.digest())
    return names


def _bytes(value: Any) -> bytes:
    return compact_json(value).encode("utf-8", "surrogatepass") + b"\n"


def _begins(sent: Sent, old: Sent) -> bool:
    """Say whether a request begins with all of an older one of the same head."""
    return len(old.messages) <= len(sent.messages) and all(
        message.body == before.body
        for message, before in zip(sent.messages, old.messages, strict=False)
    )


def _unmarked(value: Any, marks: dict[int, bool], position: int) -> Any:
    """Give a block without markers, and note the position if it had one."""
    for marker in _markers(value):
        hour = isinstance(marker, dict) and marker.get("ttl") == "1h"
        marks[position] = marks.get(position, False) or hour
    return _without(value) if position in marks else value


def _markers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if value.get("cache_control") is not None:
            yield value["cache_control"]
        for key, below in value.items():
            if key not in _OPEN and isinstance(below, dict | list):
                yield from _markers(below)
    elif isinstance(value, list):
        for below in value:
            yield from _markers(below)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: below if key in _OPEN else _without(below)
            for key, below in value.items()
            if key != "cache_control"
        }
    return [_without(below) for below in value] if isinstance(value, list) else value
