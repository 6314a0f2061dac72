"""Work: what one rewrite has to summarize, chosen from a view, before any model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from turnkeep.content import Item, Message, Ref, ToolCall, message_text
from turnkeep.model import ModelRequest
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.index import Index, clip
from turnkeep.optimize.reference import parse_reference, references
from turnkeep.optimize.shorten import Count
from turnkeep.optimize.view import Group, View
from turnkeep_memory_summarize.kept import Kept
from turnkeep_memory_summarize.options import SummarizeOptions
from turnkeep_memory_summarize.record import Record, records_of, records_of_lines
from turnkeep_memory_summarize.scripts import scripts_of

_QUOTE: Final = 160


@dataclass(frozen=True)
class Work:
    """What a model is asked to summarize."""

    previous: str | None
    records: Sequence[Record]
    """What is new, oldest first."""
    room: int
    """Tokens of the summary at most."""
    scripts: Counter[str]
    """The letters that the conversation is written in."""
    known: frozenset[Ref]
    """What a reference in a summary may name."""
    kept: str
    """Where in the conversation that ends which is to be summarized."""
    session: str
    count: Count
    extended: Callable[[Sequence[Item]], ModelRequest] | None


def index_with(
    index: Index, groups: Sequence[Group], view: View, reader: FactReader, opts: SummarizeOptions
) -> tuple[Index, list[int]]:
    """Give the index with these groups in it too, and how many lines each of them has."""
    known = Index(index.groups, dict(index.names), list(index.lines), index.older)
    lines: list[int] = []
    for group in groups:
        before = len(known.lines)
        if group.kind == "cover":  # another step's: the lines of its index stay in ours
            known.lines += _lines_in(view, group)
        else:
            known.take(view.entries_of(group), reader, argument=opts.argument, quote=opts.quote)
        lines.append(len(known.lines) - before)
    return known, lines


def work_on(
    view: View,
    kept: Kept,
    groups: Sequence[Group],
    lines: Sequence[int],
    room: int,
) -> Work:
    """Make the work of summarizing groups behind what a summary holds already."""
    records = list(records_of_lines(kept.index.lines[len(kept.index.lines) - kept.behind :]))
    for group, listed in zip(groups, lines, strict=True):
        entries = view.entries_of(group)
        # What costs twice and is remembered worse: what the summary so far was made of.
        assert not any(kept.covers(e.ref) for e in entries if e.form != "cover"), "summarized twice"
        records += records_of(entries, listed)
    last = max((group.number for group in groups), default=-1)
    told = [message_text(each) for each in _messages(view, view.groups)]
    return Work(
        previous=kept.summary,
        records=records,
        room=room,
        scripts=scripts_of(told),
        known=_known(view, kept, groups, records),
        kept=_where(view, last + 1),
        session=view.session,
        count=view.count,
        extended=view.extended,
    )


def _known(
    view: View, kept: Kept, groups: Sequence[Group], records: Sequence[Record]
) -> frozenset[Ref]:
    texts = [kept.summary or "", *kept.index.lines, *(record.line for record in records)]
    found = set(references("\n".join(texts)))
    found |= {e.ref for group in groups for e in view.entries_of(group) if e.form != "cover"}
    return frozenset(found)


def _lines_in(view: View, group: Group) -> list[str]:
    [entry] = view.entries_of(group)
    assert isinstance(entry.item, Message)
    return [
        line
        for line in message_text(entry.item).split("\n")
        if line.startswith("#") and parse_reference(line.split(" ", 1)[0])
    ]


def _messages(view: View, groups: Sequence[Group]) -> list[Message]:
    return [
        entry.item
        for group in groups
        for entry in view.entries_of(group)
        if isinstance(entry.item, Message)
        and entry.form == "whole"
        and entry.item.role in ("user", "assistant")
    ]


def _where(view: View, number: int) -> str:
    """Say where that begins which stays, so that it is found in the conversation."""
    if number >= len(view.groups):
        return "all of the conversation above"
    for group in view.groups[number:]:
        for entry in view.entries_of(group):
            item = entry.item
            if isinstance(item, Message) and item.role in ("user", "assistant"):
                said = clip(message_text(item), _QUOTE)
                if said:
                    return _before(f"where the {item.role} says: “{said}”")
            if isinstance(item, ToolCall):
                return _before(f"where the assistant calls {item.name} ({item.tool_call_id})")
    return "all of the conversation above"


def _before(where: str) -> str:
    return (
        f"all of the conversation above up to the place {where}\nFrom there on everything is kept "
        "as it is: it is no part of the summary"
    )
