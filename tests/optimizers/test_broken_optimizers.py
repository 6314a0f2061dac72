"""The suite for optimizers notices defects: each broken one fails exactly the tests beside it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from broken_optimizers import BROKEN  # noqa: E402  # a folder put on the path above

QUICK = ("Sound", "MakesOrphans")
"""Looked at in `make test`; the others are for `make prove`."""


def outcomes(name, report):
    """Run the suite on an optimizer; gives the names of its tests by outcome."""
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not prove"]
    done = subprocess.run(
        [*program, f"--junitxml={report}", f"{HERE / 'broken_suites.py'}::Test{name}"],
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
    """Outcomes of all optimizers that are looked at, two at a time."""
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    names = [item.callspec.params["name"] for item in mine if hasattr(item, "callspec")]
    folder = tmp_path_factory.mktemp("reports")
    with ThreadPoolExecutor(2) as threads:
        reports = threads.map(lambda name: outcomes(name, folder / f"{name}.xml"), names)
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
