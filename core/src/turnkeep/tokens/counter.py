"""The interface every token counter has."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class TokenCounter(Protocol):
    """Counts the tokens of texts, exactly or by an estimate."""

    @property
    def name(self) -> str:
        """A short, stable name of the way of counting."""
        ...

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Return the token count of each text, in order, each text taken by itself."""
        ...

    def exact(self, model: str) -> bool:
        """Return whether counts equal the model's own tokenizer."""
        ...


@runtime_checkable
class ModelCounter(TokenCounter, Protocol):
    """A counter that has another way of counting for other models."""

    def for_model(self, model: str) -> TokenCounter:
        """Return the counter for a model; itself where it knows none better."""
        ...


def counter_for(counter: TokenCounter, model: str) -> TokenCounter:
    """Give the way in which a counter counts for a model."""
    return counter.for_model(model) if model and isinstance(counter, ModelCounter) else counter
