"""`notes`: the oldest groups give way to a list of the names they used and an index of their steps.

No model is asked. The names are those of the agent's own calls and texts and of the user's; each
line of the index is a reference by which `recall` reads the step back. Together they stand where
the groups stood, as one message of the user's role, and grow as more groups join them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult, compact_json, message_text
from turnkeep.context import Entry
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.plan import Cover, Plan
from turnkeep.optimize.reference import mark
from turnkeep.optimize.view import Group, View
from turnkeep.optimize.window import first_input, runs

HEADER: Final = (
    "[Earlier steps were taken out of this context; they are kept in the log. A reference such as "
    "{} names one.]"
)
NAMES: Final = "Names that came up: "
INDEX: Final = "Steps that were taken out, oldest first:"
_KEPT_NAMES: Final = 800
_KEPT_LINES: Final = 500
_PATH: Final = 1.5
_NUMBER: Final = 0.7
"""What a path and a number count, beside an identifier."""
_NEVER: Final = (0, 0)
_FADES: Final = 40.0
"""Groups after which a name counts half of what it did."""


class NotesOptions(BaseModel):
    """How much may stand in place of what is taken out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_recent: int = Field(default=3, ge=1, description="Newest groups that are never taken out")
    names: int = Field(default=3_000, ge=0, description="Tokens for the list of names")
    index: int = Field(default=4_000, ge=0, description="Tokens for the index of steps")
    share: float = Field(
        default=0.15, gt=0, le=1, description="Of what can shrink, the most that both may take"
    )
    argument: int = Field(default=70, ge=0, description="Characters of an argument in the index")
    quote: int = Field(default=160, ge=0, description="Characters of a message in the index")


@dataclass
class _Memory:
    """What is known of all that was taken out so far; kept with the checkpoint as JSON."""

    groups: int
    """How many groups were taken out: the clock by which names fade."""
    names: dict[str, tuple[int, int]]
    """Name → in how many groups it came up, and in which last."""
    lines: list[str]
    older: int
    """Lines that are not kept any more."""

    @classmethod
    def of(cls, state: JsonValue) -> _Memory:
        """Read what `dump` gave; empty for anything else."""
        match state:
            case {
                "groups": int(groups),
                "names": list(names),
                "often": list(often),
                "last": list(last),
                "lines": list(lines),
                "older": older,
            }:
                kept = {
                    name: (times, group)
                    for name, times, group in zip(names, often, last, strict=False)
                    if (type(name), type(times), type(group)) == (str, int, int)
                }
                told = [line for line in lines if isinstance(line, str)]
                return cls(groups, kept, told, older if isinstance(older, int) else 0)
        return cls(0, {}, [], 0)

    def dump(self, ranked: Sequence[str]) -> JsonValue:
        """Give it as JSON, with the best of the names."""
        kept: list[JsonValue] = [*ranked[:_KEPT_NAMES]]
        cut = max(len(self.lines) - _KEPT_LINES, 0)
        return {
            "groups": self.groups,
            "names": kept,  # in columns: a list for each name would be read and checked alone
            "often": [self.names[name][0] for name in ranked[:_KEPT_NAMES]],
            "last": [self.names[name][1] for name in ranked[:_KEPT_NAMES]],
            "lines": list(self.lines[cut:]),
            "older": self.older + cut,
        }

    def ranked(self) -> list[str]:
        """Give the names by how likely they are to come up again; equal ones in a fixed order."""
        now = self.groups
        ranks = {
            name: ((1 + often) / (1 + (now - last) / _FADES) * _weight(name), name)
            for name, (often, last) in self.names.items()
        }
        return sorted(ranks, key=ranks.__getitem__, reverse=True)


def _weight(name: str) -> float:
    if "/" in name or "\\" in name:
        return _PATH
    return _NUMBER if name[0].isdigit() else 1.0


class Notes:
    """Covers the oldest groups until the target is reached."""

    def __init__(self, options: NotesOptions) -> None:
        self._options = options
        self._reader = FactReader()

    def saw(self, item: Item) -> None:
        """Read an item as it comes in (see `Optimizer`)."""
        self._reader.said_in([item])

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        most = min(
            self._options.names + self._options.index,
            int(self._options.share * (view.limit - view.standing)),
        )
        old, taken = self._oldest(view, most)
        new = [group for group in old if group.kind != "cover"]
        if not new:
            return None
        memory = _Memory.of(view.state)
        for group in new:
            self._take(memory, view.entries_of(group))
        ranked = memory.ranked()
        text = self._text(memory, ranked, view, min(most, taken * 2 // 3))
        if view.weigh(Message(role="user", content=text)) >= taken:
            return None  # they are too small to be worth it
        parts = runs(old)
        edits = [
            Cover(run[0], run[-1], text if number == 0 else None)
            for number, run in enumerate(parts)
        ]
        return Plan(
            edits, memory.dump(ranked), {"groups": len(new), "groups_in_all": memory.groups}
        )

    def _oldest(self, view: View, most: int) -> tuple[list[Group], int]:
        """Choose what to take out: the oldest, as much as is too much; and give its tokens."""
        first = first_input(view)
        chosen: list[Group] = []
        taken = 0
        for group in view.before_recent(self._options.keep_recent):
            if view.tokens - taken + min(most, taken // 2) <= view.target:
                break
            if group.coverable and group is not first:
                chosen.append(group)
                taken += group.tokens
        return chosen, taken

    def _take(self, memory: _Memory, entries: Sequence[Entry]) -> None:
        memory.groups += 1
        names = memory.names
        for name in self._reader.said_in(entry.item for entry in entries):
            names[name] = names.get(name, _NEVER)[0] + 1, memory.groups
        memory.lines += self._lines(entries)

    def _lines(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Write the lines of one group: one a call, or one a message."""
        failed = {
            entry.item.tool_call_id
            for entry in entries
            if type(entry.item) is ToolResult and entry.item.status == "error"
        }
        calls = False
        for ref, item, _ in entries:
            if type(item) is ToolCall:
                calls = True
                end = " (failed)" if item.tool_call_id in failed else ""
                said = _clip(_first_argument(item.arguments), self._options.argument)
                yield f"{mark(ref)} {item.name} {said}".rstrip() + end
        for ref, item, _ in entries:
            if type(item) is Message and (item.role != "assistant" or not calls):
                who = "answer" if item.role == "assistant" else item.role
                said = _clip(message_text(item), self._options.quote)
                yield f"{mark(ref)} {who}: {json.dumps(said, ensure_ascii=False)}"

    def _text(self, memory: _Memory, ranked: Sequence[str], view: View, most: int) -> str:
        """Write the message within so many tokens: names by rank, the index from its end back."""
        options = self._options
        for_names = min(
            options.names, most * options.names // max(options.names + options.index, 1)
        )
        names = _fitting(ranked, for_names, view, ", ")
        used = sum(view.count([f"{name}, " for name in names]))
        lines = _fitting(memory.lines[::-1], min(options.index, most - used), view, "\n")[::-1]
        example = lines[-1].split(" ", 1)[0] if lines else mark(Ref(1, 0))
        parts = [HEADER.format(example)]
        if names:
            parts.append(NAMES + ", ".join(sorted(names)))
        if lines:
            left = memory.older + len(memory.lines) - len(lines)
            parts.append(INDEX)
            if left:
                parts.append(f"({left} older ones are not listed; search for them by a pattern)")
            parts += lines
        return "\n".join(parts)


def _first_argument(arguments: Mapping[str, Any]) -> str:
    for value in arguments.values():
        return value if isinstance(value, str) else compact_json(value)
    return ""


def _clip(text: str, most: int) -> str:
    """Give the beginning of a text in one line."""
    line = " ".join(text[: 4 * most + 4].split())
    return line if len(line) <= most else f"{line[:most]}…"


def _fitting(texts: Sequence[str], most: int, view: View, joint: str) -> list[str]:
    """Give as many of the texts as fit, from the first on."""
    kept: list[str] = []
    block = 64
    for start in range(0, len(texts), block):
        part = texts[start : start + block]
        for text, tokens in zip(part, view.count([text + joint for text in part]), strict=True):
            most -= tokens
            if most < 0:
                return kept
            kept.append(text)
    return kept
