"""The counter: tiktoken's counts, by the quicker toktok wherever the two are known to agree.

Both cut a text by a pattern over classes of characters and merge by the same vocabulary. They
differ in the Unicode version of their classes, and in one rule: tiktoken takes the long s (U+017F)
for an s in `'s`. Swept over all code points, and over hostile strings, nothing else was found. So
only the pieces that hold one of these are counted by tiktoken, and everything else by toktok
(`docs/tokens.md` has the figures; the proofs are in the plugin's tests).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final

from turnkeep_tokens_tiktoken.vocabulary import CARRIED, count_quickly, encoding_name, reference

DEFAULT: Final = "o200k_base"
MAX_PIECE: Final = 50_000
"""Characters of one piece that tiktoken is given. Its regular expression keeps a stack that grows
with a run of one class and panics when that overflows: at 1,000,000 spaces, not yet at 200,000."""
LONG_S: Final = "\u017f"
_CONTRACTION: Final = "'" + LONG_S

# Assigned by Unicode 17, the version of toktok's tables; those of tiktoken 0.14 are of Unicode 16.
# Letters, marks and numbers only: of what is none of them the pattern makes no difference.
_NEW: Final = (
    (0x88F, 0x88F), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0x1ACF, 0x1ADD), (0x1AE0, 0x1AEB),
    (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4), (0xA7F1, 0xA7F1), (0x10940, 0x10959),
    (0x10EC5, 0x10EC7), (0x10EFA, 0x10EFB), (0x11B60, 0x11B67), (0x11DB0, 0x11DDB),
    (0x11DE0, 0x11DE9), (0x16EA0, 0x16EB8), (0x16EBB, 0x16ED3), (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF), (0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1E6C0, 0x1E6DE),
    (0x1E6E0, 0x1E6F5), (0x1E6FE, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479),
)  # fmt: skip

_CUT: Final = re.compile(
    r"(?<=[^\W_])(?<=[\0-\u0587\u05d0-\u05ea\u0620-\u064a\u0904-\u0939\u0e01-\u0e30"
    r"\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3])"
    r"(?=[\t\n\r !-&(-/:-@\[-`{-~\u3000-\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
)
"""Where a piece of the pattern always ends, whatever stands around, so that counts add up across:
between a letter or digit and a space or symbol. Only letters, marks and, in contractions, an
apostrophe can continue a piece that ends in a letter, only numbers one that ends in a digit. All
characters named here have been what they are for so long that no version of Unicode differs."""


class TiktokenCounter:
    """Counts tokens of one of OpenAI's encodings; `follow_models`: of the one of each model."""

    def __init__(self, encoding: str = DEFAULT, *, follow_models: bool = False) -> None:
        self.encoding = encoding
        self.name = f"tiktoken:{encoding}"
        self._follow_models = follow_models

    def for_model(self, model: str) -> TiktokenCounter:
        """Give the counter for a model: of its own encoding if models are followed.

        A model whose encoding is unknown, or not carried, is counted by o200k_base.
        """
        if not self._follow_models:
            return self
        encoding = encoding_name(model)
        if encoding not in CARRIED:
            encoding = DEFAULT
        if encoding == self.encoding:
            return self
        return TiktokenCounter(encoding, follow_models=True)

    def exact(self, model: str) -> bool:
        """Say whether tiktoken knows that the model uses this encoding.

        Counts are then tiktoken's own, but for a text with a run of over 50,000 characters without
        the end of a word in which the two tokenizers may differ: `count_texts` has the rule.
        """
        return encoding_name(model) == self.encoding

    def load(self) -> None:
        """Load both tokenizers now instead of at the first text. Raises VocabularyError."""
        reference(self.encoding)
        count_quickly(self.encoding, ["a"])

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Give the tokens of each text; special tokens such as <|endoftext|> count as plain text.

        No text is refused. Where tiktoken would fail, on a piece of over 50,000 characters, the
        count is toktok's, which may differ by the few characters that Unicode 17 has added.
        """
        counts = [0] * len(texts)
        plain: list[str] = []
        places: list[int] = []
        for place, text in enumerate(texts):
            for run, odd in _runs(text):
                if odd:
                    counts[place] += len(reference(self.encoding).encode_ordinary(run))
                else:
                    plain.append(run)
                    places.append(place)
        for place, count in zip(places, count_quickly(self.encoding, plain), strict=True):
            counts[place] += count
        return counts


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text where counts add up, so that odd characters stand in short runs of their own.

    The second value says whether a run needs tiktoken.
    """
    if text.isascii():
        yield text, False
        return
    text = _without_surrogates(text)
    odd = {character for character in set(text) if _odd(character)}
    if not odd and _CONTRACTION not in text:
        yield text, False
        return
    start = end = 0
    for piece in _CUT.split(text):
        if len(piece) <= MAX_PIECE and _needs_tiktoken(piece, odd):
            if start < end:
                yield text[start:end], False
            yield piece, True
            start = end + len(piece)
        end += len(piece)
    if start < end:
        yield text[start:end], False


def _needs_tiktoken(piece: str, odd: AbstractSet[str]) -> bool:
    return not odd.isdisjoint(piece) or _CONTRACTION in piece


def _without_surrogates(text: str) -> str:
    """Put U+FFFD for half a surrogate pair, its character for a whole one, as tiktoken does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@lru_cache(1 << 14)
def _odd(character: str) -> bool:
    """Say whether the two tokenizers may take a character differently.

    What this Python's tables do not know is suspect too: later versions of the tokenizers may.
    """
    code = ord(character)
    if code < 0x370:  # nothing has been added here for long
        return False
    if unicodedata.category(character) == "Cn":
        return True
    return any(first <= code <= last for first, last in _NEW)
