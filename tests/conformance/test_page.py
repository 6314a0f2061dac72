"""The page for authors is true: its example passes, its table is the suite's, nothing is untested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.testing.behaviours import BEHAVIOURS, shown_by, table
from turnkeep.testing.conformance import StoreConformance

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def run(folder, *arguments):
    """Run pytest in a folder of its own, as an author would."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def example(tmp_path):
    """The page's example as a test module, in a folder without any configuration."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(code)
    return tmp_path


def test_the_example_passes(example):
    """An author's file of fifteen lines runs the suite, and the report names a second process."""
    few = "version_0 or a_second_process or append_whose or cannot_be_read or appends_to_nothing"
    done = run(example, "-q", "-ra", "-W", "error", "-m", "not prove", "-k", few)
    assert done.returncode == 0, done.stdout
    assert "turnkeep conformance" in done.stdout
    assert re.search(r"second processes of process \d+: \d+", done.stdout)
    assert "override the fixture `damage`" in done.stdout


@pytest.mark.prove
def test_the_whole_example_passes(example):
    """All of it, the long tests too, in a folder without any configuration."""
    done = run(example, "-q", "-ra", "-W", "error", "--junitxml=report.xml")
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout


def test_the_suite_needs_neither_its_plugin_nor_a_mark(example):
    """Without the plugin --strict-markers is content too, and long tests run like others."""
    file = example / "test_mine.py"
    file.write_text(re.sub(r"pytest_plugins = .*\n", "", file.read_text()))
    done = run(example, "-q", "-k", "a_thousand_records or empty_at_version_0", "-W", "error")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "turnkeep conformance" not in done.stdout


def test_an_opener_that_cannot_be_pickled_is_named(example):
    """A lambda fails the tests with a second process, and the message says what to give."""
    file = example / "test_mine.py"
    file.write_text(
        re.sub(r"return partial\((.*?), (.*)\)", r"return lambda: \1(\2)", file.read_text())
    )
    done = run(example, "-q", "-k", "a_second_process_sees")
    assert done.returncode == 1
    assert "functools.partial" in done.stdout


def test_the_table_is_current():
    """The page ends with what the module prints."""
    assert PAGE.read_text(encoding="utf-8").endswith("\n\n" + table()), (
        "write the output of `python -m turnkeep.testing.behaviours` to the end of the page"
    )


def test_every_behaviour_is_shown_or_says_where():
    """None without a test that does not say why; no test for a behaviour that is not listed."""
    tests = shown_by()
    assert set(tests) <= set(BEHAVIOURS)
    for key, behaviour in BEHAVIOURS.items():
        assert tests.get(key) or behaviour.elsewhere, key


def test_every_test_of_the_suite_covers_something():
    """Each has behaviours and one line that states it."""
    for group in StoreConformance.__bases__:
        for name, test in vars(group).items():
            if name.startswith("test_"):
                assert test.__turnkeep__.behaviours, name
                assert len(test.__doc__.splitlines()) == 1, name
