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

    A counter that fails, or that answers with what are no counts, is given up: from then on texts
    are estimated, which is said once, in a warning and in `name`. No call of this raises.
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
            known = self._bound(model)
            if len(self._of_model) >= MODELS:
                self._of_model.clear()
                self._of_way.clear()
            self._of_model[model] = known
        return known

    def _bound(self, model: str) -> Memo:
        try:
            bound = counter_for(self._counter, model)
            if bound is self._counter:
                return self
            # Models that are counted alike share what is remembered.
            return self._of_way.setdefault(bound.name, Memo(bound, capacity=self._capacity))
        except Exception as error:  # noqa: BLE001  # see `_ask`
            self._give_up(error)
            return self

    def exact(self, model: str) -> bool:
        """Say whether counts equal the model's own tokenizer."""
        try:
            return bool(self._counter.exact(model))
        except Exception as error:  # noqa: BLE001  # see `_ask`
            self._give_up(error)
            return False

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Count texts, asking the counter only for those that are new."""
        keys = [_key(text) for text in texts]
        found = self._known(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if new:
            asked = self._counter
            counts = self._ask(list(new.values()))
            if self._counter is not asked:  # given up meanwhile: all are counted in one way
                return self._ask(list(texts))
            found.update(zip(new, counts, strict=True))
            self._keep(found, new)
        return [found[key] for key in keys]

    def _known(self, keys: Sequence[Key]) -> dict[Key, int]:
        counts = self._counts
        found: dict[Key, int] = {}
        for key in keys:
            count = counts.pop(key, None)  # put behind the others: it is used last
            if count is not None:
                found[key] = counts[key] = count
        return found

    def _keep(self, found: dict[Key, int], new: dict[Key, str]) -> None:
        for key in new:
            self._counts[key] = found[key]
        while len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def _ask(self, texts: list[str]) -> list[int]:
        try:
            counts = list(self._counter.count_texts(texts))
            if len(counts) != len(texts) or any(
                type(each) is not int or each < 0 for each in counts
            ):
                raise TypeError("it gave something else than a count for each text")  # noqa: TRY301  # as if it raised
        except Exception as error:  # whatever a stranger's counter raises: a run never ends by it
            if isinstance(self._counter, EstimateCounter):
                raise
            self._give_up(error)
            return self._counter.count_texts(texts)
        return counts

    def _give_up(self, error: Exception) -> None:
        # Its sentence may hold the text that it was given: that is for DEBUG only.
        _logger.debug("the token counter %s failed", self._counter.name, exc_info=error)
        self._counter = fallback(self._counter.name, type(error).__name__)
        self._counts.clear()
        self._of_model.clear()
        self._of_way.clear()


def fallback(name: str, why: str) -> TokenCounter:
    """Give the estimate in place of a counter that failed, and say so once."""
    _logger.warning(
        "the token counter %s cannot be used (%s): tokens are estimated, about 3 to 30 %% too "
        "high, until this program is started again",
        name,
        why,
    )
    estimate = EstimateCounter()
    estimate.name = f"estimate (in place of {name}: {why.partition(':')[0]})"
    return estimate


def _key(text: str) -> Key:
    if len(text) <= SHORT:
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
