"""Letters: a token counter for tests, in which sizes can be told by hand."""

from __future__ import annotations

from collections.abc import Sequence


class Letters:
    """Counts characters. `exact` says whether that is what the model counts, too."""

    name = "letters"

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each text."""
        return [len(text) for text in texts]

    def exact(self, model: str) -> bool:  # noqa: ARG002  # the same for all
        """Return what was said when it was made."""
        return self._exact
