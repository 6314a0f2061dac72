"""`compact`: old results and arguments give way to their ends, or to a line of their tool's own."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.content import ToolCall, ToolResult, compact_json, result_text
from turnkeep.context import Entry
from turnkeep.optimize.edits import with_content
from turnkeep.optimize.plan import Edit, Plan, Replace
from turnkeep.optimize.recall import RECALL
from turnkeep.optimize.shorten import ends, gap, is_media, media_note, strings
from turnkeep.optimize.view import View

FIELD: Final = 200
"""Characters that an argument may bring into a template."""
RECALLED_KEEP: Final = 2
"""What was recalled counts as recent for so many times as long."""


class CompactOptions(BaseModel):
    """Which old results and arguments are shortened, and to what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_recent: int = Field(
        default=20, ge=0, description="Newest groups that are left as they are"
    )
    results: int = Field(default=150, ge=0, description="Tokens above which a result is shortened")
    head: int = Field(default=150, ge=0, description="Characters kept of a result's beginning")
    tail: int = Field(default=100, ge=0, description="Characters kept of a result's end")
    arguments: int = Field(
        default=300, ge=0, description="Characters above which a string in arguments is shortened"
    )
    argument_head: int = Field(default=200, ge=0, description="Characters kept of such a string")
    keep_errors: bool = Field(default=False, description="Leave the results of errors as they are")
    keep_tools: list[str] = Field(
        default=[],
        description="Tools left alone, such as those whose text is quoted word for word later",
        examples=[["edit_file"]],
    )
    rules: dict[str, str] = Field(
        default={},
        description="What stands for a tool's old result; {name} is an argument of the call",
        examples=[{"read_file": "File content from {file_path}. Re-read if needed."}],
    )


class Compact:
    """Shortens results, oldest first, then arguments, until the target is reached."""

    def __init__(self, options: CompactOptions) -> None:
        self._options = options

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        edits: list[Edit] = []
        saved = 0
        for batch in _batches(self._candidates(view)):
            counts = view.count([text for _, old, new in batch for text in (old, new)])
            for (replace, _, _), old, new in zip(batch, counts[::2], counts[1::2], strict=True):
                if view.tokens - saved <= view.target:
                    return Plan(edits) if edits else None
                saving = old - new
                item = replace.entry.item
                near = saving <= _NEAR  # texts are not all of an item
                if near or (isinstance(item, ToolResult) and any(map(is_media, item.content))):
                    saving = view.weigh(item) - view.weigh(with_content(item, replace.content))
                if saving > 0:
                    edits.append(replace)
                    saved += saving
        return Plan(edits) if edits else None

    def _candidates(self, view: View) -> Iterator[tuple[Replace, str, str]]:
        """Yield what could be put in place of what, with the old text and the new one."""
        options = self._options
        recent = view.before_recent(options.keep_recent)
        long_ago = len(view.before_recent(options.keep_recent * RECALLED_KEEP))
        entries = [
            entry
            for group in recent
            for entry in view.entries_of(group)
            if entry.form != "stub"
            and entry.ref not in view.fixed
            and type(entry.item) in (ToolCall, ToolResult)
            and view.weigh(entry.item)  # else it is not sent: its tool is not declared
            and entry.item.name not in options.keep_tools  # type: ignore[union-attr]
            and (entry.item.name != RECALL or group.number < long_ago)  # type: ignore[union-attr]
        ]
        calls = _calls(view) if options.rules else {}
        for entry in entries:
            if type(entry.item) is ToolResult:
                content = self._result(entry, entry.item, view, calls)
                if content is not None:
                    yield Replace(entry, content), result_text(entry.item), content[0]
        for entry in entries:
            if type(entry.item) is ToolCall:
                old, keep = entry.item.arguments, options.argument_head
                new = strings(old, options.arguments, keep, entry.ref)
                if new != old:
                    yield Replace(entry, new), compact_json(old), compact_json(new)

    def _result(
        self, entry: Entry, item: ToolResult, view: View, calls: Mapping[int, ToolCall]
    ) -> list[str] | None:
        options = self._options
        if view.weigh(item) <= options.results or (item.status == "error" and options.keep_errors):
            return None
        text = result_text(item)
        rule = options.rules.get(item.name)
        call = calls.get(id(item))
        if rule is not None and call is not None:
            filled = fill(rule, call.arguments)
            if filled is not None:
                return [f"{filled} {gap(len(text), entry.ref)}"]
        note = media_note(item.content)
        shorter = ends(text, options.head, options.tail, entry.ref, note)
        if shorter == text and note:
            shorter = f"{text}\n{gap(0, entry.ref, note)}".strip()
        return [shorter]


_BATCH: Final = 32
_NEAR: Final = 32


def _batches(
    candidates: Iterator[tuple[Replace, str, str]],
) -> Iterator[list[tuple[Replace, str, str]]]:
    """Put candidates together: many texts at once are counted sooner than one by one."""
    while batch := list(itertools.islice(candidates, _BATCH)):
        yield batch


def _calls(view: View) -> dict[int, ToolCall]:
    """Give the call of each result, by the result's identity: the latest that is still open.

    So does recall, and so are requests repaired: a stub must not name what another call asked for.
    """
    found: dict[int, ToolCall] = {}
    waiting: dict[str, list[ToolCall]] = {}
    for entry in view.entries:
        item = entry.item
        if type(item) is ToolCall:
            waiting.setdefault(item.tool_call_id, []).append(item)
        elif type(item) is ToolResult and waiting.get(item.tool_call_id):
            found[id(item)] = waiting[item.tool_call_id].pop()
    return found


def fill(template: str, arguments: Mapping[str, Any], *, missing: str | None = None) -> str | None:
    """Fill a template with a call's arguments; None where the template is bad.

    What is missing becomes `missing`; without that, it is None as well.

    Only plain names are understood: a template cannot reach into objects, and what an argument
    brings along is cut and set in one line.
    """
    texts: list[str] = []
    try:
        fields = list(string.Formatter().parse(template))
    except ValueError:
        return None
    for literal, name, spec, conversion in fields:
        texts.append(literal)
        if name is None:
            continue
        if spec or conversion or (name not in arguments and missing is None):
            return None
        value = arguments.get(name, missing)
        said = value if isinstance(value, str) else compact_json(value)
        said = " ".join(said.split())
        texts.append(said if len(said) <= FIELD else f"{said[:FIELD]}…")
    return "".join(texts)
