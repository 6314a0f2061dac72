"""init, check, schema and plugins: setting turnkeep up, and seeing what is wrong."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import turnkeep as package
from turnkeep import plugins as plugins_module
from turnkeep.config import load_config

DOCS = Path(__file__).resolve().parent.parent / "docs"
FAULTY = """\
[session]
stroe = "sqlite"
store = "sqlit"
ttl = "soon"
on_conflict = "wiat"
turn_timeout = { env = "TIMEOUT" }
path = "sessions.db"

[tokens]
counter = "estimate"
estimate.factor = 2

[sesion]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder and home to work in, where only the SQLite store is installed."""
    points = [point for point in entry_points(group="turnkeep") if point.name == "session_sqlite"]
    monkeypatch.setattr(plugins_module, "entry_points", lambda group: points)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def normal(text, folder):
    """Leave out what depends on this machine and version."""
    text = text.replace(str(folder), "FOLDER")
    return text.replace(package.__version__, "VERSION")


def uncommented(text):
    """Take the # away from every key and table."""
    return re.sub(r"^# ", "", text, flags=re.MULTILINE)


def test_init_writes_what_holds(folder, turnkeep, snapshot):
    """With the store that lasts if it is installed; every key can be put to use."""
    assert turnkeep("init") == (0, "turnkeep.toml is written; next: turnkeep check\n", "")
    text = (folder / "turnkeep.toml").read_text()
    snapshot("init.toml", text)
    code, out, err = turnkeep("check")
    assert (code, err) == (0, "")
    snapshot("check.txt", normal(out, folder))
    assert normal(out, folder) in (DOCS / "cli.md").read_text()
    (folder / "turnkeep.toml").write_text(uncommented(text))
    code, out, err = turnkeep("check", "--no-open")
    assert (code, err) == (0, "")
    place = text.split("\n").index('# ttl = "24h"') + 1
    assert re.search(rf"^session.ttl +86400.0 +turnkeep.toml:{place}$", out, re.MULTILINE)


def test_init_writes_over_nothing(folder, turnkeep):
    """Unless it is told to; - is standard output."""
    (folder / "turnkeep.toml").write_text("# mine\n")
    code, out, err = turnkeep("init")
    assert (code, out) == (1, "")
    assert err == "turnkeep: turnkeep.toml is there already; --force writes over it\n"
    assert (folder / "turnkeep.toml").read_text() == "# mine\n"
    assert turnkeep("init", "--force")[0] == 0
    assert turnkeep("init", "-")[1] == (folder / "turnkeep.toml").read_text()


def test_init_names_a_schema_that_is_beside_it(folder, turnkeep):
    """Editors read it from the first line; without a file the line would be wrong."""
    turnkeep("schema", "--output", "turnkeep.schema.json")
    turnkeep("init")
    first = (folder / "turnkeep.toml").read_text().split("\n")[0]
    assert first == "#:schema ./turnkeep.schema.json"
    assert turnkeep("check")[0] == 0


def test_init_without_a_lasting_store(folder, turnkeep, monkeypatch):
    """Core alone gives a file that holds, too."""
    monkeypatch.setattr(plugins_module, "entry_points", lambda group: [])
    turnkeep("init")
    assert load_config("turnkeep.toml", environ={}).store.name == "memory"


def test_check_tells_every_fault_at_once(folder, turnkeep, snapshot, monkeypatch):
    """A line a fault, with file, line, table and key; exit code 2; the documentation shows it."""
    monkeypatch.setenv("TURNKEEP__TOKENS__CONTER", "x")
    (folder / "turnkeep.toml").write_text(FAULTY)
    code, out, err = turnkeep("check")
    assert (code, out) == (2, "")
    text = normal(err, folder).replace("turnkeep: FOLDER/", "turnkeep: ")
    snapshot("check-faults.txt", text)
    page = (DOCS / "configuration.md").read_text()
    assert FAULTY in page
    assert text in page
    code, out, err = turnkeep("check", "--json")
    report = json.loads(out)
    assert (code, report["holds"]) == (2, False)
    assert [f"turnkeep: {problem}" for problem in report["problems"]] == err.split("\n")[:-1]


def test_check_names_the_source_of_every_value(folder, turnkeep, snapshot, monkeypatch):
    """File and line, a variable, both, or the default; what may be a secret is not shown."""
    monkeypatch.setenv("TURNKEEP__SESSION__SQLITE__BUSY_TIMEOUT", "1.5")
    monkeypatch.setenv("SESSIONS", "secret.db")
    (folder / "turnkeep.toml").write_text(
        '[session]\nstore = "turnkeep-session-sqlite:sqlite"\nttl = "24h"\n'
        '[session.sqlite]\npath = { env = "SESSIONS" }\nbusy_timeout = 7\n'
    )
    code, out, err = turnkeep("check")
    assert (code, err) == (0, "")
    assert "secret" not in out
    snapshot("check-sources.txt", normal(out, folder))
    code, out, _ = turnkeep("check", "--json", "--no-open")
    assert "secret" not in out
    report = json.loads(out)
    assert report["store"] == {
        "name": "sqlite",
        "plugin": "session_sqlite",
        "distribution": "turnkeep-session-sqlite",
        "version": package.__version__,
    }
    values = {value["key"]: value["source"] for value in report["values"]}
    assert values["session.ttl"].endswith("turnkeep.toml:3")
    assert values["session.sqlite.busy_timeout"] == "TURNKEEP__SESSION__SQLITE__BUSY_TIMEOUT"
    assert values["tokens.counter"] == "default"


def test_check_opens_for_real(folder, turnkeep):
    """What cannot be opened is exit code 1; --no-open leaves it alone."""
    (folder / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\nsqlite.path = "s.db"\n')
    (folder / "s.db").write_text("no database at all, but long enough to be taken for one" * 30)
    code, out, err = turnkeep("check")
    assert code == 1
    assert out.endswith("\nit holds, but not all that it names opens\n")
    assert "store 'sqlite' (turnkeep-session-sqlite" in err
    assert err.count("\n") == 1
    assert turnkeep("check", "--no-open")[0] == 0
    (folder / "s.db").unlink()
    assert json.loads(turnkeep("check", "--json")[1])["store"]["durability"] == "power"
    (folder / "s.db").unlink()
    turnkeep("check", "--no-open")
    assert not (folder / "s.db").exists()


def test_what_does_not_open_is_told_without_the_values_of_variables(folder, turnkeep, monkeypatch):
    """A store may name its file or server in its own sentence."""
    monkeypatch.setenv("TURNKEEP__SESSION__SQLITE__PATH", str(folder / "secret.db"))
    (folder / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\n')
    (folder / "secret.db").write_text("no database at all, but long enough to be one" * 30)
    code, out, err = turnkeep("check")
    assert (code, "does not open: …" in err) == (1, True)
    assert "secret" not in out + err


def test_check_without_a_file_says_that_nothing_lasts(turnkeep):
    """It holds all the same."""
    code, out, _ = turnkeep("check")
    assert code == 0
    assert "note: no turnkeep.toml here" in out
    assert "durability none" in out


def test_plugins_in_a_table_and_as_json(turnkeep, snapshot):
    """What each offers, and what that is."""
    code, out, err = turnkeep("plugins")
    assert (code, err) == (0, "")
    snapshot("plugins.txt", re.sub("  +", "  ", normal(out, "/nowhere")))
    [core, sqlite] = json.loads(turnkeep("plugins", "--json")[1])["plugins"]
    assert core["offers"][:2] == ["session store memory", "store wrapper compress"]
    assert (sqlite["problem"], sqlite["note"]) == (None, None)


def test_the_schema_is_stable(folder, turnkeep, snapshot):
    """The same plugins give the same text, to a file as to the output."""
    code, out, err = turnkeep("schema")
    assert (code, err) == (0, "")
    snapshot("turnkeep.schema.json", out)
    assert turnkeep("schema", "--output", "s.json") == (0, "", "")
    assert (folder / "s.json").read_text() == out
