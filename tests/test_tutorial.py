"""The tutorials for authors: the blocks of each, put together, are an example, and each step runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = {"writing-a-store": "session_jsonl", "writing-an-optimizer": "context_progress"}
FENCE = re.compile(r"^```(\w+) (file=\S+|run|output)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(
    scope="module",
    params=[
        name if name == "writing-a-store" else pytest.param(name, marks=pytest.mark.prove)
        for name in TUTORIALS
    ],
)
def page(request):
    return request.param


@pytest.fixture(scope="module")
def steps(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return [(match[2], match[3]) for match in FENCE.finditer(text)]


@pytest.fixture(scope="module")
def example(page):
    return ROOT / "examples" / TUTORIALS[page]


@pytest.fixture(scope="module")
def walked(page, steps, tmp_path_factory):
    """A folder in which a new author has followed the page; gives it and what each step printed."""
    folder = tmp_path_factory.mktemp("author")
    printed = []
    for what, body in steps:
        if what == "run":
            printed.append(python(folder, "-c", body))
        elif what.startswith("file="):
            file = folder / what.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            before = file.read_text() if file.exists() else ""
            # As anybody would: one empty line before a method, two before a function.
            between = "" if not before else "\n" if body.startswith(" ") else "\n\n"
            file.write_text(before + between + body)
    (folder / "src" / f"turnkeep_{TUTORIALS[page]}" / "py.typed").touch()
    return folder, printed


def python(folder, *args):
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder):
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path
        for path in found
        if path.suffix in {".py", ".toml", ".typed"} and "__pycache__" not in path.parts
    )


def test_each_step_prints_what_the_page_says(walked, steps):
    """The scripts between the blocks run on the package as far as it has grown."""
    _, printed = walked
    assert printed == [body for what, body in steps if what == "output"]
    assert printed


def test_the_result_is_the_example(walked, example):
    """Nothing more and nothing less."""
    folder, _ = walked
    assert files(folder) == files(example)
    for path in files(example):
        assert (folder / path).read_text() == (example / path).read_text(), path


def test_it_passes_the_suite(walked, page, tmp_path):
    """The short tests of the conformance suite, run as the page says."""
    folder = tmp_path / "author"
    shutil.copytree(walked[0], folder)
    said = python(folder, "-m", "pytest", "-q", "-m", "not prove", "-p", "no:cacheprovider")
    assert "failed" not in said
    assert (
        page != "writing-a-store"
        or "store: jsonl; durability power; capabilities: list_all" in said
    )
