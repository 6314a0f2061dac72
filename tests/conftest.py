"""Shared by the tests across packages: commands are run, and outputs compared with files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from turnkeep.cli import main

ROOT = Path(__file__).resolve().parent.parent
Settings = Callable[..., dict[str, dict[str, object]]]
"""Makes a configuration; its arguments go into the table `[session]`."""
SNAPSHOTS = ROOT / "tests" / "snapshots"


@pytest.fixture
def snapshot() -> Callable[[str, str], None]:
    """Compare a text with a file of tests/snapshots; RENEW_SNAPSHOTS=1 writes the file."""

    def compare(name: str, text: str) -> None:
        file = SNAPSHOTS / name
        if os.environ.get("RENEW_SNAPSHOTS") == "1":
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def turnkeep(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Run a command; give exit code, output and errors."""

    def run(*args: str) -> tuple[object, str, str]:
        capsys.readouterr()
        try:
            code: object = main(list(args))
        except SystemExit as exit_:
            code = exit_.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Settings]:
    """Give, for a durable store by name, what makes settings for one fresh place of it."""

    def of(store: str) -> Settings:
        if importlib.util.find_spec(f"turnkeep_session_{store}") is None:
            pytest.skip(f"turnkeep-session-{store} is not installed")
        options = {
            "sqlite": lambda: {"path": str(tmp_path / "s.db")},
            "redis": lambda: {
                "url": request.getfixturevalue("redis_url"),
                "prefix": f"t{os.urandom(6).hex()}",
            },
            "postgres": lambda: {
                "url": request.getfixturevalue("postgres_url"),
                "schema": f"t{os.urandom(6).hex()}",
            },
        }[store]()

        def settings(**session: object) -> dict[str, dict[str, object]]:
            return {"session": {"store": store, store: options, **session}}

        return settings

    return of


@pytest.fixture(scope="session")
def suite_outcomes() -> Callable[..., dict[str, set[str]]]:
    """Give what runs one class of a suite in a pytest of its own, and its tests by outcome.

    Of each test the name without `test_`, in the set "passed", "failed", "skipped" or "error".
    """

    def run(suite: Path, kind: str, report: Path, *chosen: str) -> dict[str, set[str]]:
        program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
        done = subprocess.run(
            [*program, f"--junitxml={report}", f"{suite}::{kind}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        found: dict[str, set[str]] = {
            "passed": set(),
            "failed": set(),
            "skipped": set(),
            "error": set(),
        }
        for test in ElementTree.parse(report).iter("testcase"):
            kinds = {"failure": "failed", "error": "error", "skipped": "skipped"}
            [how] = [kinds[child.tag] for child in test if child.tag in kinds] or ["passed"]
            found[how].add(str(test.get("name")).removeprefix("test_"))
        return found

    return run
