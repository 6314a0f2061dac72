"""Fixtures of the proofs: worker processes, seeds that can be repeated, and figures to report."""

import importlib.util
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

WORKER = Path(__file__).with_name("worker.py")
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def worker(path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a process with a role of worker.py on the tests' database, or on another file."""
    started = []

    def start(
        role: str, *, at: Path = path, prefix: tuple[str, ...] = (), **options: object
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*prefix, sys.executable, str(WORKER), role, str(at), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def go() -> Callable[..., None]:
    """Wait until processes are ready, and let them begin."""

    def together(*processes: "subprocess.Popen[str]") -> None:
        for process in processes:
            said = process.stdout.readline()
            assert said == "ready\n", process.stderr.read()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()

    return together


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module worker.py."""
    spec = importlib.util.spec_from_file_location("turnkeep_proofs_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dice() -> random.Random:
    """Random numbers; a failure shows the seed, which the environment can give again.

    The seed repeats what the test chose, not what the scheduler did.
    """
    seed = int(os.environ.get("TURNKEEP_SEED") or random.randrange(2**32))
    print(f"repeat with TURNKEEP_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def sound(path: Path) -> Callable[..., None]:
    """Let SQLite check the whole file."""

    def check(at: Path = path) -> None:
        connection = sqlite3.connect(at)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()

    return check


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show a figure at the end of the run."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what was reported."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("figures of the proofs")
        for figure in figures:
            terminalreporter.line(figure)
