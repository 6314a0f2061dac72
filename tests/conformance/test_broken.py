"""The conformance suite notices defects: each broken store fails exactly the tests beside it."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from broken import BROKEN, QUICK  # noqa: E402  # a folder put on the path above
from filed import FILED  # noqa: E402  # as above


@pytest.fixture(scope="module")
def found(request, tmp_path_factory, suite_outcomes):
    """Outcomes of all stores that are looked at; side by side, since expiry is mostly waiting."""
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    names = [item.callspec.params["name"] for item in mine]
    folder = tmp_path_factory.mktemp("reports")

    def outcomes(name):
        # What a second process shows is asked of the stores in files, and nothing else.
        chosen = ["-k", "process"] if name in FILED else ["-m", "not prove"]
        return suite_outcomes(HERE / "suites.py", f"Test{name}", folder / f"{name}.xml", *chosen)

    with ThreadPoolExecutor(4) as threads:
        reports = threads.map(outcomes, names)
        return dict(zip(names, reports, strict=True))


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.prove) for name in BROKEN],
)
def test_a_broken_store_fails_exactly_its_tests(name, found):
    """What fails is the named set; all else passes, and skips need a second process or a schema."""
    assert found[name]["failed"] == BROKEN[name][1]
    assert not found[name]["error"]
    assert all(re.search("process|place", skipped) for skipped in found[name]["skipped"])
    assert len(found[name]["passed"]) > 100


@pytest.mark.prove
@pytest.mark.parametrize("name", FILED)
def test_a_store_that_breaks_between_processes_fails_exactly_its_tests(name, found):
    """Of the tests with a second process the named set fails, and the others pass."""
    assert found[name]["failed"] == FILED[name][1]
    assert not found[name]["error"]
    assert len(found[name]["failed"] | found[name]["passed"]) >= 6
