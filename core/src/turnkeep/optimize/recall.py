"""Recall: the tool by which a model reads back what was taken out of its context.

It reads the session's own log, so there is nothing that could get lost or out of date. What was
taken back by its author, or erased, is not read back.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import (
    Item,
    Message,
    Ref,
    ToolCall,
    ToolDefinition,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)
from turnkeep.context import Context, Entry
from turnkeep.events import Event
from turnkeep.history import standing
from turnkeep.optimize.reference import mark, parse_reference
from turnkeep.optimize.shorten import Count, to_tokens

RECALL: Final = "recall"
"""The tool's name."""
LINE: Final = 300
"""Characters of a line that a search shows."""
HITS: Final = 200
"""Lines that a search finds at most."""
PATTERN: Final = 500
SECONDS: Final = 3.0
"""How long a search may take: a pattern can be made to take for ever."""

_DESCRIPTION: Final = (
    "Read back what was left out of this conversation; nothing is lost. `ref` is a reference such "
    "as #12.0; for a call it gives the arguments and the result. `lines` is a range such as 10-40. "
    "`pattern` is a regular expression: with `ref` it finds lines of that item, alone it searches "
    "everything."
)
DEFINITION: Final = ToolDefinition(
    name=RECALL,
    description=_DESCRIPTION,
    parameters={
        "type": "object",
        "properties": {
            "ref": {"type": "string"},
            "lines": {"type": "string"},
            "pattern": {"type": "string"},
        },
    },
)


class Answer(NamedTuple):
    """What the tool says; `failed`: it was asked for what there is not."""

    text: str
    failed: bool = False


def log_entries(events: Sequence[Event]) -> list[Entry]:
    """Give what stands of a whole log, each item as it was said, not as checkpoints have it."""
    return Context(standing(events)).entries


async def answer(
    arguments: Mapping[str, Any], entries: Sequence[Entry], *, cap: int, count: Count
) -> Answer:
    """Answer a call of the tool from the log, within `cap` tokens. Nothing of this raises."""
    ref, lines, pattern = (arguments.get(name) for name in ("ref", "lines", "pattern"))
    if pattern is not None and (not isinstance(pattern, str) or not 0 < len(pattern) <= PATTERN):
        return Answer(f"pattern must be a text of 1 to {PATTERN} characters", failed=True)
    texts = [(entry.ref, text_of(entry.item)) for entry in entries if not _own(entry.item)]
    if ref is not None:
        wanted = parse_reference(str(ref))
        if wanted is None:
            return Answer("ref must be a reference such as #12.0", failed=True)
        found = exchange(entries, wanted)
        if not found:
            return Answer(f"there is nothing (any more) at {mark(wanted)}", failed=True)
        texts = [(entry.ref, text_of(entry.item)) for entry in found]
    elif pattern is None:
        return Answer("give a ref, or a pattern to search for", failed=True)
    if pattern is not None:
        return await _search(pattern, texts, cap, count)
    return _read("\n".join(text for _, text in texts), lines, texts[0][0], cap, count)


def exchange(entries: Sequence[Entry], ref: Ref) -> list[Entry]:
    """Give what a reference recalls: the item, and for a call its result too."""
    place = next((n for n, entry in enumerate(entries) if entry.ref == ref), None)
    if place is None:
        return []
    asked = entries[place]
    if not isinstance(asked.item, ToolCall):
        return [asked]
    result = _results(entries[place:]).get(asked.ref)
    return [asked] if result is None else [asked, result]


def _results(entries: Sequence[Entry]) -> dict[Ref, Entry]:
    """Give each call's result: one answers the latest call with its id that is still open."""
    waiting: dict[str, list[Ref]] = {}
    found: dict[Ref, Entry] = {}
    for entry in entries:
        item = entry.item
        if isinstance(item, ToolCall):
            waiting.setdefault(item.tool_call_id, []).append(entry.ref)
        elif isinstance(item, ToolResult) and waiting.get(item.tool_call_id):
            found[waiting[item.tool_call_id].pop()] = entry
    return found


def text_of(item: Item) -> str:
    """Give an item as a text to read."""
    if isinstance(item, Message):
        return message_text(item)
    if isinstance(item, ToolCall):
        return f"{item.name} {compact_json(item.arguments)}"
    if isinstance(item, ToolResult):
        return result_text(item)
    return ""


def _own(item: Item) -> bool:
    return isinstance(item, ToolCall | ToolResult) and item.name == RECALL


def _read(text: str, lines: object, ref: Ref, cap: int, count: Count) -> Answer:
    if lines is not None:
        found = re.fullmatch(r"\s*(\d{1,9})\s*(?:[-:]\s*(\d{1,9}))?\s*", str(lines))
        if found is None:
            return Answer("lines must be a range such as 10-40", failed=True)
        first, last = int(found[1]), int(found[2] or found[1])
        every = text.split("\n")
        text = "\n".join(every[max(first, 1) - 1 : last])
        if not text:
            return Answer(f"it has {len(every)} lines; there is nothing at {lines}", failed=True)
    if not text.strip():
        return Answer("(it holds no text)")
    size = text.count("\n") + 1
    note = f"of {size} lines; ask for a range of lines" if size > 1 else ""
    return Answer(to_tokens(text, cap, ref, count, note))


async def _search(pattern: str, texts: Sequence[tuple[Ref, str]], cap: int, count: Count) -> Answer:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return Answer(f"the pattern is no regular expression: {error}", failed=True)
    if re.escape(pattern) == pattern or not any(c in r"\.^$*+?{}[]|()" for c in pattern):
        hits = _plainly(pattern, [text for _, text in texts])
    else:
        found = await _apart(pattern, [text for _, text in texts])
        if found is None:
            return Answer("the search took too long; use a simpler pattern", failed=True)
        hits = found
    if not hits:
        return Answer("nothing matches")
    lines = [f"{mark(texts[number][0])}:{line}: {text[:LINE]}" for number, line, text in hits]
    shown: list[str] = []
    for line, tokens in zip(lines, count(lines), strict=True):
        cap -= tokens + 1
        if cap < 0:
            break
        shown.append(line)
    if len(shown) < len(lines) or len(lines) == HITS:
        shown.append("(there is more: use a narrower pattern, or a ref)")
    return Answer("\n".join(shown))


Hit = tuple[int, int, str]
"""The number of a text, of a line in it (from 1), and the line."""


def _plainly(words: str, texts: Sequence[str]) -> list[Hit]:
    hits: list[Hit] = []
    for number, text in enumerate(texts):
        if words not in text:
            continue
        for at, line in enumerate(text.split("\n"), 1):
            if words in line:
                hits.append((number, at, line))
                if len(hits) == HITS:
                    return hits
    return hits


_SEARCHER: Final = """
import json, re, sys
pattern, texts, most = json.load(sys.stdin)
found = re.compile(pattern)
hits = []
for number, text in enumerate(texts):
    for at, line in enumerate(text.split("\\n"), 1):
        if len(hits) < most and found.search(line):
            hits.append((number, at, line))
json.dump(hits, sys.stdout)
"""


async def _apart(pattern: str, texts: Sequence[str]) -> list[Hit] | None:
    """Search in a process of its own, which can be ended; None where it takes too long.

    The model writes the pattern, and a pattern can keep a program busy for years.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        "-c",
        _SEARCHER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    asked = json.dumps([pattern, list(texts), HITS]).encode()
    try:
        async with asyncio.timeout(SECONDS):
            out, _ = await process.communicate(asked)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [(number, at, line) for number, at, line in json.loads(out)] if out else None
