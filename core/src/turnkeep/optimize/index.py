"""Index: what is known of all that a step took out of a context, and how that is chosen and told.

For each step of the agent that went there is a line with a reference by which `recall` reads it
back; beside them stand the names that came up. `notes` is made of both; a step of your own that
puts something else in place of groups can list them so, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.content import Message, Ref, ToolCall, ToolResult, compact_json, message_text
from turnkeep.context import Entry
from turnkeep.optimize.facts import FactReader
from turnkeep.optimize.reference import mark
from turnkeep.optimize.view import Group, View
from turnkeep.optimize.window import first_input

INDEX: Final = "Steps that were taken out, oldest first:"
KEPT_NAMES: Final = 800
KEPT_LINES: Final = 500
"""What is remembered of an index at most."""
NAME: Final = 64
"""Characters of a tool's name in a line: providers take no longer ones, a foreign log holds any."""
_PATH: Final = 1.5
_NUMBER: Final = 0.7
"""What a path and a number count, beside an identifier."""
_NEVER: Final = (0, 0)
_FADES: Final = 40.0
"""Groups after which a name counts half of what it did."""


@dataclass
class Index:
    """What is known of all that was taken out so far; kept with the checkpoint as JSON."""

    groups: int = 0
    """How many groups were taken out: the clock by which names fade."""
    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name → in how many groups it came up, and in which last."""
    lines: list[str] = field(default_factory=list)
    """One for each call or message, oldest first; each begins with its reference."""
    older: int = 0
    """Lines that are not kept any more."""

    @classmethod
    def of(cls, state: JsonValue) -> Index:
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
        return cls()

    def dump(self, ranked: Sequence[str]) -> dict[str, JsonValue]:
        """Give it as JSON, with the best of the names."""
        kept: list[JsonValue] = [*ranked[:KEPT_NAMES]]
        cut = max(len(self.lines) - KEPT_LINES, 0)
        return {
            "groups": self.groups,
            "names": kept,  # in columns: a list for each name would be read and checked alone
            "often": [self.names[name][0] for name in ranked[:KEPT_NAMES]],
            "last": [self.names[name][1] for name in ranked[:KEPT_NAMES]],
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

    def take(
        self, entries: Sequence[Entry], reader: FactReader, *, argument: int, quote: int
    ) -> None:
        """Take in a group: its names, and lines with so many characters of what was said."""
        self.groups += 1
        names = self.names
        for name in reader.said_in(entry.item for entry in entries):
            names[name] = names.get(name, _NEVER)[0] + 1, self.groups
        self.lines += _lines(entries, argument, quote)

    def listed(self, view: View, most: int) -> list[str]:
        """Give the lines that fit into so many tokens, from the end back, as they are kept."""
        return fitting(self.lines[::-1], most, view, "\n")[::-1]

    def told(self, lines: Sequence[str]) -> list[str]:
        """Write the index of which these lines are the end: its title, what is left out, them."""
        if not lines:
            return []
        left = self.older + len(self.lines) - len(lines)
        rest = f"({left} older ones are not listed; search for them by a pattern)"
        return [INDEX, *([rest] if left else []), *lines]


def oldest(
    view: View, *, most: int, keep_recent: int, target: int | None = None
) -> tuple[list[Group], int]:
    """Choose what to take out: the oldest groups, as many as are too much; and give their tokens.

    Up to `most` tokens will stand in their place. `target` is that of the view if it is None. Left
    alone are the user's first message, the newest `keep_recent` groups, and what may not be
    covered.
    """
    goal = view.target if target is None else target
    first = first_input(view)
    chosen: list[Group] = []
    taken = 0
    for group in view.before_recent(keep_recent):
        if view.tokens - taken + min(most, taken // 2) <= goal:
            break
        if group.coverable and group is not first:
            chosen.append(group)
            taken += group.tokens
    return chosen, taken


def example(lines: Sequence[str]) -> str:
    """Give the reference of the last line, to show what one looks like."""
    return lines[-1].split(" ", 1)[0] if lines else mark(Ref(1, 0))


def fitting(texts: Sequence[str], most: int, view: View, joint: str) -> list[str]:
    """Give as many of the texts as fit into so many tokens, from the first on."""
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


def clip(text: str, most: int) -> str:
    """Give the beginning of a text in one line of so many characters."""
    line = " ".join(text[: 4 * most + 4].split())
    return line if len(line) <= most else f"{line[:most]}…"


def _lines(entries: Sequence[Entry], argument: int, quote: int) -> Iterator[str]:
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
            said = clip(_first_argument(item.arguments), argument)
            yield f"{mark(ref)} {clip(item.name, NAME)} {said}".rstrip() + end
    for ref, item, _ in entries:
        if type(item) is Message and (item.role != "assistant" or not calls):
            who = "answer" if item.role == "assistant" else item.role
            said = clip(message_text(item), quote)
            yield f"{mark(ref)} {who}: {json.dumps(said, ensure_ascii=False)}"


def _weight(name: str) -> float:
    if "/" in name or "\\" in name:
        return _PATH
    return _NUMBER if name[0].isdigit() else 1.0


def _first_argument(arguments: Mapping[str, Any]) -> str:
    for value in arguments.values():
        return value if isinstance(value, str) else compact_json(value)
    return ""
