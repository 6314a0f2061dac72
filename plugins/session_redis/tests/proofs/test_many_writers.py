"""Eight processes write at once: one session, and two hundred, on one server and on a Cluster."""

import pytest

pytestmark = pytest.mark.prove


@pytest.mark.parametrize("sessions", [1, 200])
@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_writers_lose_and_double_nothing(started, race, kind, sessions):
    """200 appends each, repeated after a conflict: each once, whole, in its writer's order."""
    worst = race(started(kind).url, 8, sessions, 200)
    # Of n equal writers one try in n succeeds: 300 failures of 8 in a row have odds of 1e-17.
    assert worst < 300
