"""Which conversation a request goes on with, and from where on it is new.

Items are compared by what they say. What clients change when they send an answer back (reasoning,
ids of items, white space, spelling of JSON) makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
SURE_LENGTH: Final = 12
"""Characters of a call id that are too many for a second conversation to have it, too."""


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

    `asked` is how many of them the request held: the answer is what follows.
    """

    live: list[Known] = field(default_factory=list)
    asked: int = 0

    def add(self, known: Known) -> None:
        """Append what was said; reasoning is not compared, so it is not needed here."""
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
    """Finds the conversation that a request goes on with, by the ends of all of them."""

    def __init__(self) -> None:
        self._ends: dict[str, dict[Conversation, None]] = {}
        self._holding: dict[str, Conversation] = {}

    def place(self, conversation: Conversation) -> None:
        """Let a conversation be found, as it now stands."""
        for end in (conversation.asked, len(conversation.live)):
            if end and (key := conversation.live[end - 1].key) is not None:
                self._ends.setdefault(key, {})[conversation] = None
        for known in reversed(conversation.live):
            if known.key is not None and _is_sure(known.item):
                if self._holding.get(known.key) is conversation:
                    break
                self._holding[known.key] = conversation

    def __call__(self, items: Sequence[Item], answer: Sequence[Item] | None) -> Found | None:
        """Find it; None where a new conversation begins.

        `answer` is what the log gives as the answer to the request, None where it gives none.
        """
        places = [place for place, item in enumerate(items) if not isinstance(item, Reasoning)]
        keys = [key_of(items[place]) for place in places]
        candidates: dict[Conversation, None] = {}
        for key in keys:
            candidates |= self._ends.get(key or "", {})
            if (holding := self._holding.get(key or "")) is not None:
                candidates[holding] = None
        said = None if answer is None else [key for key in map(key_of, answer) if key]
        best: tuple[int, Conversation, bool] | None = None
        for conversation in candidates:
            known = conversation.keys
            if not known:
                continue
            as_it_is = known == keys[: len(known)]
            if as_it_is:
                matched = len(known)
            elif keys == known[: len(keys)] and len(keys) == conversation.asked:
                if said is None or said == known[len(keys) :]:
                    return Found(conversation, len(items), repeats=True)
                continue
            else:
                matched = _sent_back_otherwise(conversation, known, [items[n] for n in places])
            if matched and (best is None or matched > best[0]):
                best = matched, conversation, as_it_is
        if best is not None:
            matched, conversation, as_it_is = best
            if not as_it_is:
                _take_over(conversation, [items[n] for n in places[:matched]])
            return Found(conversation, places[matched - 1] + 1)
        return _after_rewriting(candidates, items, places, keys)


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
        return compact_json(["call", item.tool_call_id, item.name, arguments])
    if isinstance(item, ToolResult):
        content = item.model_dump(mode="json", include={"content"})["content"]
        return compact_json(["result", item.tool_call_id, content])
    if isinstance(item, Reasoning):
        return None
    return compact_json(["opaque", item.kind, item.data])


def _is_sure(item: Item) -> bool:
    """Say whether an item can be of one conversation only: by a call id that is no number."""
    if not isinstance(item, ToolCall | ToolResult):
        return False
    call_id = item.tool_call_id
    return len(call_id) >= SURE_LENGTH and _NUMBERED.search(call_id) is None


def _sent_back_otherwise(
    conversation: Conversation, known: Sequence[str | None], items: Sequence[Item]
) -> int:
    """Say how many items repeat a conversation whose last answer the client shortened or padded.

    0 where they do not.
    """
    asked = conversation.asked
    answer = [each.item for each in conversation.live[asked:]]
    if not answer or asked >= len(items):
        return 0
    if [key_of(item) for item in items[:asked]] != known[:asked]:
        return 0
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
    origins: dict[str, Ref] = {}
    for each in live:
        if each.key is not None:
            origins[each.key] = each.ref
        if isinstance(each.item, ToolResult):
            origins[f"result {each.item.tool_call_id}"] = each.ref
    made: list[Known] = []
    ref = live[0].ref
    for item in items:
        key = key_of(item)
        short = f"result {item.tool_call_id}" if isinstance(item, ToolResult) else ""
        ref = origins.get(key or "") or origins.get(short) or ref
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
