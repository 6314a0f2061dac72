"""turnkeep.toml: found, read, checked."""

import pytest

from turnkeep.config import find_file, load_config, seconds
from turnkeep.errors import ConfigError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_a_file_sessions_are_in_memory_and_that_is_said(home):
    """The default is memory, with one line on how to keep sessions."""
    config = load_config(environ={}, cwd=home)
    assert (config.store.name, config.counter.name) == ("memory", "estimate")
    assert "turnkeep.toml" in config.notes[0]


def test_a_mapping_is_taken_as_it_is(home):
    """In code no file and no variable is read."""
    config = load_config(
        {"session": {"ttl": "24h"}}, environ={"TURNKEEP__SESSION__TTL": "1"}, cwd=home
    )
    assert config.session.ttl == 86400
    assert config.notes == ()


def test_the_nearest_file_upward_wins(home):
    """A file in the folder, or in one above it, is found."""
    top = write(home / "repo" / "turnkeep.toml", "")
    below = home / "repo" / "a" / "b"
    below.mkdir(parents=True)
    assert find_file(below, {}) == top
    nearer = write(home / "repo" / "a" / "turnkeep.toml", "")
    assert find_file(below, {}) == nearer


def test_the_search_ends_at_the_repository(home):
    """A file above the repository's root belongs to somebody else."""
    write(home / "turnkeep.toml", "")
    (home / "repo" / ".git").mkdir(parents=True)
    assert find_file(home / "repo", {}) is None


def test_pyproject_may_hold_the_tables(home):
    """`[tool.turnkeep]` works as a file of its own."""
    write(home / "repo" / "pyproject.toml", '[tool.turnkeep.session]\nttl = "7d"\n')
    config = load_config(environ={}, cwd=home / "repo")
    assert config.session.ttl == 7 * 86400


def test_the_variable_names_a_file(home):
    """TURNKEEP_CONFIG goes before what is found; a file that is not there is an error."""
    named = write(home / "x" / "other.toml", "[session]\nttl = 5\n")
    assert load_config(environ={"TURNKEEP_CONFIG": str(named)}, cwd=home).session.ttl == 5
    with pytest.raises(ConfigError, match="no such file"):
        load_config(environ={"TURNKEEP_CONFIG": str(home / "gone.toml")}, cwd=home)


def test_the_users_file_is_the_last_resort(home):
    """The user's config folder holds defaults."""
    mine = write(home / "cfg" / "turnkeep" / "turnkeep.toml", "")
    assert find_file(home, {"XDG_CONFIG_HOME": str(home / "cfg")}) == mine


def test_variables_go_on_top(home):
    """Values are TOML, else texts; tables are told by two underscores."""
    file = write(home / "turnkeep.toml", '[session]\nturn_timeout = "1m"\n')
    environ = {"TURNKEEP__SESSION__TTL": "60", "TURNKEEP__SESSION__ON_CONFLICT": "wait"}
    config = load_config(file, environ=environ)
    assert (config.session.ttl, config.session.turn_timeout, config.session.on_conflict) == (
        60,
        60,
        "wait",
    )


def test_a_value_may_come_from_a_variable(home):
    """`{ env = "VAR" }` keeps secrets out of the file; a missing one is named."""
    file = write(home / "turnkeep.toml", '[session]\nttl = { env = "MY_TTL" }\n')
    assert load_config(file, environ={"MY_TTL": "90s"}).session.ttl == 90
    with pytest.raises(ConfigError, match=r"toml:2: \[session\] ttl.*MY_TTL is not set"):
        load_config(file, environ={})


def test_all_faults_are_told_at_once(home):
    """Each with its file, table and key, and what was meant."""
    file = write(
        home / "turnkeep.toml",
        '[session]\nstroe = "sqlite"\nttl = "soon"\non_conflict = "fight"\n[tokens]\ncounter = "estimat"\n[sesion]\n',
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    said = str(caught.value)
    assert said.count(str(file)) == len(caught.value.problems) == 5
    for part in (
        "stroe: unknown option; did you mean 'store'",
        "24h",
        "[session] on_conflict",
        "'estimate'",
        "did you mean 'session'",
    ):
        assert part in said


def test_a_store_that_is_not_installed_says_how_to_get_it(monkeypatch):
    """The exact command is in the message."""
    monkeypatch.setattr("turnkeep.plugins.entry_points", lambda group: [])
    with pytest.raises(ConfigError, match=r"unknown session store 'redis'; installed: memory"):
        load_config({"session": {"store": "redis"}})


def test_options_of_the_store_are_checked():
    """A store's own table allows its own options only."""
    with pytest.raises(ConfigError, match=r"session\.memory\.path: unknown option"):
        load_config({"session": {"memory": {"path": "x"}}})


def test_a_misspelt_table_of_a_store_is_told():
    """Tables of stores that are not chosen wait for their turn; others are a mistake."""
    with pytest.raises(ConfigError, match=r"session\.sqlit: unknown option; did you mean 'sqlite'"):
        load_config({"session": {"sqlit": {"path": "x"}}})
    load_config({"session": {"store": "memory", "sqlite": {"path": "x"}}})


def test_broken_toml_names_the_line(home):
    """Syntax errors carry file, line and column."""
    with pytest.raises(ConfigError, match=r"turnkeep\.toml:2:7: not valid TOML"):
        load_config(write(home / "turnkeep.toml", "[session]\nttl = = 3\n"), environ={})


@pytest.mark.parametrize(
    ("text", "value"),
    [("24h", 86400), ("1.5s", 1.5), ("250ms", 0.25), ("10 m", 600), ("7", 7), ("2d", 172800)],
)
def test_durations(text, value):
    """A number with a unit; a bare number is seconds."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1y", "1h30"])
def test_bad_durations(text):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="24h"):
        seconds(text)


@pytest.mark.parametrize(
    "tables",
    [
        {"session": 5},
        {"session": {"memory": 5}},
        {"tokens": {"estimate": 1}},
        {1: 2},
        {"session": {"ttl": -1}},
        {"session": {"ttl": True}},
        {"session": {"ttl": float("nan")}},
        {"session": {"turn_timeout": float("inf")}},
        {"session": {"store": ["memory"]}},
    ],
)
def test_odd_shapes_are_config_errors(tables):
    """Whatever stands where a table or a number should, nothing else is raised."""
    with pytest.raises(ConfigError):
        load_config(tables)


@pytest.mark.parametrize(
    "environ",
    [
        {"TURNKEEP__SESSION": "5"},
        {"TURNKEEP__SESSION__TTL": "1\nother=2"},
        {"TURNKEEP__": "1"},
        {"TURNKEEP__X": "[" * 5000},
    ],
)
def test_odd_variables_are_config_errors(environ, home):
    """They go the same way as the file."""
    with pytest.raises(ConfigError):
        load_config(environ=environ, cwd=home)


@pytest.mark.parametrize("text", ["tool = 5\n", "[tool]\nturnkeep = 5\n"])
def test_an_odd_pyproject_is_told_or_passed_over(home, text):
    """A pyproject.toml that is not ours does no harm."""
    write(home / "pyproject.toml", text)
    try:
        assert load_config(environ={}, cwd=home).store.name == "memory"
    except ConfigError as error:
        assert "must be a table" in str(error)


def test_faults_of_a_table_and_of_its_plugin_are_told_together():
    """A wrong key of core's does not hide the options of the store."""
    with pytest.raises(ConfigError) as caught:
        load_config({"session": {"ttl": "soon", "memory": {"path": "x"}}})
    assert len(caught.value.problems) == 2
