"""The conformance suite notices defects: each broken store fails exactly the tests beside it."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from broken import BROKEN, QUICK  # noqa: E402  # a folder put on the path above
from filed import FILED  # noqa: E402  # as above


def outcomes(name, report):
    """Run the suite on a store; gives the names of its tests by outcome."""
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # What a second process shows is asked of the stores in files, and nothing else.
    chosen = ["-k", "process"] if name in FILED else ["-m", "not prove"]
    done = subprocess.run(
        [*program, *chosen, f"--junitxml={report}", f"{HERE / 'suites.py'}::Test{name}"],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = {"passed": set(), "failed": set(), "skipped": set(), "error": set()}
    for test in ElementTree.parse(report).iter("testcase"):
        kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
        [kind] = [kinds[child.tag] for child in test if child.tag in kinds] or ["passed"]
        found[kind].add(test.get("name").removeprefix("test_"))
    return found


@pytest.fixture(scope="module")
def found(request, tmp_path_factory):
    """Outcomes of all stores that are looked at; side by side, since expiry is mostly waiting."""
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    names = [item.callspec.params["name"] for item in mine]
    folder = tmp_path_factory.mktemp("reports")
    with ThreadPoolExecutor(4) as threads:
        reports = threads.map(lambda name: outcomes(name, folder / f"{name}.xml"), names)
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
