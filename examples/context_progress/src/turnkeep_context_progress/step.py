"""The step: lines that only show progress, or repeat the one before, give way to one note."""

from __future__ import annotations

import re

from turnkeep.content import ToolResult, result_text
from turnkeep.context import Entry
from turnkeep.optimize.plan import Plan, Replace
from turnkeep.optimize.shorten import gap
from turnkeep.optimize.view import View

_BAR = re.compile(r"^[^\n]{0,40}?\d{1,3}(?:\.\d)?%[^\n]{0,120}$|^[\s#=>.\-|\u2588]{8,}$")


class Progress:
    """Shortens old results, oldest first, until the target is reached."""

    def __init__(self, keep_recent: int) -> None:
        self._keep_recent = keep_recent

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `turnkeep.optimize.plan.Optimizer`)."""
        edits: list[Replace] = []
        saved = 0
        for group in view.before_recent(self._keep_recent):
            for entry in view.entries_of(group):
                if view.tokens - saved <= view.target:
                    return Plan(edits) if edits else None
                item = entry.item
                if not isinstance(item, ToolResult) or entry.ref in view.fixed:
                    continue
                text = _without_noise(entry)
                if text is None:
                    continue
                saving = view.tokens_of(entry) - view.weigh(
                    item.model_copy(update={"content": [text]})
                )
                if saving > 0:
                    edits.append(Replace(entry, [text]))
                    saved += saving
        return Plan(edits) if edits else None


def _without_noise(entry: Entry) -> str | None:
    """Give a result's text without its noise; None where there is none, or more than text."""
    item = entry.item
    if entry.form != "whole" or not isinstance(item, ToolResult):
        return None
    if not all(isinstance(piece, str) for piece in item.content):
        return None
    whole = result_text(item)
    kept: list[str] = []
    for line in re.split(r"[\r\n]+", whole):
        if not _BAR.match(line) and (not kept or line != kept[-1]):
            kept.append(line)
    text = "\n".join(kept)
    if len(text) == len(whole):
        return None
    note = gap(len(whole) - len(text), entry.ref, "progress and repeated lines")
    return f"{text}\n{note}".strip()
