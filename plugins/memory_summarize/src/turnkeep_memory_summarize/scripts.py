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
_KANA: Final = {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}
_JAPANESE: Final = {"CJK", *_KANA}
"""Scripts that Japanese is written in, all at once. Korean needs no such thing: hanja are rare."""
_LEAST_KANA: Final = 0.05
"""Of the letters of these, the share of kana above which it is Japanese, not Chinese with a の."""


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
    if _is_japanese(conversation):
        told, conversation = _as_one(told), _as_one(conversation)
    [(script, _)] = told.most_common(1)
    own = conversation[script] / conversation.total()
    return None if own >= ALLOWED else script.capitalize()


def _is_japanese(scripts: Counter[str]) -> bool:
    """Say whether there are kana among these, more than a sign that was quoted."""
    kana = sum(scripts[each] for each in _KANA)
    return kana > _LEAST_KANA * sum(scripts[each] for each in _JAPANESE)


def _as_one(scripts: Counter[str]) -> Counter[str]:
    """Count the scripts of Japanese as one: how they are mixed says nothing of the language."""
    merged: Counter[str] = Counter()
    for script, often in scripts.items():
        merged["JAPANESE" if script in _JAPANESE else script] += often
    return merged


@lru_cache(4096)
def _script(letter: str) -> str:
    """Give the first word of a character's name in Unicode, which is that of its script."""
    name = unicodedata.name(letter, "").split(" ")
    if name[0] == "IDEOGRAPHIC":  # the sign 々, which repeats one
        return "CJK"
    return name[1] if name[0] in ("FULLWIDTH", "HALFWIDTH") and len(name) > 1 else name[0]
