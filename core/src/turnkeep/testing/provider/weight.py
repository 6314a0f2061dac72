"""Weight: how many tokens a request has by the server's own count.

It shares nothing with the formulas that turnkeep counts by, only the counter of texts: every text
of the body, and a fixed frame for each message, block and tool. So it is a provider that counts a
little differently, as providers do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from turnkeep.content import compact_json
from turnkeep.testing.provider.dialect import words
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.memo import Memo

REQUEST: Final = 3
FRAME: Final = 4
"""Of each message, tool and system text."""
MEDIA: Final = 1_000
"""Of each picture and document, whatever its size."""
_AS_JSON: Final = frozenset(
    {"input", "args", "response", "parameters", "input_schema", "parametersJsonSchema"}
)
_MEDIA: Final = frozenset({"data", "image_url", "file_data", "file_url", "url", "fileUri"})
_UNCOUNTED: Final = words(
    """
    type role id call_id tool_call_id tool_use_id signature thoughtSignature encrypted_content
    cache_control status detail media_type mimeType thought strict is_error
    """
)


class Scale:
    """Weighs parts of requests with a counter; each text is counted once."""

    def __init__(self, counter: TokenCounter) -> None:
        self._memo = Memo(counter)

    def texts(self, texts: list[str], model: str) -> int:
        """Count texts."""
        return sum(counter_for(self._memo, model).count_texts(texts))

    def part(self, part: Any, model: str) -> int:
        """Weigh a message, a tool, or a block of system text."""
        media: list[str] = []
        texts = list(_texts(part, media))
        return FRAME + MEDIA * len(media) + self.texts(texts, model)


def _texts(value: Any, media: list[str]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below, media)
    elif isinstance(value, dict):
        for key, below in value.items():
            if key in _AS_JSON and not isinstance(below, str):
                yield compact_json(below)
            elif key in _MEDIA and below:
                media.append(key)
            elif key not in _UNCOUNTED:
                yield from _texts(below, media)
