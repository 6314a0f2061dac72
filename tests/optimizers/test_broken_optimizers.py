"""The suite for optimizers notices defects: each broken one fails exactly the tests beside it."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from broken_optimizers import BROKEN  # noqa: E402  # a folder put on the path above

QUICK = ("MakesOrphans",)
"""Looked at in `make test`; the others are for `make prove`."""


@pytest.fixture(scope="module")
def found(request, tmp_path_factory, suite_outcomes):
    """Outcomes of all optimizers that are looked at, two at a time."""
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    names = [item.callspec.params["name"] for item in mine if hasattr(item, "callspec")]
    folder = tmp_path_factory.mktemp("reports")
    suite = HERE / "broken_suites.py"

    def outcomes(name):
        return suite_outcomes(suite, f"Test{name}", folder / f"{name}.xml", "-m", "not prove")

    with ThreadPoolExecutor(2) as threads:
        reports = threads.map(outcomes, names)
        return dict(zip(names, reports, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.prove) for name in BROKEN],
)
def test_a_broken_optimizer_fails_exactly_its_tests(name, found):
    """What fails is the named set, and all else passes."""
    assert found[name]["failed"] == BROKEN[name][1]
    assert not found[name]["error"]
    assert not found[name]["skipped"]
    assert len(found[name]["passed"]) > 20
