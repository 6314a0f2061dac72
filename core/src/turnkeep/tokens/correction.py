"""Correction: what a provider's reports teach about our counts, for one model.

A report says how large a request really was. Between two reports of one session the request grew by
what was added, so each pair gives one equation:

    growth as reported = factor x counted tokens + per_item x items + fixed

`factor` stands for another tokenizer than ours, `per_item` for the frames of messages and results,
`fixed` for what comes with each call and is in no log (reminders, remains of thinking). They are
learned by recursive least squares (Haykin, "Adaptive Filter Theory", RLS with forgetting), with
Huber's weights against outliers (Huber 1964): an attached file that no log holds teaches nothing.

The margin is taken from the correction's own past errors: so many tokens per expected spread that
99 of 100 of them were smaller (split conformal prediction, Vovk et al. 2005).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, Final, NamedTuple

FORGETTING: Final = 0.995
"""Weight of an observation against the next one: the newest 200 count."""
PRIOR: Final = (1.05, 5.0, 5.0)
PRIOR_VARIANCE: Final = (0.1, 400.0, 2500.0)
FREED_VARIANCE: Final = (0.02, 200.0, 200.0)
"""Of a correction that another session begins with."""
WIDEST: Final = 10.0
"""Times the prior's variance that one may grow to."""
LOWEST: Final = (0.5, -50.0, -300.0)
HIGHEST: Final = (2.5, 300.0, 400.0)
START_SCALE: Final = 60.0
"""Tokens by which a growth is expected to be missed, before anything is known."""
LEAST_SCALE: Final = 10.0
REMEMBERED: Final = 400
"""Past errors that the margin is taken from; then half of them are forgotten."""
WORST: Final = 12
"""How many of them are kept by value: the margin lies among the largest."""
COVERED: Final = 0.99
"""Share of cases that the margin is to cover."""
FIRST_ERRORS: Final = 5.0
"""Stands for the worst error until there are enough of them, in spreads."""
REWRITTEN: Final = 0.15
"""Part of what was rewritten by which the new size may be larger."""
CLEARLY: Final = 100.0
"""Tokens by which it must be better, on the mean of the last five or so."""
MOST: Final = 1e8
"""Tokens; a report or a count above is a mistake."""
RELATIVE: Final = 0.06
"""Part of a growth that counts as spread beside the scale: larger growths are missed by more."""


class Growth(NamedTuple):
    """What was added to a request: tokens as we count them, and how many items they stand in."""

    tokens: float
    items: float

    @property
    def features(self) -> tuple[float, float, float]:
        """The right side of the equation."""
        return self.tokens, self.items, 1.0


class Correction:
    """The learned correction of one model's counts; see the module."""

    def __init__(self) -> None:
        self.weights = list(PRIOR)
        self._variance = _diagonal(PRIOR_VARIANCE)
        self.scale = START_SCALE
        self.observations = 0
        self.thinking = 0.0
        """By how many tokens it is better to leave reported thinking out (see `drops_thinking`)."""
        self._seen = 0
        self._worst: list[float] = []

    @property
    def factor(self) -> float:
        """Reported tokens for one counted."""
        return self.weights[0]

    def expect(self, growth: Growth) -> float:
        """Give the tokens by which a request is expected to have grown."""
        return _dot(self.weights, growth.features)

    def margin(self, growth: Growth) -> int:
        """Give the tokens by which the growth may be larger than expected, in 99 of 100 cases."""
        return math.ceil(min(self._quantile() * self._spread(growth), MOST))

    def margin_of_change(self, tokens: float) -> int:
        """Give the same for a rewritten context, which has changed by so many counted tokens.

        In four recorded compactions the new size was missed by 1 to 12 % of the change.
        """
        return math.ceil(REWRITTEN * abs(tokens)) + self.margin(Growth(0, 0))

    def observe(self, growth: Growth, reported: float) -> None:
        """Learn from a growth that a provider has reported. Nothing is learned from nonsense."""
        if not (0 <= growth.tokens <= MOST and 0 <= growth.items <= MOST and abs(reported) <= MOST):
            return
        error = reported - self.expect(growth)
        self._remember(error / self._spread(growth))
        self.observations += 1
        scale = max(self.scale, LEAST_SCALE)
        if abs(error) <= 20 * scale + 0.5 * abs(self.expect(growth)):
            self._learn(growth.features, error, scale, min(1.0, 2.5 * scale / max(abs(error), 1.0)))
        self.scale = 0.97 * self.scale + 0.03 * 1.25 * min(abs(error), 5 * scale)

    @property
    def drops_thinking(self) -> bool:
        """Whether output far above an answer's texts is thinking that no later request holds.

        Only where that is clear: to count too much is the safer side.
        """
        return self.thinking > CLEARLY

    def settle_thinking(self, with_it: float, without_it: float) -> None:
        """Learn whether what a model thinks stays in its context.

        Parameters: the errors of the next report, in tokens, with all reported output counted as
        part of the context, and with the answer's texts only.
        """
        step = min(max(abs(with_it) - abs(without_it), -1000.0), 1000.0)
        if math.isfinite(step):
            self.thinking = 0.8 * self.thinking + 0.2 * step

    def _learn(self, features: Sequence[float], error: float, scale: float, weight: float) -> None:
        towards = [_dot(row, features) for row in self._variance]
        gain = scale * scale / weight + max(_dot(features, towards), 0.0)
        for row in range(3):
            moved = self.weights[row] + towards[row] / gain * error
            self.weights[row] = min(max(moved, LOWEST[row]), HIGHEST[row])
            for column in range(3):
                rest = self._variance[row][column] - towards[row] * towards[column] / gain
                self._variance[row][column] = rest / FORGETTING
        # Where reports always look alike (one call and one result a step), they tell nothing of
        # some direction, and forgetting lets its variance grow for ever: begin with it anew.
        if any(
            not 0 <= self._variance[row][row] <= WIDEST * PRIOR_VARIANCE[row] for row in range(3)
        ):
            self._variance = _diagonal(PRIOR_VARIANCE)

    def _spread(self, growth: Growth) -> float:
        return max(self.scale, LEAST_SCALE) + RELATIVE * abs(growth.tokens)

    def _remember(self, error: float) -> None:
        self._seen += 1
        self._worst = sorted([*self._worst, error], reverse=True)[:WORST]
        if self._seen >= REMEMBERED:
            self._seen //= 2
            self._worst = self._worst[::2]

    def _quantile(self) -> float:
        """Give how many spreads were enough in 99 of 100 cases; the least that is safe if few."""
        place = self._seen - math.ceil((self._seen + 1) * COVERED)
        if 0 <= place < len(self._worst):
            return max(self._worst[place], 0.0)
        return max([*self._worst, FIRST_ERRORS])

    def copy(self) -> Correction:
        """Give another one that knows the same."""
        made = copy(self)
        made.weights = list(self.weights)
        made._variance = [list(row) for row in self._variance]
        made._worst = list(self._worst)
        return made

    def as_prior(self) -> Correction:
        """Give a correction that begins with what this one knows, and learns on more freely."""
        made = self.copy()
        made._variance = _diagonal(FREED_VARIANCE)
        return made

    def dump(self) -> dict[str, Any]:
        """Give everything as JSON."""
        return {
            "weights": [_short(weight) for weight in self.weights],
            "variance": [_short(self._variance[r][c]) for r in range(3) for c in range(r + 1)],
            "scale": round(self.scale, 2),
            "thinking": round(self.thinking, 1),
            "n": self.observations,
            "seen": self._seen,
            "worst": [round(error, 3) for error in self._worst],
        }

    @classmethod
    def load(cls, document: object) -> Correction:
        """Read what `dump` gave; whatever is no such thing begins anew."""
        made = cls()
        if not isinstance(document, dict):
            return made
        weights = _numbers(document.get("weights"), 3)
        variance = _numbers(document.get("variance"), 6)
        scale = _numbers([document.get("scale")], 1)
        thinking = _numbers([document.get("thinking", 0)], 1)
        counts = _numbers([document.get("n"), document.get("seen")], 2)
        worst = document.get("worst")
        errors = _numbers(worst, len(worst)) if isinstance(worst, list) else None
        if not (weights and variance and scale and thinking and counts) or errors is None:
            return made
        made.weights = [
            min(max(weight, low), high)
            for weight, low, high in zip(weights, LOWEST, HIGHEST, strict=True)
        ]
        cells = iter(variance)
        for row in range(3):
            for column in range(row + 1):
                made._variance[row][column] = made._variance[column][row] = next(cells)
        made.scale = max(scale[0], LEAST_SCALE)
        made.thinking = thinking[0]
        made.observations, made._seen = (max(int(count), 0) for count in counts)
        made._worst = sorted(errors, reverse=True)[:WORST]
        return made


def _diagonal(values: Sequence[float]) -> list[list[float]]:
    return [
        [value if row == column else 0.0 for column in range(len(values))]
        for row, value in enumerate(values)
    ]


def _short(value: float) -> float:
    """Give a number with six digits: enough, and a third of the room."""
    return float(f"{value:.6g}")


def _dot(one: Iterable[float], two: Iterable[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


def _numbers(value: object, size: int) -> list[float] | None:
    """Give a list of so many numbers of a sensible size, None for anything else."""
    if not isinstance(value, list) or len(value) != size:
        return None
    if any(type(each) not in {int, float} or not abs(each) <= MOST for each in value):
        return None
    return [float(each) for each in value]
