"""Scripts: in which letters a conversation is written, to see a summary in another language."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

LEAST: Final = 40
"""Letters below which nothing is said of a text."""
ALLOWED: Final = 0.2
"""Of a conversation's letters, the share from which a script is one of its own."""
_READ: Final = 2_000
"""Characters that are read of each text."""
_CODE: Final = re.compile(r"`[^`\n]*`|[\w./~@+%\\-]*[\d_./\\@][\w./~@+%\\-]*")
"""Names of files and functions are Latin in any language."""
_DENSE: Final = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
"""Scripts in which a letter says about as much as three do elsewhere."""


def scripts_of(texts: Iterable[str]) -> Counter[str]:
    """Count the letters of texts by script, without names of files and functions."""
    found: Counter[str] = Counter()
    for text in texts:
        for letter, often in Counter(_CODE.sub(" ", text[:_READ])).items():
            if letter.isalpha() and (script := _script(letter)):
                found[script] += often * (3 if script in _DENSE else 1)
    return found


def foreign(summary: str, conversation: Counter[str]) -> str | None:
    """Give the script that a summary is mostly written in, if it is none of the conversation's."""
    told = scripts_of(summary.split("\n"))
    if told.total() < LEAST or conversation.total() < LEAST:
        return None
    [(script, _)] = told.most_common(1)
    own = conversation[script] / conversation.total()
    return None if own >= ALLOWED else script.capitalize()


@lru_cache(4096)
def _script(letter: str) -> str:
    """Give the first word of a character's name in Unicode, which is that of its script."""
    name = unicodedata.name(letter, "").split(" ")
    return name[1] if name[0] in ("FULLWIDTH", "HALFWIDTH") and len(name) > 1 else name[0]
