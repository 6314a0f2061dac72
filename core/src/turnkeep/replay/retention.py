"""Retention: of the facts that a model call quoted, which its request still held, and how.

The score is made of a request's texts and the recording alone, so it is the same for any policy.
A fact counts for a call if the call's recorded answer quotes it and an item before the call holds
it, each once a call. What a request holds is kept up to date message by message: a call costs what
it changed, and what it quotes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult
from turnkeep.formats.media import text_only
from turnkeep.formats.profile import Profile, WireMessage, side_of
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.reference import references
from turnkeep.replay.recording import Recording

VERBATIM: Final = 1_000
"""From this many characters on, the beginning or the end of an item's text is original text.

Results are cut on arrival at thousands of tokens; what a stub leaves of one is a few hundred
characters, which are no reading of it.
"""
_EDGE: Final = 64
"""Items whose texts begin or end with these many characters alike may be what a text was cut of."""
_CANDIDATES: Final = 16


class Score(NamedTuple):
    """How many facts a call quoted, and what its request held of them.

    `visible`: stand in the request; `original`: in original text; `in_place`: visible, or in an
    item that a reference in the request recalls. `argument_facts` are those quoted in arguments of
    calls, `missing` those of them that are not in place.
    """

    facts: int
    visible: int
    original: int
    in_place: int
    argument_facts: int
    missing: int


class _Piece(NamedTuple):
    """One text of a request: its facts, those in original text, and the items it refers to."""

    facts: frozenset[str]
    original: frozenset[str]
    recalled: tuple[int, ...]


class FactLog:
    """The facts of a recording: which items hold them, and which each call quotes."""

    def __init__(self, recording: Recording, profile: Profile) -> None:
        self.calls = recording.calls
        self._reader = FactReader()
        self._pieces: dict[str, _Piece] = {}
        self._places = {entry.ref: place for place, entry in enumerate(recording.entries)}
        self._results = _results(recording.items)
        self._originals: set[str] = set()
        self._facts: dict[str, frozenset[str]] = {}
        self._beginning: dict[str, list[str]] = {}
        self._ending: dict[str, list[str]] = {}
        self.holders: dict[str, list[int]] = {}
        """The places of the items that hold each fact, rising."""
        definitions = profile.tool_texts(recording.tools).texts
        self._add_originals((recording.instructions, *definitions))
        for place, item in enumerate(recording.items):
            texts = _texts(profile, item)
            self._add_originals(texts)
            for fact in frozenset().union(*map(self._read, texts)):
                self.holders.setdefault(fact, []).append(place)
        self.quoted: list[tuple[frozenset[str], frozenset[str]]] = [
            self._quoted(recording.items, place) for place in self.calls
        ]
        """For each call the facts of its answer, and those in arguments, that stood before it."""

    def piece(self, text: str) -> _Piece:
        """Say what one text of a request holds; each distinct text is read once."""
        known = self._pieces.get(text)
        if known is None:
            known = self._pieces[text] = self._judge(text)
        return known

    def _read(self, text: str) -> frozenset[str]:
        known = self._facts.get(text)
        if known is None:
            known = self._facts[text] = self._reader.read(text)
        return known

    def _add_originals(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text in self._originals:
                continue
            self._originals.add(text)
            if len(text) >= VERBATIM:
                self._beginning.setdefault(text[:_EDGE], []).append(text)
                self._ending.setdefault(text[-_EDGE:], []).append(text)

    def _quoted(self, items: Sequence[Item], start: int) -> tuple[frozenset[str], frozenset[str]]:
        said: set[str] = set()
        argued: set[str] = set()
        for place in range(start, len(items)):
            item = items[place]
            if side_of(item) != "assistant":
                break
            said |= self._reader.said(item)
            if isinstance(item, ToolCall):
                argued |= self._reader.argued(item)
        stood = frozenset(fact for fact in said if self._stood(fact, start))
        return stood, stood & argued

    def _stood(self, fact: str, before: int) -> bool:
        holders = self.holders.get(fact)
        return holders is not None and holders[0] < before

    def _judge(self, text: str) -> _Piece:
        if text in self._originals:
            return _Piece(self._read(text), self._read(text), ())
        facts = self._reader.read(text)
        original: set[str] = set()
        for whole in self._beginning.get(text[:_EDGE], ())[:_CANDIDATES]:
            common = _common(text, whole, lambda size, of: of[:size])
            if common >= VERBATIM:
                original |= self._reader.read(text[:common]) & self._read(whole)
        for whole in self._ending.get(text[-_EDGE:], ())[:_CANDIDATES]:
            common = _common(text, whole, lambda size, of: of[len(of) - size :])
            if common >= VERBATIM:
                original |= self._reader.read(text[len(text) - common :]) & self._read(whole)
        return _Piece(facts, facts & original, tuple(self._recalled(references(text))))

    def _recalled(self, found: Iterable[Ref]) -> Iterable[int]:
        for ref in found:
            place = self._places.get(ref)
            if place is not None:
                yield place
                yield from self._results.get(place, ())


class Standing:
    """What the request of one policy holds, brought up to date from call to call."""

    def __init__(self, log: FactLog) -> None:
        self._log = log
        self._head: tuple[str, ...] = ()
        self._messages: Sequence[WireMessage] = ()
        self._visible: dict[str, int] = {}
        self._original: dict[str, int] = {}
        self._recalled: dict[int, int] = {}

    def score(self, call: int, head: tuple[str, ...], messages: Sequence[WireMessage]) -> Score:
        """Score a call, counted from 0, whose request has these system and tool texts."""
        self._show(head, messages)
        quoted, in_arguments = self._log.quoted[call]
        visible = {fact for fact in quoted if self._visible.get(fact)}
        before = self._log.calls[call]
        in_place = {fact for fact in quoted if fact in visible or self._reaches(fact, before)}
        return Score(
            facts=len(quoted),
            visible=len(visible),
            original=sum(1 for fact in visible if self._original.get(fact)),
            in_place=len(in_place),
            argument_facts=len(in_arguments),
            missing=len(in_arguments - in_place),
        )

    def _reaches(self, fact: str, before: int) -> bool:
        for place in self._log.holders[fact]:
            if place >= before:
                break
            if self._recalled.get(place):
                return True
        return False

    def _show(self, head: tuple[str, ...], messages: Sequence[WireMessage]) -> None:
        """Take out what the request no longer holds, and in what it newly does."""
        same = 0
        for old, new in zip(self._messages, messages, strict=False):
            if old is not new:
                break
            same += 1
        gone = Counter(message.texts for message in self._messages[same:])
        come = Counter(message.texts for message in messages[same:])
        gone[self._head] += 1
        come[head] += 1
        for texts, times in (come - gone).items():
            self._count(texts, times)
        for texts, times in (gone - come).items():
            self._count(texts, -times)
        self._head, self._messages = head, list(messages)

    def _count(self, texts: Iterable[str], times: int) -> None:
        for text in texts:
            piece = self._log.piece(text)
            for fact in piece.facts:
                self._visible[fact] = self._visible.get(fact, 0) + times
            for fact in piece.original:
                self._original[fact] = self._original.get(fact, 0) + times
            for place in piece.recalled:
                self._recalled[place] = self._recalled.get(place, 0) + times


def _texts(profile: Profile, item: Item) -> list[str]:
    """Give the texts of an item as its provider gets them where it is whole."""
    texts = [text for message in profile.render([item]) for text in message.texts]
    if isinstance(item, Message) and item.role in {"system", "developer"}:
        texts.append(text_only(item.content))  # how it stands in a system field
    return texts


def _results(items: Sequence[Item]) -> dict[int, list[int]]:
    """Say for each call where its result stands: a result answers the latest call with its id."""
    latest: dict[str, int] = {}
    found: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        if isinstance(item, ToolCall):
            latest[item.tool_call_id] = place
        elif isinstance(item, ToolResult) and item.tool_call_id in latest:
            found.setdefault(latest[item.tool_call_id], []).append(place)
    return found


def _common(one: str, two: str, part: Callable[[int, str], str]) -> int:
    """Give how many characters two texts have in common at an end, by halving."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if part(middle, one) == part(middle, two):
            low = middle
        else:
            high = middle - 1
    return low
