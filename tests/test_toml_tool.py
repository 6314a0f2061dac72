"""A TOML language tool judges files by our schema as `turnkeep check` does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.cli import main
from turnkeep.config import load_config
from turnkeep.errors import ConfigError

GOOD = {
    "empty": "",
    "store": '[session]\nstore = "sqlite"\nttl = "24h"\nsweep = 600\n',
    "options": '[session.sqlite]\npath = "~/x.db"\nsynchronous = "normal"\nbusy_timeout = 5\n',
    "dotted": 'session.store = "sqlite"\nsession.sqlite.busy_timeout = 0.5\n',
    "inline": 'session = { store = "sqlite", sqlite = { path = "s.db" } }\n',
    "variables": '[session]\nstore = { env = "S" }\nttl = { env = "T" }\nsqlite.path = { env = "P" }\n',
    "distribution": '[session]\nstore = "turnkeep:memory"\n[tokens]\ncounter = "estimate"\n',
    "choices": '[session]\non_conflict = "wait"\non_pending = "reject"\nturn_timeout = 0.05\n',
    "durations": '[session]\nttl = "1.5 h"\nsweep = "250ms"\nturn_timeout = "90"\n',
}
BAD = {
    "key": '[session]\nstroe = "sqlite"\n',
    "table": "[sesion]\n",
    "unknown-store": '[session]\nstore = "sqlit"\n',
    "duration": '[session]\nttl = "soon"\n',
    "negative": "[session]\nttl = -1\n",
    "zero": "[session]\nsweep = 0\n",
    "choice": '[session]\non_conflict = "fight"\n',
    "option": '[session]\nstore = "sqlite"\n[session.sqlite]\nfile = "s.db"\n',
    "option-of-core": "[session.memory]\nsize = 1\n",
    "type": '[session]\nstore = "sqlite"\n[session.sqlite]\npath = ["a"]\n',
    "bounds": '[session]\nstore = "sqlite"\n[session.sqlite]\nbusy_timeout = 4000\n',
    "reference": '[session]\nttl = { env = "A", or = 1 }\n',
    "reference-type": "[session]\nttl = { env = 5 }\n",
    "no-table": "session = 5\n",
    "counter": '[tokens]\ncounter = "estimat"\n',
}
VARIABLES = {"S": "sqlite", "T": "10m", "P": "s.db"}


@pytest.fixture(scope="module")
def tool():
    """The linter of tombi, beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("tombi")
    found = str(beside) if beside.exists() else shutil.which("tombi")
    if found is None:
        pytest.skip("needs tombi, a TOML language tool: pip install tombi")
    return found


@pytest.fixture(scope="module")
def judged(tool, tmp_path_factory):
    """What the tool says of each file; it reads the schema from the file's first line."""
    folder = tmp_path_factory.mktemp("toml")
    assert main(["schema", "--output", str(folder / "turnkeep.schema.json")]) == 0
    (folder / "tombi.toml").write_text("[schema]\ncatalog = { paths = [] }\n")
    verdicts = {}
    for name, text in (GOOD | BAD).items():
        file = folder / f"{name}.toml"
        file.write_text(f"#:schema ./turnkeep.schema.json\n{text}")
        # Offline: neither a catalogue nor a schema may come from anywhere else.
        command = [tool, "lint", "--offline", "--no-cache", file]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        verdicts[name] = (done.returncode, done.stderr + done.stdout)
    return verdicts


@pytest.mark.parametrize("name", GOOD)
def test_good_files_are_accepted(judged, name, tmp_path):
    """By the tool, and by turnkeep itself."""
    code, said = judged[name]
    assert (code, "Error" in said) == (0, False), said
    file = tmp_path / "turnkeep.toml"
    file.write_text(GOOD[name])
    load_config(file, environ=VARIABLES)


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_rejected(judged, name, tmp_path):
    """By the tool with a place in the file, and by turnkeep itself."""
    code, said = judged[name]
    assert code == 1
    assert f"{name}.toml:" in said
    file = tmp_path / "turnkeep.toml"
    file.write_text(BAD[name])
    with pytest.raises(ConfigError):
        load_config(file, environ=VARIABLES)
