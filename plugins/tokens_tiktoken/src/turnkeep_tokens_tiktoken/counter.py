"""The counter: tiktoken's counts, by the quicker toktok wherever the two are known to agree.

Both cut a text by a pattern over classes of characters and merge by the same vocabulary. They
differ in the Unicode version of their classes, and in one rule: tiktoken takes the long s (ſ) for
an s in `'s`. Over all code points and 300,000 hostile strings nothing else was found, so a text
without such characters is counted by toktok, 15 times quicker, and any other by tiktoken
(`docs/tokens.md` has the figures; the differential test is in the plugin's tests).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from turnkeep_tokens_tiktoken.vocabulary import CARRIED, encoding_name, quick, reference

LONG_S: Final = "\u017f"
MAX_PIECE: Final = 10_000
"""Characters without a word's end that tiktoken is given; its regular expression gives up (a panic)
on some runs of 100,000."""

# Assigned by Unicode 17, the version of toktok's tables; those of tiktoken 0.14 are of Unicode 16.
_NEW: Final = (
    (0x88F, 0x88F), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0x1ACF, 0x1ADD), (0x1AE0, 0x1AEB),
    (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4), (0xA7F1, 0xA7F1), (0x10940, 0x10959),
    (0x10EC5, 0x10EC7), (0x10EFA, 0x10EFB), (0x11B60, 0x11B67), (0x11DB0, 0x11DDB),
    (0x11DE0, 0x11DE9), (0x16EA0, 0x16EB8), (0x16EBB, 0x16ED3), (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF), (0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1E6C0, 0x1E6DE),
    (0x1E6E0, 0x1E6F5), (0x1E6FE, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479),
)  # fmt: skip

_WORD_END: Final = re.compile(r"(?<=[A-Za-z0-9])(?=[ \n])")
"""Where a piece of the pattern always ends, whatever stands around: counts add up across it."""


class TiktokenCounter:
    """Counts tokens of one of OpenAI's encodings; `follow_models`: of the one of each model."""

    def __init__(self, encoding: str = "o200k_base", *, follow_models: bool = False) -> None:
        self.encoding = encoding
        self.name = f"tiktoken:{encoding}"
        self._follow_models = follow_models

    def for_model(self, model: str) -> TiktokenCounter:
        """Give the counter for a model: by its own encoding, if models are followed and it is known."""
        encoding = encoding_name(model) if self._follow_models else None
        if encoding not in CARRIED or encoding == self.encoding:
            return self
        return TiktokenCounter(encoding, follow_models=True)

    def exact(self, model: str) -> bool:
        """Say whether the model is known to use this encoding."""
        return encoding_name(model) == self.encoding

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Give the tokens of each text; special tokens such as <|endoftext|> count as plain text."""
        tokenizer = quick(self.encoding)
        counts = [0] * len(texts)
        plain: list[str] = []
        places: list[int] = []
        for place, text in enumerate(texts):
            if text.isascii():
                plain.append(text)
                places.append(place)
                continue
            whole = _without_surrogates(text)
            for run, odd in _runs(whole):
                if odd and len(run) <= MAX_PIECE:
                    counts[place] += len(reference(self.encoding).encode_ordinary(run))
                else:
                    plain.append(run)
                    places.append(place)
        for place, count in zip(places, tokenizer.count_batch(plain, 1), strict=True):
            counts[place] += count
        return counts


def _without_surrogates(text: str) -> str:
    """Put U+FFFD for halves of surrogate pairs, and the character for whole ones, as tiktoken does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text where counts add up, so that odd characters stand in short runs of their own."""
    if not any(map(_odd, set(text))):
        yield text, False
        return
    start = end = 0
    for piece in _WORD_END.split(text):
        if any(map(_odd, set(piece))):
            if start < end:
                yield text[start:end], False
            yield piece, True
            start = end + len(piece)
        end += len(piece)
    if start < end:
        yield text[start:end], False


@lru_cache(1 << 14)
def _odd(character: str) -> bool:
    """Say whether the two tokenizers may take a character differently."""
    if character == LONG_S or unicodedata.category(character) == "Cn":
        return True
    code = ord(character)
    return any(first <= code <= last for first, last in _NEW)
