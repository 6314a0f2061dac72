"""The interface every token counter has."""

from collections.abc import Sequence
from typing import Protocol


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


class ModelCounter(TokenCounter, Protocol):
    """A counter that has another way of counting for other models."""

    def for_model(self, model: str) -> TokenCounter:
        """Return the counter for a model; itself where it knows none better."""
        ...


def counter_for(counter: TokenCounter, model: str) -> TokenCounter:
    """Give the way in which a counter counts for a model (see `ModelCounter`)."""
    # Asked for by its name: an `isinstance` of a protocol takes 50 µs.
    for_model = getattr(counter, "for_model", None)
    if for_model is None or not model:
        return counter
    bound: TokenCounter = for_model(model)
    return bound
