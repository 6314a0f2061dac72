"""Shared by the tests across packages: commands are run, and outputs compared with files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from turnkeep.cli import main

SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"


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
