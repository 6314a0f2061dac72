"""Plain functions as optimizers: a list of items in, a list of items out, and the edits by diff.

Items are told apart by identity: what the function gives back as it was stays as it was. Between
two that stay, a changed item stands for the one of its kind that is missing there, a text of the
user's role for the groups that are missing, and what is missing without anything in its place is
taken out. What no edit can say (a new order, items from nowhere) is an error of the step.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from turnkeep.content import ITEM_TYPES, Item, Message, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.optimize.edits import BadEdit
from turnkeep.optimize.plan import Cover, Edit, Optimizer, Plan, Replace
from turnkeep.optimize.reference import mark
from turnkeep.optimize.view import Group, View

PlainResult: TypeAlias = Sequence[Item] | None
Plain: TypeAlias = Callable[[list[Item]], PlainResult | Awaitable[PlainResult]]
"""A function over the items of a context; None is the same as giving all of them back."""


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


class _Diff:
    """What lies between the items that were given and those that came back."""

    def __init__(self, view: View, given: Sequence[Item], after: Sequence[Any]) -> None:
        self._view = view
        self._places = {id(item): place for place, item in enumerate(given)}
        self._after = after

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
        matched: dict[int, Item] = {}
        texts: list[tuple[int, Message]] = []
        last = -1
        for number, item in enumerate(self._after):
            if type(item) not in ITEM_TYPES:
                raise BadEdit(f"it gave {type(item).__name__}, which is no item")
            place = self._places.get(id(item))
            if place is None:
                place = self._stands_for(item, last, self._next_known(number))
            if place is None:
                if not (type(item) is Message and item.role == "user"):
                    raise BadEdit(f"it gave a {item.type} that stands for nothing of before")
                texts.append((last, item))
                continue
            if place <= last:
                raise BadEdit("it gave items twice, or in another order")
            matched[place] = item
            last = place
        return matched, texts

    def _next_known(self, number: int) -> int:
        """Give the place of the next item that came back as it was; the end if there is none."""
        for item in self._after[number + 1 :]:
            if (place := self._places.get(id(item))) is not None:
                return place
        return len(self._view.entries)

    def _stands_for(self, item: Item, last: int, end: int) -> int | None:
        """Find the entry between two places that a new item is another form of."""
        for place in range(last + 1, end):
            if _same_kind(self._view.entries[place].item, item):
                return place
        return None

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


def _same_kind(old: Item, new: Item) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, ToolCall | ToolResult) and isinstance(new, ToolCall | ToolResult):
        return (old.tool_call_id, old.name) == (new.tool_call_id, new.name)
    # A new text of the user's is more likely to stand for what is missing than for one message.
    return isinstance(old, Message) and old.role == getattr(new, "role", "") != "user"


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
