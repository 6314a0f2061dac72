"""The interface every token counter has."""

from collections.abc import Sequence
from typing import Protocol


class TokenCounter(Protocol):
    """Counts the tokens of texts, exactly or by an estimate.

    Attributes:
        name: a short, stable name of the way of counting.
    """

    name: str

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Return the token count of each text, in order, each text taken by itself."""
        ...

    def exact(self, model: str) -> bool:
        """Return whether counts equal the model's own tokenizer."""
        ...
