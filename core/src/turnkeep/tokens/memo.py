"""Memo: each text is counted once, and a counter that fails is replaced, not the run."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.estimate import EstimateCounter

_logger = logging.getLogger("turnkeep")

CAPACITY: Final = 100_000
"""Counts that are kept: about 15 MB."""
MODELS: Final = 100
"""Models whose way of counting is remembered."""
SHORT: Final = 48
"""Characters up to which a text is its own key; longer ones are known by a hash."""

Key = str | bytes


class Memo:
    """A `TokenCounter` that remembers what another one has counted, by the text's content.

    A counter that raises is given up: from then on texts are estimated, which is said once, in a
    warning and in `name`.
    """

    def __init__(self, counter: TokenCounter, *, capacity: int = CAPACITY) -> None:
        self._counter = counter
        self._capacity = capacity
        self._counts: OrderedDict[Key, int] = OrderedDict()
        self._of_model: dict[str, Memo] = {}
        self._of_way: dict[str, Memo] = {}

    @property
    def name(self) -> str:
        """The name of the counter in use."""
        return self._counter.name

    def for_model(self, model: str) -> Memo:
        """Give the memo of the way in which the counter counts for a model."""
        known = self._of_model.get(model)
        if known is None:
            bound = counter_for(self._counter, model)
            if bound is self._counter:
                known = self
            else:  # models that are counted alike share what is remembered
                known = self._of_way.setdefault(bound.name, Memo(bound, capacity=self._capacity))
            if len(self._of_model) >= MODELS:
                self._of_model.clear()
            self._of_model[model] = known
        return known

    def exact(self, model: str) -> bool:
        """Say whether counts equal the model's own tokenizer."""
        return self._counter.exact(model)

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Count texts, asking the counter only for those that are new."""
        counts = self._counts
        keys = [_key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in counts}
        found = dict(zip(new, self._ask(list(new.values())), strict=True)) if new else {}
        result = []
        for key in keys:
            count = found.get(key)
            if count is None:
                count = counts[key]
                counts.move_to_end(key)
            result.append(count)
        counts.update(found)
        while len(counts) > self._capacity:
            counts.popitem(last=False)
        return result

    def _ask(self, texts: list[str]) -> list[int]:
        try:
            return self._counter.count_texts(texts)
        except Exception as error:  # whatever a stranger's counter raises: a run never ends by it
            if isinstance(self._counter, EstimateCounter):
                raise
            self._counter = fallback(self._counter.name, error)
            self._counts.clear()
            self._of_model.clear()
            return self._counter.count_texts(texts)


def fallback(name: str, error: BaseException) -> TokenCounter:
    """Give the estimate in place of a counter that failed, and say so once."""
    _logger.warning(
        "the token counter %s cannot be used (%s: %s): tokens are estimated, about 3 to 30 %% too "
        "high, until this program is started again",
        name,
        type(error).__name__,
        error,
    )
    estimate = EstimateCounter()
    estimate.name = f"estimate (in place of {name}: {type(error).__name__})"
    return estimate


def _key(text: str) -> Key:
    if len(text) <= SHORT:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
