"""Kept: what the step notes with a checkpoint, for its next run, also in another process."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue

from turnkeep.content import Message, Ref, message_text
from turnkeep.context import Entry
from turnkeep.optimize.index import Index
from turnkeep.optimize.view import Group, View

Span = tuple[Ref, Ref]
"""The first and the last reference of a run that is covered."""


@dataclass(frozen=True)
class Kept:
    """The summary so far, and what it stands for."""

    summary: str | None = None
    index: Index = field(default_factory=Index)
    behind: int = 0
    """How many lines at the end of the index the summary knows nothing of."""
    cover: Ref | None = None
    """Where the text stands that holds it."""
    digest: str = ""
    """Of that text: another one in its place is not ours."""
    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, state: JsonValue) -> Kept:
        """Read what `dump` gave; empty for anything else."""
        match state:
            case {
                "summary": str() | None as summary,
                "index": dict() as index,
                "behind": int(behind),
                "cover": [int(seq), int(place)],
                "digest": str(digest),
                "spans": list(spans),
            }:
                read = tuple(span for each in spans if (span := _span(each)) is not None)
                known = Index.of(index)
                behind = min(max(behind, 0), len(known.lines))
                return cls(summary, known, behind, Ref(seq, place), digest, read)
        return cls()

    def dump(self, ranked: Sequence[str]) -> JsonValue:
        """Give it as JSON."""
        assert self.cover is not None
        return {
            "summary": self.summary,
            "index": self.index.dump(ranked),
            "behind": self.behind,
            "cover": list(self.cover),
            "digest": self.digest,
            "spans": [[*first, *last] for first, last in self.spans],
        }

    def standing(self, view: View) -> tuple[Kept, Group | None]:
        """Give what of it holds in a view, and the group of its text.

        If the text is gone, only the index of what may be read back is left.
        """
        for group in view.groups:
            entry = view.entries[group.first]
            if group.kind == "cover" and entry.ref == self.cover and self.is_text(entry):
                return self, group
        return Kept(index=self.index, behind=len(self.index.lines)), None

    def is_text(self, entry: Entry) -> bool:
        """Say whether an entry is the text that was put there."""
        assert isinstance(entry.item, Message)
        return digest_of(message_text(entry.item)) == self.digest

    def covers(self, ref: Ref) -> bool:
        """Say whether an item is among those that the summary stands for."""
        return any(first <= ref <= last for first, last in self.spans)

    def covering(self, text: str, groups: Sequence[Group], view: View, own: Group | None) -> Kept:
        """Give it with a new text in place of groups, one of which held the old one."""
        new = [e.ref for group in groups if group is not own for e in view.entries_of(group)]
        covered = {group.number for group in groups}
        others = [
            entry.ref
            for group in view.groups
            if group.number not in covered and group.kind != "cover"
            for entry in view.entries_of(group)
        ]
        spans = _joined([*self.spans, *((ref, ref) for ref in new)], others)
        first = view.entries[groups[0].first].ref
        return replace(self, cover=first, digest=digest_of(text), spans=spans)


def digest_of(text: str) -> str:
    """Give a text's mark, by which it is known again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _span(value: Any) -> Span | None:
    match value:
        case [int(a), int(b), int(c), int(d)]:
            return Ref(a, b), Ref(c, d)
    return None


def _joined(spans: Iterable[Span], others: Collection[Ref]) -> tuple[Span, ...]:
    """Put spans together between which nothing stands that is not covered."""
    marks = sorted([*((first, last) for first, last in spans), *((ref, None) for ref in others)],
                   key=lambda each: each[0])  # fmt: skip
    joined: list[Span] = []
    parted = True
    for first, last in marks:
        if last is None:
            parted = True
        elif parted:
            joined.append((first, last))
            parted = False
        else:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
    return tuple(joined)
