"""Texts that stay texts: nothing said in a conversation can end a turn or begin another.

llama.cpp renders the whole conversation to one text and reads marks such as <|im_end|> in it as
tokens, wherever they come from. So marks that stand in messages are broken by an invisible
character. The same text always becomes the same, so prompts keep their common beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

WORD_JOINER: Final = "\u2060"
_KEPT: Final = frozenset({"role", "type"})
"""Fields that are not of the conversation."""


class PlainText:
    """Breaks the marks of one model."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        # The longest first: of two marks that begin alike, the whole one is taken.
        marks = sorted({token for token in control_tokens if len(token) > 1}, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, marks))) if marks else None

    def text(self, text: str) -> str:
        """Give a text in which no mark is left."""
        while self._marks is not None and self._marks.search(text):  # a mark may hold another one
            text = self._marks.sub(_broken, text)
        return text

    def value(self, value: Any) -> Any:
        """Give messages or tools with all their texts so treated, and the names of fields."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                self.text(key): each if key in _KEPT and isinstance(each, str) else self.value(each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self.value(each) for each in value]
        return value


def _broken(mark: re.Match[str]) -> str:
    return mark[0][0] + WORD_JOINER + mark[0][1:]
