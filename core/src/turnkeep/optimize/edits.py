"""Edits applied: a plan and a view make the entries of a smaller context, or a sentence why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from turnkeep.codec import MAX_DEPTH, decode_event, encode_event
from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.errors import ContentError, CorruptSession
from turnkeep.events import Event
from turnkeep.formats.profile import is_blank
from turnkeep.optimize.plan import Cover, Plan, Replace
from turnkeep.optimize.view import View

_AT_ONCE: Final = 16
"""Items that are encoded together; records with more brackets are looked at one by one."""


class BadEdit(Exception):
    """An edit breaks a rule; its sentence goes into the report."""


def apply(view: View, plan: Plan) -> list[Entry]:
    """Give the entries that a plan leaves, all others shared. Raises BadEdit; costs O(entries)."""
    places = {entry.ref: place for place, entry in enumerate(view.entries)}
    replaced: dict[int, Entry] = {}
    covered: dict[int, Cover] = {}
    for edit in plan.edits:
        if isinstance(edit, Replace):
            place = places.get(edit.entry.ref, -1)
            if place < 0 or view.entries[place] is not edit.entry:
                raise BadEdit("it replaces an entry that is not in the view")
            if place in replaced:
                raise BadEdit(f"it replaces {_name(edit.entry.ref)} twice")
            replaced[place] = _replaced(view, edit)
        elif isinstance(edit, Cover):
            for number in _covered(view, edit):
                if number in covered:
                    raise BadEdit(f"it covers group {number} twice")
                covered[number] = edit
        else:
            raise BadEdit(f"{type(edit).__name__} is no edit; there are Replace and Cover")
    _check_sizes(view, covered)
    _check_items(replaced.values())
    for place, entry in replaced.items():
        if view.weigh(entry.item) >= view.weigh(view.entries[place].item):
            raise BadEdit(f"what it puts in place of {_name(entry.ref)} is not shorter")
    entries: list[Entry] = []
    for group in view.groups:
        cover = covered.get(group.number)
        if cover is None:
            entries += [
                replaced.get(place, view.entries[place])
                for place in range(group.first, group.last + 1)
            ]
        elif cover.text is not None and group.number == cover.first.number:
            text = Message(role="user", content=cover.text)
            entries.append(Entry(view.entries[group.first].ref, text, "cover"))
    return entries


def _check_sizes(view: View, covered: Mapping[int, Cover]) -> None:
    texts = [edit.text for edit in dict.fromkeys(covered.values()) if edit.text is not None]
    new = sum(view.weigh(Message(role="user", content=text)) for text in texts)
    if texts and new >= sum(view.groups[number].tokens for number in covered):
        raise BadEdit("what it covers with is not shorter than what it covers")


def _replaced(view: View, edit: Replace) -> Entry:
    ref, item, form = edit.entry
    name = _name(ref)
    if ref in view.fixed:
        raise BadEdit(f"it replaces {name}, which may not be touched")
    new = with_content(item, edit.content)
    if form == "cover":
        raise BadEdit(f"it replaces {name}, which covers others; cover it again instead")
    return Entry(ref, new, "stub")


def with_content(item: Item, content: Any) -> Item:
    """Give an item of the same type with another content. Raises BadEdit where it does not fit."""
    kind = type(item)
    if kind is ToolCall:
        if not isinstance(content, Mapping):
            raise BadEdit("the arguments of a call must stay an object")
        return item.model_copy(update={"arguments": dict(content)})
    if kind not in (ToolResult, Message):
        raise BadEdit(f"{item.type} is a provider's own and cannot be replaced")
    pieces = [content] if isinstance(content, str) else content
    if not isinstance(pieces, list | tuple) or all(map(_blank, pieces)):
        raise BadEdit("a message or a result must not become empty")
    text = isinstance(content, str) and kind is Message
    return item.model_copy(update={"content": content if text else list(pieces)})


def check_json(value: Any, what: str) -> None:
    """Raise BadEdit for a value of a stranger's plan that cannot be stored as JSON."""
    try:
        text = to_json(value)
        # As it would come back: not with a list for a tuple, a text for a date, null for NaN.
        same = from_json(text) == value
        brackets = text.count(b"[") + text.count(b"{")
        same = same and (brackets < _DEEPEST or not _too_deep(value))
    except Exception as error:  # whatever a stranger's value raises when it is looked at
        raise BadEdit(f"{what} is not JSON") from error
    if not same:
        raise BadEdit(f"{what} is not JSON")


_DEEPEST: Final = MAX_DEPTH - 10
"""Levels of brackets in what stands within a checkpoint."""


def _too_deep(value: Any) -> bool:
    """Say whether a JSON value is nested more deeply than can be stored."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _check_items(entries: Collection[Entry]) -> None:
    """Raise BadEdit for an item that could not be stored, or would come back as another one."""
    waiting = list(entries)
    for start in range(0, len(waiting), _AT_ONCE):
        part = waiting[start : start + _AT_ONCE]
        if _is_storable([entry.item for entry in part]):  # mostly nothing is wrong
            continue
        bad = next(entry for entry in part if not _is_storable([entry.item]))
        raise BadEdit(f"what it puts in place of {_name(bad.ref)} is not JSON, or no content")


def _is_storable(items: list[Item]) -> bool:
    try:
        record = encode_event(Event.of_items(items, author="", execution_id=None))
        return decode_event(record, 1, session_id="").content == items
    except (ContentError, CorruptSession):
        return False


def _blank(piece: Any) -> bool:
    text = getattr(piece, "text", piece)
    return isinstance(text, str) and is_blank(text)


def _covered(view: View, edit: Cover) -> range:
    groups = view.groups
    for group in (edit.first, edit.last):
        if not 0 <= group.number < len(groups) or groups[group.number] != group:
            raise BadEdit("it covers a group that is not in the view")
    numbers = range(edit.first.number, edit.last.number + 1)
    if not numbers:
        raise BadEdit("it covers a run that ends before it begins")
    for number in numbers:
        if groups[number].fixed:
            raise BadEdit(f"it covers group {number}, which holds what may not be touched")
        if groups[number].open:
            raise BadEdit(f"it covers group {number}, a call of which still wants its result")
    if edit.text is not None and (not isinstance(edit.text, str) or is_blank(edit.text)):
        raise BadEdit("it covers with an empty text; None covers with nothing")
    check_json(edit.text, "the text that it covers with")
    return numbers


def _name(ref: Ref) -> str:
    return f"item {ref.seq}.{ref.index}"
