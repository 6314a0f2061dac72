"""Names: what a text names — paths, identifiers, long numbers — so that it can be named again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_WORD: Final = re.compile(r"[\w.~@+:/\\-]{4,200}")
"""A run of the characters that names are made of. Longer ones are no names."""
_INNER_CAPITAL: Final = re.compile(r"[a-z0-9][A-Z]|[A-Z]{2}[a-z]")
LEAST_IDENTIFIER: Final = 8
LEAST_NUMBER: Final = 4


def names_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield kind and name, in order and with repetitions: "path", "identifier" or "number".

    A path has a separator, an identifier at least 8 characters with an underscore, an inner capital
    or a dot, a number at least 4 digits. Linear in the text.
    """
    for found in _WORD.finditer(text):
        word = found[0].strip(".:-+~@")
        kind = kind_of(word)
        if kind is not None:
            yield kind, word


def kind_of(word: str) -> str | None:
    """Give the kind of name that a word is, None if it is none."""
    if ("/" in word or "\\" in word) and any(map(str.isalnum, word)):
        return "path" if len(word) > LEAST_NUMBER else None
    if word.isdecimal():
        return "number" if len(word) >= LEAST_NUMBER else None
    if len(word) < LEAST_IDENTIFIER or not any(map(str.isalpha, word)):
        return None
    named = "_" in word or "." in word[1:-1] or _INNER_CAPITAL.search(word) is not None
    return "identifier" if named else None
