"""Fit: the last step of every rewrite, which makes the request fit whatever the others left.

First the largest results, arguments and old texts become smaller, all to one size, those of the
newest step too: ten parallel huge results must fit. Then the oldest groups are taken out, notes
among them. Instructions, tools, what is pinned and the user's current message are never touched,
and the newest step is never taken out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult, message_text, result_text
from turnkeep.context import Entry
from turnkeep.formats.profile import is_blank
from turnkeep.optimize.beginning import is_sent, start_size, with_a_start
from turnkeep.optimize.edits import with_content
from turnkeep.optimize.plan import Cover, Edit, Plan, Replace
from turnkeep.optimize.shorten import gap, media_note, strings, to_tokens
from turnkeep.optimize.view import Group, View
from turnkeep.optimize.window import runs
from turnkeep.repair.steps import NO_START

LEAST: Final = 100
"""Tokens below which nothing is shortened any more: the sentence about the rest takes its part."""
_CHARACTERS: Final = 40
"""Characters that are kept of a string in arguments at the least."""


def fit(view: View, excess: int) -> Plan | None:
    """Plan how to get rid of so many tokens; None if nothing can be done."""
    edits, saved = shrink(view, excess)
    if saved >= excess:
        return Plan(edits) if edits else None
    covers = cover(view, excess - saved, {edit.entry.ref for edit in edits})
    hidden = [range(each.first.first, each.last.last + 1) for each in covers]
    places = {entry.ref: place for place, entry in enumerate(view.entries)}
    kept: list[Edit] = [
        edit for edit in edits if not any(places[edit.entry.ref] in span for span in hidden)
    ]
    return Plan([*kept, *covers]) if kept or covers else None


def shrink(view: View, excess: int) -> tuple[list[Replace], int]:
    """Bring the largest pieces down to one size, by so many tokens in all if that can be.

    The sentences about what is left out take their part, so a size may have to be tried again.
    """
    wanted = excess
    while True:
        edits, saved, cap = _shrink(view, wanted)
        if saved >= excess or cap <= LEAST:
            return edits, saved
        wanted = 2 * wanted + LEAST


def _shrink(view: View, excess: int) -> tuple[list[Replace], int, int]:
    pieces = [
        (view.weigh(entry.item), entry)
        for entry in view.entries
        if entry.ref not in view.fixed and entry.form != "cover" and _can_shrink(entry.item)
    ]
    cap = max(_level([tokens for tokens, _ in pieces], excess), LEAST)
    edits: list[Replace] = []
    saved = 0
    for tokens, entry in pieces:
        if tokens <= cap:
            continue
        content = _shorter(entry, cap, tokens, view)
        if content is None:
            continue
        saving = tokens - view.weigh(with_content(entry.item, content))
        if saving > 0:
            edits.append(Replace(entry, content))
            saved += saving
    return edits, saved, cap


def _level(sizes: Sequence[int], excess: int) -> int:
    """Give the size to which all larger ones must come down to save so much; 0 if none is."""
    ordered = sorted(sizes, reverse=True)
    total = 0
    for number, size in enumerate(ordered, 1):
        total += size
        level = (total - excess) // number
        below = ordered[number] if number < len(ordered) else 0
        if level >= below:
            return max(level, 0)
    return 0


def _can_shrink(item: Item) -> bool:
    return type(item) in (ToolResult, ToolCall, Message)


def _shorter(entry: Entry, cap: int, tokens: int, view: View) -> Any:
    """Give a content of about so many tokens; None where there is none."""
    item = entry.item
    if isinstance(item, ToolCall):
        keep = max(_longest(item.arguments) * cap // max(tokens, 1) // 2, _CHARACTERS)
        return strings(item.arguments, keep, keep, entry.ref)
    if isinstance(item, ToolResult):
        text = _shorter_text(result_text(item), item.content, cap, entry.ref, view)
        return None if text is None else [text]
    if isinstance(item, Message):
        return _shorter_text(message_text(item), item.content, cap, entry.ref, view)
    return None


def _shorter_text(
    text: str, pieces: str | Sequence[Any], cap: int, ref: Ref, view: View
) -> str | None:
    """Give a text of about so many tokens for one with pictures; None where there is none."""
    note = media_note(pieces)
    shorter = to_tokens(text, cap, ref, view.count, note)
    if note and shorter is text:
        shorter = f"{text}\n{gap(0, ref, note)}".strip()
    return None if is_blank(shorter) else shorter


def _longest(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return max(map(_longest, value.values()), default=0)
    if isinstance(value, list):
        return max(map(_longest, value), default=0)
    return 0


def cover(view: View, excess: int, shrunk: Collection[Ref]) -> list[Cover]:
    """Take out the oldest groups, by so many tokens if that can be; the newest step stays.

    `shrunk` are entries that are shortened already: what they still save is little.
    """
    newest = next((group.number for group in reversed(view.groups) if group.kind == "step"), -1)
    start = start_size(view)
    chosen: list[Group] = []
    saved = 0
    first: Group | None = None
    for group in view.groups:
        begins = first or group
        if saved >= excess + (start if begins.kind == "step" else 0):
            break
        if group.coverable and group.number != newest:
            chosen.append(group)
            saved += sum(
                LEAST if entry.ref in shrunk else view.weigh(entry.item)
                for entry in view.entries_of(group)
            )
        elif group.kind != "system" and is_sent(view, group):
            first = first or group
    covers = [Cover(run[0], run[-1]) for run in runs(chosen)]
    return with_a_start(view, covers, {group.number for group in chosen})


def least(view: View) -> Iterator[list[Entry]]:
    """Yield the least that can be left: what may not be touched, and the newest step.

    First as it is, then with a text in the place of what went, where the model's answer would
    stand first.
    """
    newest = next((group.number for group in reversed(view.groups) if group.kind == "step"), -1)
    kept = [group for group in view.groups if not group.coverable or group.number == newest]
    if len(kept) == len(view.groups):
        return
    entries = [entry for group in kept for entry in view.entries_of(group)]
    yield entries
    gone = next(group for group in view.groups if group not in kept)
    start = Entry(view.entries[gone.first].ref, Message(role="user", content=NO_START), "cover")
    leading = sum(group.last - group.first + 1 for group in takewhile(_is_system, kept))
    yield [*entries[:leading], start, *entries[leading:]]


def _is_system(group: Group) -> bool:
    return group.kind == "system"
