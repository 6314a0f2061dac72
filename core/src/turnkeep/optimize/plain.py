"""Plain functions as optimizers: a list of items in, a list of items out, and the edits by diff.

Items are told apart by identity: what the function gives back as it was stays as it was. Between
two that stay, a changed item stands for one of its kind that is missing there, a text of the
user's role for the groups that are missing, and what is missing without anything in its place is
taken out. What no edit can say (a new order, items from nowhere) is an error of the step.

Which item a changed one stands for must be certain, as its stub names that one for recall. It is
where its kind leaves no choice (calls and results are of a kind with their id), where a part of
its group stays, or by what is left of its text. Where none of these decides, it is an error, too.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from turnkeep.content import (
    ITEM_TYPES,
    Item,
    Message,
    ToolCall,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.context import Entry
from turnkeep.optimize.edits import BadEdit
from turnkeep.optimize.plan import Cover, Edit, Optimizer, Plan, Replace
from turnkeep.optimize.reference import mark
from turnkeep.optimize.view import Group, View

PlainResult: TypeAlias = Sequence[Item] | None
Plain: TypeAlias = Callable[[list[Item]], PlainResult | Awaitable[PlainResult]]
"""A function over the items of a context; None is the same as giving all of them back."""

_PEEK: Final = 1_000
"""Characters at either end of a text that are compared with another one's."""
_PAIRS: Final = 50_000
"""Texts that are compared with one another at most: the run waits for it."""


def as_optimizer(function: Plain) -> Optimizer:
    """Make an optimizer of a plain function, or coroutine function, from contents to contents.

    It gets copies of the items, so nothing it does to them changes the context. It may leave out
    whole groups (an answer with its calls and their results, or a message), put one message of the
    user in place of neighbouring groups, and give items back with a shorter content: changed in
    place, or as a new item of the same kind and place; the reference that recall wants is added to
    texts which lack it. Everything else raises BadEdit when it is
    asked, and the step is skipped.
    """
    return _Plain(function)


class _Plain:
    def __init__(self, function: Plain) -> None:
        self._function = function

    async def plan(self, view: View) -> Plan | None:
        """Give the edits that make of the view's items what the function gives back."""
        given = [entry.item.model_copy(deep=True) for entry in view.entries]
        answer = self._function(list(given))
        after = cast("Any", await answer if inspect.isawaitable(answer) else answer)
        if after is None:
            return None
        if not isinstance(after, list | tuple):
            raise BadEdit(f"it gave {type(after).__name__}, not a list of items")
        edits = list(_Diff(view, given, after).edits())
        return Plan(edits) if edits else None


class _Gap(NamedTuple):
    """New items, by their number, and between which places there is what they stand for."""

    news: list[int]
    first: int
    end: int


class _Diff:
    """What lies between the items that were given and those that came back."""

    def __init__(self, view: View, given: Sequence[Item], after: Sequence[Any]) -> None:
        self._view = view
        self._entries = view.entries
        self._given = {id(item): place for place, item in enumerate(given)}
        self._after = after
        self._kinds = [_kind(entry.item) for entry in view.entries]
        self._groups = [
            group.number for group in view.groups for _ in range(group.first, group.last + 1)
        ]
        self._places: dict[int, int] = {}
        """Of the items that came back: which place each stands at."""

    def edits(self) -> list[Edit]:
        """Give the edits, in the order of the context. Raises BadEdit."""
        matched, texts = self._match()
        edits: list[Edit] = []
        for group in self._view.groups:
            edits += self._replaced(group, matched)
        edits += self._covers(matched, texts)
        return edits

    def _match(self) -> tuple[dict[int, Item], list[tuple[int, Message]]]:
        """Say what came back for each place, and which texts are new, behind which place."""
        self._places = self._unmoved()
        waiting = [_Gap(self._others(), 0, len(self._entries))]
        sure: Mapping[int, int] = dict(self._places)
        while True:
            waiting = [part for gap in waiting for part in _split(gap, sure) if part.news]
            waiting = [gap for gap in map(self._peeled, waiting) if gap.news]
            if not waiting:
                break
            sure = {}
            for gap in waiting:
                sure |= self._sure(gap)
            self._places |= sure
        return self._sorted()

    def _unmoved(self) -> dict[int, int]:
        """Find the items that came back themselves, in their order."""
        places: dict[int, int] = {}
        last = -1
        for number, item in enumerate(self._after):
            if type(item) not in ITEM_TYPES:
                raise BadEdit(f"it gave {type(item).__name__}, which is no item")
            place = self._given.get(id(item))
            if place is None:
                continue
            if place <= last:
                raise BadEdit("it gave items twice, or in another order")
            places[number] = last = place
        return places

    def _others(self) -> list[int]:
        """Give the numbers of all items but new texts of the user's."""
        return [n for n, item in enumerate(self._after) if n in self._places or not _is_text(item)]

    def _sorted(self) -> tuple[dict[int, Item], list[tuple[int, Message]]]:
        matched: dict[int, Item] = {}
        texts: list[tuple[int, Message]] = []
        last = -1
        for number, item in enumerate(self._after):
            place = self._places.get(number)
            if place is None:
                texts.append((last, item))
            else:
                matched[place] = item
                last = place
        return matched, texts

    # What a new item stands for

    def _peeled(self, gap: _Gap) -> _Gap:
        """Match what must be there, as the rest of its group is, from either end of a gap."""
        news, first, end = deque(gap.news), gap.first, gap.end
        while news and first < end and self._together(end - 1, end):
            if _kind(self._after[news[-1]]) != self._kinds[end - 1]:
                break
            end -= 1
            self._places[news.pop()] = end
        while news and first < end and self._together(first - 1, first):
            if _kind(self._after[news[0]]) != self._kinds[first]:
                break
            self._places[news.popleft()] = first
            first += 1
        return _Gap(list(news), first, end)

    def _together(self, one: int, other: int) -> bool:
        within = one >= 0 and other < len(self._groups)
        return within and self._groups[one] == self._groups[other]

    def _sure(self, gap: _Gap) -> dict[int, int]:
        """Give a place for each new item of a gap of which it is certain, of one at least."""
        kinds = {number: _kind(self._after[number]) for number in gap.news}
        early, late = _extremes(gap, lambda number, place: kinds[number] == self._kinds[place])
        if len(early) < len(gap.news):
            lost = self._after[gap.news[len(early)]]
            raise BadEdit(f"it gave a {lost.type} that stands for nothing of before")
        places = zip(gap.news, early, late, strict=True)
        sure = {number: first for number, first, last in places if first == last}
        return sure or self._by_text(gap, early, late)

    def _by_text(self, gap: _Gap, early: Sequence[int], late: Sequence[int]) -> dict[int, int]:
        """Choose by what is left of the texts, from the last one that they are most like."""
        spans = [range(first, last + 1) for first, last in zip(early, late, strict=True)]
        if sum(map(len, spans)) > _PAIRS:
            raise BadEdit("it made too many items anew to tell what each stands for")
        likely = {n: self._likely(n, span) for n, span in zip(gap.news, spans, strict=True)}
        early, late = _extremes(gap, lambda number, place: place in likely[number])
        sure = {
            number: last
            for number, first, last in zip(gap.news, early, late, strict=False)
            if first == last or self._entries[first].item == self._entries[last].item
        }
        if len(early) < len(gap.news) or not sure:
            unclear = self._after[gap.news[-1]].type
            raise BadEdit(
                f"it gave a {unclear} that may stand for several of before: keep more of its "
                "text, or change the item in place"
            )
        return sure

    def _likely(self, number: int, places: range) -> set[int]:
        """Of the places with an item of its kind, give those whose text it is most like."""
        new = self._after[number]
        kind, text = _kind(new), _text(new)
        alike = {
            place: _likeness(_text(self._entries[place].item), text)
            for place in places
            if self._kinds[place] == kind
        }
        most = max(alike.values())
        return {place for place, each in alike.items() if each == most}

    def _replaced(self, group: Group, matched: dict[int, Item]) -> list[Edit]:
        edits: list[Edit] = []
        for place in range(group.first, group.last + 1):
            entry = self._view.entries[place]
            if place in matched and (new := matched[place]) != entry.item:
                edits.append(Replace(entry, _content(entry, new)))
        return edits

    def _covers(self, matched: dict[int, Item], texts: list[tuple[int, Message]]) -> list[Edit]:
        edits: list[Edit] = []
        run: list[Group] = []
        left = list(texts)
        for group in [*self._view.groups, None]:
            if group is not None:
                kept = sum(place in matched for place in range(group.first, group.last + 1))
                if not kept:
                    run.append(group)
                    continue
                if kept < group.last + 1 - group.first:
                    raise BadEdit(f"it left out a part of group {group.number}")
            if run:
                edits.append(Cover(run[0], run[-1], _text_behind(left, run[0], run[-1])))
                run = []
        if left:
            raise BadEdit("it gave a text that stands in place of nothing")
        return edits


def _text_behind(left: list[tuple[int, Message]], first: Group, last: Group) -> str | None:
    """Take the texts that stand where a run of groups stood; None where nothing does."""
    found = [pair for pair in left if first.first - 1 <= pair[0] <= last.last]
    texts: list[str] = []
    for pair in found:
        left.remove(pair)
        if not isinstance(pair[1].content, str):
            raise BadEdit("what stands for groups must be a text")
        texts.append(pair[1].content)
    return "\n".join(texts) if texts else None


def _split(gap: _Gap, sure: Mapping[int, int]) -> Iterator[_Gap]:
    """Cut a gap where it is certain what an item stands for."""
    news: list[int] = []
    first = gap.first
    for number in gap.news:
        place = sure.get(number)
        if place is None:
            news.append(number)
            continue
        yield _Gap(news, first, place)
        news, first = [], place + 1
    yield _Gap(news, first, gap.end)


def _extremes(gap: _Gap, fits: Callable[[int, int], bool]) -> tuple[list[int], list[int]]:
    """Give the first places at which the new items can stand in their order, and the last ones.

    Where both agree on an item, there is no other place for it. Both end early where one has none.
    """
    places = range(gap.first, gap.end)
    early = _in_turn(gap.news, places, fits)
    late = _in_turn(gap.news[::-1], places[::-1], fits)
    return early, late[::-1]


def _in_turn(
    news: Sequence[int], places: Sequence[int], fits: Callable[[int, int], bool]
) -> list[int]:
    found: list[int] = []
    left = iter(places)
    for number in news:
        place = next((place for place in left if fits(number, place)), None)
        if place is None:
            break
        found.append(place)
    return found


def _is_text(item: Item) -> bool:
    # A new text of the user's is more likely to stand for what is missing than for one message.
    return type(item) is Message and item.role == "user"


def _kind(item: Item) -> tuple[str, ...]:
    """Say for what an item may stand: for what is of the same kind."""
    if type(item) is ToolCall or type(item) is ToolResult:
        return item.type, item.tool_call_id, item.name
    if type(item) is Message:
        return item.type, item.role
    return item.type, "not", "replaced", str(id(item))


def _text(item: Item) -> str:
    if type(item) is ToolCall:
        return compact_json(item.arguments)
    return result_text(item) if type(item) is ToolResult else message_text(cast("Message", item))


def _likeness(old: str, new: str) -> int:
    """Say how much of a new text is of an old one, in characters: its ends, or all of it.

    0 where that is less than half of it: two texts may well begin with the same words.
    """
    bare = new.strip().rstrip(".… ")
    if bare and bare in old:
        at_an_end = old.startswith(bare) or old.endswith(bare)
        return len(bare) + at_an_end
    front = _shared(old[:_PEEK], new[:_PEEK])
    back = _shared(old[-_PEEK:][::-1], new[-_PEEK:][::-1])
    alike = min(front + back, len(new))
    return alike if 2 * alike >= len(new) else 0


def _shared(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _content(entry: Entry, new: Item) -> Any:
    """Give the new content of an item of which nothing else may have changed."""
    field = "arguments" if isinstance(new, ToolCall) else "content"
    content = getattr(new, field, None)
    if content is None or entry.item.model_copy(update={field: content}) != new:
        raise BadEdit(f"it changed more of a {new.type} than its content")
    said = f"[shortened, recall {mark(entry.ref)}]"
    if isinstance(content, str):
        return content if mark(entry.ref) in content else f"{content}\n{said}".strip()
    if isinstance(content, list):
        told = any(mark(entry.ref) in piece for piece in content if isinstance(piece, str))
        return content if told else [*content, said]
    return content  # arguments keep their form
