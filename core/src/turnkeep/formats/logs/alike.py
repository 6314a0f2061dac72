"""Which conversation a request goes on with, and from where on it is new.

Items are compared by what they say. What clients change when they send an answer back (reasoning,
ids of items, white space, spelling of JSON) makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple, Self

from turnkeep.content import (
    Item,
    Message,
    Reasoning,
    Ref,
    TextPart,
    ToolCall,
    ToolResult,
    compact_json,
    message_text,
)
from turnkeep.formats.profile import side_of

_NUMBERED: Final = re.compile(r"[^0-9A-Za-z]\d{1,4}$")
_MADE: Final = re.compile(r"call-(.+-)?\d+")
"""Ids that our reader of Gemini makes where there are none; in requests and answers they differ."""
SURE_LENGTH: Final = 12
"""Characters of a call id that are too many for a second conversation to have it, too."""
NEWEST: Final = 64
"""Conversations with the same last request, of which one may have had its answer changed."""


class Known(NamedTuple):
    """An item of a conversation: what it says, None for reasoning; itself; its place in the log."""

    key: str | None
    item: Item
    ref: Ref

    @classmethod
    def of(cls, item: Item, ref: Ref) -> Self:
        """Compare an item by what it says."""
        return cls(key_of(item), item, ref)


@dataclass(eq=False)
class Conversation:
    """What the latest request and its answer hold, in order, but for the leading system messages.

    `asked` is how many of them the request held: the answer is what follows. Reasoning is not
    among them.
    """

    live: list[Known] = field(default_factory=list)
    asked: int = 0

    def add(self, known: Known) -> None:
        """Append what was said."""
        if known.key is not None:
            self.live.append(known)

    @property
    def keys(self) -> list[str | None]:
        """What was said, for comparing."""
        return [known.key for known in self.live]


class Found(NamedTuple):
    """The conversation, and the place of the first of the request's items that is new.

    `rewritten` is what the request has in place of what was said, None where it repeats that.
    `repeats`: nothing is new, not even the answer.
    """

    conversation: Conversation
    start: int
    rewritten: list[Known] | None = None
    repeats: bool = False


class Find:
    """Finds the conversation that a request goes on with.

    Whatever a request and its answer held is a state, known by its hash; so that finding takes as
    long as the request, however many conversations there are.
    """

    def __init__(self) -> None:
        self._states: dict[int, Conversation] = {}
        self._current: dict[Conversation, int] = {}
        self._asked: dict[int, list[Conversation]] = {}
        """Those whose last request was this, by its hash."""
        self._ends: dict[str | None, dict[Conversation, None]] = {}
        """Those that end so."""
        self._end: dict[Conversation, str | None] = {}
        self._holding: dict[str | None, Conversation] = {}

    def place(self, conversation: Conversation) -> None:
        """Let a conversation be found, as it now stands."""
        live = conversation.live
        if not live:
            return
        states = _states(conversation.keys)
        self._current[conversation] = states[-1]
        self._states[states[-1]] = conversation
        if conversation.asked < len(live):
            self._asked.setdefault(states[conversation.asked], []).append(conversation)
        if (before := self._end.get(conversation)) in self._ends:
            del self._ends[before][conversation]
        self._end[conversation] = live[-1].key
        self._ends.setdefault(live[-1].key, {})[conversation] = None
        for known in reversed(live):
            if _is_sure(known.item):
                if self._holding.get(known.key) is conversation:
                    break
                self._holding[known.key] = conversation

    def __call__(self, items: Sequence[Item], answer: Sequence[Item] | None) -> Found | None:
        """Find it; None where a new conversation begins.

        `answer` is what the log gives as the answer to the request, None where it gives none.
        """
        places = [place for place, item in enumerate(items) if not isinstance(item, Reasoning)]
        compared = [items[place] for place in places]
        keys = [key_of(item) for item in compared]
        states = _states(keys)
        for end in range(len(keys), 0, -1):
            conversation = self._states.get(states[end])
            if conversation is None:
                continue
            if self._current[conversation] == states[end]:
                return Found(conversation, places[end - 1] + 1)
            if end == len(keys):
                said = [key for key in map(key_of, answer or ()) if key]
                whole = _states(said, states[end])[-1]
                if self._states.get(whole) is conversation:
                    return Found(conversation, len(items), repeats=True)
        for asked in range(len(keys) - 2, 0, -1):
            for conversation in self._asked.get(states[asked], [])[-NEWEST:]:
                if conversation.asked != asked:
                    continue  # it has gone on since
                if end := _sent_back_otherwise(conversation, compared):
                    _take_over(conversation, compared[:end])
                    return Found(conversation, places[end - 1] + 1)
        candidates: dict[Conversation, None] = {}
        for key in keys:
            candidates |= self._ends.get(key, {})
            if (holding := self._holding.get(key)) is not None:
                candidates[holding] = None
        return _after_rewriting(candidates, items, places, keys)


def _states(keys: Iterable[str | None], state: int = 0) -> list[int]:
    """Give the hash of nothing, of the first key, of the first two, and so on."""
    return list(accumulate(keys, lambda before, key: hash((before, key)), initial=state))


def key_of(item: Item) -> str | None:
    """Say in one text what an item says; None for reasoning, which is not always sent back."""
    if isinstance(item, Message):
        parts = item.content if isinstance(item.content, list) else []
        media = [
            [part.type, getattr(part, "url", None), getattr(part, "data", None)]
            for part in parts
            if not isinstance(part, TextPart)
        ]
        return compact_json(["message", item.role, message_text(item).strip(), media])
    if isinstance(item, ToolCall):
        arguments = sorted((name, compact_json(value)) for name, value in item.arguments.items())
        return compact_json(["call", _id(item), item.name, arguments])
    if isinstance(item, ToolResult):
        content = item.model_dump(mode="json", include={"content"})["content"]
        return compact_json(["result", _id(item), content])
    if isinstance(item, Reasoning):
        return None
    return compact_json(["opaque", item.kind, item.data])


def _id(item: ToolCall | ToolResult) -> str:
    return "" if _MADE.fullmatch(item.tool_call_id) else item.tool_call_id


def own_ids(conversation: Conversation, items: Sequence[Item]) -> dict[str, str]:
    """Give the ids that the calls of a request have in the log, where they differ.

    The request ends like the conversation.
    """
    ours = [known.item for known in conversation.live if isinstance(known.item, ToolCall)]
    sent = [item for item in items if isinstance(item, ToolCall)]
    pairs = zip(reversed(sent), reversed(ours), strict=False)
    return {
        call.tool_call_id: own.tool_call_id
        for call, own in pairs
        if call.tool_call_id != own.tool_call_id and key_of(call) == key_of(own)
    }


def _is_sure(item: Item) -> bool:
    """Say whether an item can be of one conversation only: by a call id that is no number."""
    if not isinstance(item, ToolCall | ToolResult):
        return False
    call_id = item.tool_call_id
    return len(call_id) >= SURE_LENGTH and _NUMBERED.search(call_id) is None


def _sent_back_otherwise(conversation: Conversation, items: Sequence[Item]) -> int:
    """Say how many items repeat a conversation whose last answer the client shortened or padded.

    The items begin with its last request. 0 where what follows is another answer.
    """
    asked = conversation.asked
    answer = [each.item for each in conversation.live[asked:]]
    end = asked
    while end < len(items) and side_of(items[end]) == "assistant":
        end += 1
    if end == asked or end == len(items):
        return 0
    (text, calls), (sent, sent_calls) = _gist(answer), _gist(items[asked:end])
    if calls != sent_calls or not (calls or (text and sent)):
        return 0
    return end if text in sent or sent in text else 0


def _gist(items: Iterable[Item]) -> tuple[str, list[str]]:
    """Give the text of an answer without white space, and the ids of its calls."""
    texts, calls = [], []
    for item in items:
        if isinstance(item, Message):
            texts.append("".join(message_text(item).split()))
        elif isinstance(item, ToolCall):
            calls.append(item.tool_call_id)
    return "".join(texts), calls


def _take_over(conversation: Conversation, items: Sequence[Item]) -> None:
    """From now on, compare with the answer as the client sends it."""
    ref = conversation.live[-1].ref
    asked = conversation.asked
    conversation.live[asked:] = [Known.of(item, ref) for item in items[asked:]]


def _after_rewriting(
    candidates: Iterable[Conversation],
    items: Sequence[Item],
    places: Sequence[int],
    keys: Sequence[str | None],
) -> Found | None:
    """Find a conversation whose end the request still holds, although not what was before it.

    Sure enough is an end with a call id that no other conversation has; then what stands before it
    may be anything, such as a summary. Else nothing that stands before the end may be unknown: so
    it is where the agent sends the last messages only.
    """
    best: tuple[int, Conversation, int, int] | None = None
    for conversation in candidates:
        live = conversation.live
        known = conversation.keys
        held = set(keys)
        end = len(known)
        if known[-1] not in held:
            sure = [n for n, each in enumerate(live) if each.key in held and _is_sure(each.item)]
            if not sure:
                continue
            end = sure[-1] + 1
        place, length = _longest_end(known[:end], keys)
        if not length or place - length + 1 == end - length == 0:
            continue  # the same beginning: another way to go on from there
        run = live[end - length : end]
        if any(_is_sure(each.item) for each in run) or (
            length > 1 and _in_order(keys[: place + 1], known)
        ):
            better = best is None or length > best[0]
            best = (length, conversation, place, end) if better else best
    if best is None:
        return None
    _, conversation, place, end = best
    cut = places[place] + 1
    rewritten = _rewritten(conversation.live[:end], items[:cut])
    conversation.live = [known for known in rewritten if known.key is not None]
    return Found(conversation, cut, rewritten)


def _rewritten(live: Sequence[Known], items: Sequence[Item]) -> list[Known]:
    """Give each item that a request holds its origin; what is new stands for what it follows."""
    known = {each.key: each for each in live}
    results = {
        each.item.tool_call_id: each.ref for each in live if isinstance(each.item, ToolResult)
    }
    made: list[Known] = []
    ref = live[0].ref
    for item in items:
        key = key_of(item)
        if (found := known.get(key)) is not None:
            ref, item = found.ref, found.item  # noqa: PLW2901  # as the log has it
        elif isinstance(item, ToolResult):
            ref = results.get(item.tool_call_id, ref)
        made.append(Known(key, item, ref))
    return made


def _in_order(keys: Sequence[str | None], known: Sequence[str | None]) -> bool:
    """Say whether all keys are known, in this order."""
    rest = iter(known)
    return all(key in rest for key in keys)


def _longest_end(known: Sequence[str | None], keys: Sequence[str | None]) -> tuple[int, int]:
    """Find the longest end of one list inside another: the place of its last item, its length.

    By the Z algorithm (Gusfield, 1997) on both lists backwards, in linear time.
    """
    joined: list[object] = [*reversed(known), object(), *reversed(keys)]
    lengths = [0] * len(joined)
    left = right = 0
    for place in range(1, len(joined)):
        if place < right:
            lengths[place] = min(right - place, lengths[place - left])
        while (
            place + lengths[place] < len(joined)
            and joined[lengths[place]] == joined[place + lengths[place]]
        ):
            lengths[place] += 1
        if place + lengths[place] > right:
            left, right = place, place + lengths[place]
    best = max(range(len(known) + 1, len(joined)), key=lambda n: lengths[n], default=0)
    return len(joined) - 1 - best, lengths[best] if best else 0
