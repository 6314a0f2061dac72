r"""Facts: the names and numbers that a text holds, read in linear time.

A text is read as tokens: maximal runs of letters, digits and `_` (as Unicode has them), joined by
`. / ~ @ + % -`. A token is at most one fact, or splits into several:

- A **path** has at least two names with `/` between them (`.`, `..` and `~` are names too) and a
  letter in it. A Windows path begins with a drive, as in `C:\src\a.go`; doubled backslashes, as
  JSON writes them, are read as single ones.
- Any other token is split at `/ ~ @ + % -` and `..`. A piece is an **identifier** if it is 8
  characters or longer, begins with no digit, has a letter, and has a `_`, a dot, or a capital that
  is not its first character beside a small letter; a **number** if it is digits only (with dots
  between them, perhaps), 4 or more.

Punctuation at either end is dropped (`src/a.py.` is `src/a.py`); tokens of over 256 characters
are passed over. A backslash with n, r, t, b, f or uXXXX behind it parts tokens, as in
escaped JSON; a text that is a JSON object is read by its keys, strings and numbers. References
(`#12.0`) are passed over. Two facts are the same only if they are so literally, token by token:
`1234` does not stand in `12345`, nor `a.py` in `src/a.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from turnkeep.content import Item, Message, ToolCall, message_text
from turnkeep.optimize.reference import REFERENCE

MAX_LENGTH: Final = 256
"""Longer tokens are data (base64, minified code), not names."""
MIN_IDENTIFIER: Final = 8
MIN_DIGITS: Final = 4
MOST: Final = 200_000
"""Characters that are read of a text where only its names are wanted."""
TEXTS: Final = 20_000
HELD: Final = 10_000_000
"""Texts, and their characters, whose facts are remembered."""
REMEMBERED: Final = 50_000
"""Tokens whose judgement is kept: about 10 MB."""

_SEGMENT: Final = r"[\w.~@+%-]+"
# Every alternative takes its characters from one class at a time, so nothing is tried twice.
_TOKEN: Final = re.compile(
    rf"{REFERENCE}"
    r"|\\(?:[nrtbf]|u[0-9a-fA-F]{4})"
    rf"|[A-Za-z]:(?:(?:\\{{2,}}{_SEGMENT})+|(?:\\{_SEGMENT})+)"
    r"|[\w./~@+%-]+"
)
_JOINS: Final = re.compile(r"[/~@+%-]+|\.{2,}")
_BACKSLASHES: Final = re.compile(r"\\+")


class FactReader:
    """Reads facts; each distinct token is judged once."""

    def __init__(self) -> None:
        self._judged: dict[str, tuple[str, ...]] = {}
        self._texts: dict[str, frozenset[str]] = {}
        self._held = 0

    def read(self, text: str) -> frozenset[str]:
        """Give the facts of a text."""
        judged = self._judged
        if len(judged) > REMEMBERED:
            judged.clear()
        found: set[str] = set()
        for token in set(_TOKEN.findall(_plain(text))):
            facts = judged.get(token)
            if facts is None:
                facts = judged[token] = tuple(_facts_of(token))
            found.update(facts)
        return frozenset(found)

    def said(self, item: Item) -> frozenset[str]:
        """Give the facts that a model's own item quotes: its text, or its tool and arguments."""
        if isinstance(item, Message):
            return self.read(message_text(item))
        if isinstance(item, ToolCall):
            return self.read(item.name) | self.argued(item)
        return frozenset()

    def said_in(self, items: Iterable[Item]) -> set[str]:
        """Give the facts of all of a model's or a user's own items.

        Texts are remembered with their facts, so that who has read an item as it came in reads it
        at no cost when it goes.
        """
        found: set[str] = set()
        for item in items:
            kind = type(item)  # see ITEM_TYPES
            if kind is Message:
                found |= self._known(message_text(item))  # type: ignore[arg-type]  # it is one
            elif kind is ToolCall:
                assert isinstance(item, ToolCall)
                found |= self._known(item.name)
                for text in _values(item.arguments):
                    found |= self._known(text)
        return found

    def _known(self, text: str) -> frozenset[str]:
        known = self._texts.get(text)
        if known is None:
            self._held += len(text)
            if len(self._texts) >= TEXTS or self._held > HELD:
                self._texts.clear()
                self._held = len(text)
            known = self._texts[text] = self.read(text[:MOST])
        return known

    def argued(self, call: ToolCall) -> frozenset[str]:
        """Give the facts in a call's arguments: their values, not their names."""
        # A line end parts tokens, whatever stands on either side.
        return self.read("\n".join(_values(call.arguments)))


def facts_in(text: str) -> frozenset[str]:
    """Give the facts of one text."""
    return FactReader().read(text)


def _plain(text: str) -> str:
    """Give the strings and numbers of a text that is a JSON object, else the text itself."""
    if text.startswith("{") and text.endswith("}"):
        try:
            value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            return text
        return "\n".join(_values(value, keys=True))
    return text


def _values(value: object, *, keys: bool = False) -> Iterator[str]:
    """Give the strings and numbers in a JSON value; without recursion, as it may be deep."""
    waiting: list[object] = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict):
            if keys:
                yield from inner
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield json.dumps(inner)


def _facts_of(token: str) -> Iterable[str]:
    if token[0] in "#\\" or len(token) > MAX_LENGTH:
        return
    if ":" in token:
        yield _BACKSLASHES.sub(r"\\", token).rstrip(".-+~@%")
        return
    if "/" in token:
        path = token.lstrip("-+%").rstrip("./-+@%~")
        names = [name for name in path.split("/") if name]
        if len(names) > 1 and any(map(str.isalpha, path)):
            yield path
            return
    for piece in _JOINS.split(token):
        name = piece.strip(".")
        if _is_identifier(name) or _is_number(name):
            yield name


def _is_identifier(name: str) -> bool:
    if len(name) < MIN_IDENTIFIER or name[0].isdigit() or not any(map(str.isalpha, name)):
        return False
    if "_" in name or "." in name:
        return True
    return any(map(str.isupper, name[1:])) and any(map(str.islower, name))


def _is_number(name: str) -> bool:
    digits = name.replace(".", "")
    return len(digits) >= MIN_DIGITS and digits.isdecimal()
