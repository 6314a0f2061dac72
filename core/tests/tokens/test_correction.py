"""What reports teach about counts."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.tokens.correction import HIGHEST, LOWEST, Correction, Growth


def taught(factor, per_item, fixed, reports=60, noise=0.0, seed=1):
    """A correction that has seen reports of a provider that counts like this."""
    chance = random.Random(seed)
    correction = Correction()
    for _ in range(reports):
        growth = Growth(chance.randint(5, 4000), chance.randint(1, 6))
        exact = factor * growth.tokens + per_item * growth.items + fixed
        correction.observe(growth, exact + chance.gauss(0, noise))
    return correction


@pytest.mark.parametrize(
    ("factor", "per_item", "fixed"), [(1.0, 5, 0), (1.25, 20, 3), (1.6, -5, 120), (0.9, 0, 40)]
)
def test_it_learns_factor_and_frames(factor, per_item, fixed):
    """After some tens of reports growths are expected within 2 %."""
    correction = taught(factor, per_item, fixed)
    for growth in (Growth(3000, 2), Growth(800, 1)):
        exact = factor * growth.tokens + per_item * growth.items + fixed
        assert correction.expect(growth) == pytest.approx(exact, rel=0.02)


def test_one_outlier_teaches_nothing():
    """A file of 40,000 tokens that no log holds does not move what is expected next."""
    correction = taught(1.1, 5, 10)
    before = correction.expect(Growth(1000, 1))
    correction.observe(Growth(100, 1), 40_000)
    assert correction.expect(Growth(1000, 1)) == pytest.approx(before, rel=0.001)


def test_the_margin_covers_99_of_100():
    """Measured on later growths of the same kind."""
    correction = taught(1.2, 8, 20, reports=600, noise=30)
    chance = random.Random(2)
    covered = 0
    for _ in range(2000):
        growth = Growth(chance.randint(5, 4000), chance.randint(1, 6))
        exact = 1.2 * growth.tokens + 8 * growth.items + 20 + chance.gauss(0, 30)
        covered += exact <= correction.expect(growth) + correction.margin(growth)
    assert covered >= 1970


def test_the_margin_narrows_with_what_is_known():
    """And is wide before anything is."""
    growth = Growth(1000, 1)
    assert taught(1.1, 5, 5).margin(growth) < Correction().margin(growth)


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**12), 10**12)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=50))
def test_nonsense_does_no_harm(reports):
    """Whatever is reported, weights stay in their bounds and answers are finite."""
    correction = Correction()
    for tokens, items, reported in reports:
        try:
            correction.observe(Growth(tokens, items), reported)
        except OverflowError:
            pytest.fail("a report raised")
    assert all(
        low <= weight <= high
        for low, weight, high in zip(LOWEST, correction.weights, HIGHEST, strict=True)
    )
    assert correction.margin(Growth(1000, 1)) >= 0
    json.dumps(correction.dump(), allow_nan=False)


@given(st.integers(0, 450), st.integers(0, 5))
def test_it_survives_as_json(reports, seed):
    """What is read back expects the same and learns on alike, as far as JSON's digits go."""
    correction = taught(1.3, 4, 9, reports=reports, noise=20, seed=seed)
    again = Correction.load(json.loads(json.dumps(correction.dump())))
    growth = Growth(1234, 3)
    assert again.expect(growth) == pytest.approx(correction.expect(growth), rel=0.001)
    assert again.margin(growth) == pytest.approx(correction.margin(growth), rel=0.01, abs=2)
    assert len(json.dumps(correction.dump())) < 400


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"weights": [1, 2]},
        {**Correction().dump(), "scale": "x"},
        {**Correction().dump(), "worst": [None]},
        {**Correction().dump(), "n": True},
        {**Correction().dump(), "variance": [float("nan")] * 6},
        {**Correction().dump(), "weights": [10**400, 1, 1]},
        {**Correction().dump(), "scale": 1e308},
        {**Correction().dump(), "worst": [1e308]},
    ],
)
def test_what_cannot_be_read_begins_anew(document):
    """A file of another version or a broken one is no error."""
    assert Correction.load(document).dump() == Correction().dump()


@pytest.mark.parametrize("items", [1, 3])
def test_reports_that_look_alike_for_ever_do_no_harm(items):
    """One result a step leaves a direction untold: nothing grows without bound."""
    correction = Correction()
    chance = random.Random(3)
    for number in range(6_000):
        tokens = chance.randint(50, 2000) if number % 2 else 400
        correction.observe(Growth(tokens, items), 1.2 * tokens + 30)
        json.dumps(correction.dump(), allow_nan=False)
    assert correction.expect(Growth(1000, items)) == pytest.approx(1230, rel=0.03)
