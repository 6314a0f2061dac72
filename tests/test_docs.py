"""The documentation is executed: every Python block runs, every TOML file holds, every link leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.config import load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]


def blocks(page, language):
    fenced = re.findall(
        r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [body for tag, body in fenced if tag == language]


def name(page):
    return str(page.relative_to(ROOT))


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{name(page)}-{place}")
        for page in PAGES
        for place, code in enumerate(blocks(page, "python"))
    ],
)
def test_python_runs(page, code, tmp_path):
    """Each block runs by itself in an empty folder, beside the page's turnkeep.toml if it shows one."""
    for toml in blocks(page, "toml"):
        if toml.startswith("[session]"):
            (tmp_path / "turnkeep.toml").write_text(toml)
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readmes_first_use_keeps_a_session(tmp_path):
    """Run twice, the session holds both conversations; the commands below it work."""
    page = ROOT / "README.md"
    [toml], [code] = blocks(page, "toml"), blocks(page, "python")
    assert (
        len(
            [
                line
                for line in code.split("async def main():\n")[1].split("\n\n")[0].split("\n")
                if line
            ]
        )
        <= 6
    )
    (tmp_path / "turnkeep.toml").write_text(toml)
    for _ in range(2):
        assert run(code, tmp_path).returncode == 0
    commands = [
        line.split()
        for block in blocks(page, "")
        for line in block.split("\n")
        if line.startswith(("turnkeep sessions", "turnkeep replay"))
    ]
    outputs = []
    for command in commands:
        program = [sys.executable, "-m", "turnkeep", *command[1:]]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0].count("user-123") == 1
    assert outputs[1].count("Alice") == 4
    assert outputs[2].count('"type": "message"') == 4


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_configurations_hold(page, tmp_path):
    """Each TOML block that is a turnkeep.toml is accepted as it stands."""
    for place, toml in enumerate(blocks(page, "toml")):
        if toml.startswith("[session]") and "stroe" not in toml:  # that one shows faults
            file = tmp_path / f"{place}.toml"
            file.write_text(toml)
            load_config(file, environ={})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    """Relative links name files that are there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
