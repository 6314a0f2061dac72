"""Logs as lines of JSON: what can be read, where it stands, and what was left out and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from turnkeep.formats.profile import Wire

SHOWN: Final = 3
"""Faults that are told one by one; the others are counted."""
SHOWN_KINDS: Final = 6
LONGEST_WORD: Final = 40


class Entry(NamedTuple):
    """One JSON object of a log, and where it begins, as FILE:LINE."""

    where: str
    value: Wire


class Notes:
    """What of a log is not in the sessions that were made of it."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.faults: list[tuple[str, str]] = []

    def leave_out(self, what: str) -> None:
        """Count something that has no place in a session."""
        self.left_out[what] += 1

    def leave_out_kind(self, kind: object) -> None:
        """Count a line by its type, which is whatever the file says."""
        said = repr(kind)
        said = said if len(said) <= LONGEST_WORD else said[:LONGEST_WORD] + "…"
        self.leave_out(f"lines of type {said}")

    def fault(self, where: str, problem: object) -> None:
        """Note what could not be read."""
        self.faults.append((where, str(problem)))

    def sentences(self) -> Iterator[str]:
        """Say what was left out, and what could not be read."""
        if self.left_out:
            common = self.left_out.most_common()
            said = [f"{what} ({count:,})" for what, count in common[:SHOWN_KINDS]]
            if rest := sum(count for _, count in common[SHOWN_KINDS:]):
                said.append(f"others ({rest:,})")
            yield f"left out: {', '.join(said)}"
        for where, problem in self.faults[:SHOWN]:
            yield f"{where}: left out: {problem}"
        if (rest := len(self.faults) - SHOWN) > 0:
            yield f"{rest:,} more could not be read"


def read_entries(text: str, source: str, notes: Notes) -> list[Entry]:
    """Read the objects of a log: a line each, or one document, or several in a row.

    What cannot be read is noted and passed over: a log is cut off where its writer died.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    made: list[Entry] = []
    for place, (number, line) in enumerate(lines):
        where = f"{source}:{number}"
        try:
            value = parse(line)
        except (ValueError, RecursionError) as error:
            if place == 0 and (documents := _documents(text, source, notes)):
                return documents
            cut = place == len(lines) - 1 and not text.endswith("\n")
            notes.fault(where, "the line is cut off" if cut else f"not JSON: {_reason(error)}")
            continue
        _take(value, where, made, notes)
    return made


def parse(text: str) -> Any:
    """Read JSON strictly, but for halves of surrogate pairs: logs cut texts anywhere.

    Raises ValueError, RecursionError.
    """
    return _whole(text, _DECODER.decode(text.strip()))


def _documents(text: str, source: str, notes: Notes) -> list[Entry]:
    """Read JSON documents that span lines; none if the text does not begin with one."""
    made: list[Entry] = []
    place, line, counted = 0, 1, 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        line, counted = line + text.count("\n", counted, place), place
        where = f"{source}:{line}"
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            if made:
                notes.fault(where, f"not JSON: {_reason(error)}")
            break
        _take(_whole(text[place:end], value), where, made, notes)
        place = end
    return made


def _take(value: Any, where: str, made: list[Entry], notes: Notes) -> None:
    """Take an object in, or those of a list; a list of messages is one body."""
    if isinstance(value, dict):
        har = value.get("log")
        if isinstance(har, dict) and isinstance(har.get("entries"), list):
            value = har["entries"]  # a HAR file, as proxies and browsers export
        else:
            made.append(Entry(where, value))
            return
    if not isinstance(value, list):
        notes.leave_out("values that are no objects")
    elif value and all(isinstance(each, dict) and "role" in each for each in value):
        made.append(Entry(where, {"messages": value}))
    else:
        for number, each in enumerate(value):
            if isinstance(each, dict):
                made.append(Entry(f"{where}[{number}]", each))
            else:
                notes.leave_out("values that are no objects")


def _whole(text: str, value: Any) -> Any:
    """Put U+FFFD for each half of a surrogate pair that was written as an escape."""
    if "\\ud" not in text and "\\uD" not in text:
        return value
    plain = json.dumps(value, ensure_ascii=False)
    return json.loads(plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _reason(error: Exception) -> str:
    """Say a fault without what the line holds."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:80]


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
