"""What is wrong with a configuration: where it stands, all of it at once, and never a value."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from turnkeep import plugins as plugins_module
from turnkeep.config import AsDuration, Duration, duration_text, load_config, seconds
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import StoreSpec, hookimpl

SECRET = "hunter2-and-more"


class Pool(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(default=1, gt=0)
    hosts: list[str] = []


class ServerOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    url: str
    wait: Duration = 5.0
    often: Annotated[float, Field(gt=1), AsDuration()] = 2.0
    pool: Pool = Pool()

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if "@" in url:
            raise ValueError(f"no user and password in {url}, please")
        return url


class Unfinished(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1

    @field_validator("size", mode="before")
    @classmethod
    def _broken(cls, value: object) -> object:
        raise ZeroDivisionError


@pytest.fixture(autouse=True)
def server(monkeypatch, tmp_path):
    """A plugin with options of many kinds: a required one, tables, lists, durations."""
    module = ModuleType("plugin_server")
    specs = [
        StoreSpec(name="server", summary="", options=ServerOptions, open=print),
        StoreSpec(name="unfinished", summary="", options=Unfinished, open=print),
    ]
    module.session_stores = hookimpl(lambda: specs)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = EntryPoint(name="session_server", value=module.__name__, group="turnkeep")
    vars(point).update(dist=SimpleNamespace(name="dist-server", version="1", requires=None))
    monkeypatch.setattr(plugins_module, "entry_points", lambda group: [point])
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def problems(tmp_path):
    """Read a file with variables and give the faults, the file's name cut short."""

    def read(text, **environ):
        file = tmp_path / "turnkeep.toml"
        file.write_text(text)
        with pytest.raises((ConfigError, PluginError)) as caught:
            load_config(file, environ=environ)
        said = str(caught.value)
        assert SECRET not in said
        return said.replace(f"{file}:", "").split("\n")

    return read


HOLDS = '[session]\nstore = "server"\n[session.server]\nurl = "x"\n'


def test_faults_are_told_in_the_order_of_the_file(problems):
    """Core's and the plugin's, with the line of each key, in tables of any form."""
    said = problems(
        '[session]\nstore = "server"\n'
        'server.pool = { size = 0, hosts = ["a",\n 5], sise = 1 }\n'
        "server.wait = -1\n"
        "ttl = 0\n"
    )
    assert [line.split(":")[0] for line in said] == ["3", "3", "4", "4", "5", "6"]
    assert set(said) == {
        "3: [session.server] url: is missing; write it, or set a variable for it",
        "3: [session.server] pool.size: Input should be greater than 0",
        "4: [session.server] pool.sise: unknown option; did you mean 'size'?",
        "4: [session.server] pool.hosts[1]: Input should be a valid string",
        "5: [session.server] wait: Input should be greater than or equal to 0",
        "6: [session] ttl: Input should be greater than 0",
    }


def test_a_fault_in_code_has_its_path_of_keys():
    """There is no line to name."""
    with pytest.raises(ConfigError, match=r"mapping given .*: session\.server\.pool\.size: Input"):
        load_config({"session": {"store": "server", "server": {"url": "x", "pool": {"size": 0}}}})


def test_a_pyproject_names_its_own_lines(tmp_path):
    """Tables are named as they stand there."""
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n[tool.turnkeep.session]\nttl = 0\n')
    with pytest.raises(ConfigError, match=r"toml:4: \[tool\.turnkeep\.session\] ttl: "):
        load_config(cwd=tmp_path, environ={})


def test_a_variables_fault_is_the_variables(problems):
    """Not the file's, though the key stands there as well; told once."""
    name = "TURNKEEP__SESSION__TTL"
    assert problems(f'{HOLDS}[tokens]\ncounter = "estimate"\n', **{name: "0"}) == [
        f"{name}: [session] ttl: Input should be greater than 0"
    ]
    assert problems('[session]\nttl = "soon"\n', **{name: "0"}) == [
        f"{name}: [session] ttl: Input should be greater than 0"
    ]


def test_a_variable_does_not_hide_what_the_file_has_wrong(problems):
    """A value that is covered is checked too; what is missing or not installed is not told."""
    said = problems('[session]\nttl = "soon"\n', TURNKEEP__SESSION__TTL="60")
    assert [line.split(":")[0] for line in said] == ["2"]
    load_config({"session": {}}, environ={})
    assert problems(
        '[session]\nstore = "elsewhere"\n[session.server]\nwait = { env = "GONE" }\n',
        TURNKEEP__SESSION__STORE="server",
        TURNKEEP__SESSION__SERVER__WAIT="1",
    ) == ["3: [session.server] url: is missing; write it, or set a variable for it"]


def test_a_required_option_may_come_from_a_variable(tmp_path):
    """Also where its text looks like a number."""
    file = tmp_path / "turnkeep.toml"
    file.write_text('[session]\nstore = "server"\n')
    environ = {"TURNKEEP__SESSION__SERVER__URL": "12345"}
    assert load_config(file, environ=environ).store_options.url == "12345"


def test_variables_that_do_not_fit_the_file_are_told(problems):
    """A value cannot be a table as well."""
    said = problems("[session]\nttl = 5\n", TURNKEEP__SESSION__TTL__X="1", TURNKEEP__TOKENS="1")
    assert said[0].startswith("TURNKEEP__SESSION__TTL__X: session.ttl is a value, not a table")
    assert said[1] == "TURNKEEP__TOKENS: [tokens]: must be a table, as in [tokens]"


def test_variables_that_are_not_set_are_told_with_the_rest(problems):
    """In lists and tables as well; those of a store that is not chosen wait for their turn."""
    text = (
        '[session]\nstore = "server"\nttl = 0\n[session.server]\nurl = { env = "U" }\n'
        'pool.hosts = ["a", { env = "H" }]\nsession = 1\n'
    )
    assert problems(text) == [
        "3: [session] ttl: Input should be greater than 0",
        "5: [session.server] url: the variable U is not set",
        "6: [session.server] pool.hosts[1]: the variable H is not set",
        "7: [session.server] session: unknown option; known: url, wait, often, pool",
    ]
    assert load_config({"session": {"server": {"url": {"env": "U"}}}}, environ={})


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (HOLDS.replace('"x"', '{ env = "U" }'), {"U": f"db://me:{SECRET}@host"}),
        (HOLDS, {"TURNKEEP__SESSION__SERVER__URL": f"db://me:{SECRET}@host"}),
        (HOLDS.replace('"x"', f'"db://me:{SECRET}@host"'), {}),
        (HOLDS, {"TURNKEEP__SESSION__STORE": SECRET}),
        (HOLDS, {"TURNKEEP__SESSION__ON_CONFLICT": SECRET}),
        (HOLDS, {"TURNKEEP__SESSION__TTL": SECRET}),
        (HOLDS, {"TURNKEEP__SESSION__SERVER": SECRET}),
        (f'{HOLDS}wait = "{SECRET}"\n', {}),
        (f"{HOLDS}pool = '{SECRET}'\n", {}),
        ('[session]\nstore = { env = "S" }\n', {"S": SECRET}),
    ],
)
def test_no_message_holds_a_value(problems, text, environ):
    """Neither one of a variable nor an option's, though a plugin's sentence repeats it."""
    assert problems(text, **environ)


def test_a_plugins_own_sentence_is_shown_where_it_gives_nothing_away(problems):
    """With the value of the file masked."""
    said = problems(HOLDS.replace('"x"', '"a@b.example"'))
    assert said == ["4: [session.server] url: no user and password in …, please"]
    said = problems(HOLDS.replace('"x"', '{ env = "U" }'), U="me@host")
    assert "the reason is not shown" in said[0]


def test_a_model_that_fails_is_the_plugins_fault(problems):
    """A sentence, not a traceback."""
    said = problems('[session]\nstore = "unfinished"\nttl = 0\nunfinished.size = 2\n')
    assert len(said) == 2
    assert "cannot be checked: ZeroDivisionError in the plugin" in said[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('ttl = "1h"\n', "1: [ttl]: unknown table; 'ttl' belongs to [session]"),
        ("[server]\n", "1: [server]: unknown table; 'server' belongs to [session]"),
        ('[session]\nurl = "x"\n', "2: [session] url: unknown option; 'url' belongs to [session.server]"),
        ('"a b" = 1\n', "1: ['a b']: unknown table; known: session, model, tokens, context"),
        ('[session]\non_pending = "rejct"\n', "did you mean 'reject'?"),
    ],
)  # fmt: skip
def test_a_key_in_the_wrong_place_is_told_where_it_belongs(problems, text, said):
    """And a misspelt choice what was meant."""
    assert problems(text)[0].endswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[session]\nttl = = 3\n", ":2:7: not valid TOML: Invalid value"),
        (b"[session]\nttl = 1\nttl = 2\nx = 1\n", ":3:8: not valid TOML: this key is given twice"),
        (b"[a.b]\n[a.b]\n", ":2:5: not valid TOML: Cannot declare [a.b] twice"),
        (b'x = "never closed', ":1:18: not valid TOML: Unterminated string"),
        (b"[session]\n# \xff\n", ":2: not UTF-8; save the file as UTF-8"),
        (b"x = " + b"[" * 100_000, ": nested too deeply to be read"),
    ],
)
def test_what_is_no_toml_is_placed(tmp_path, text, said):
    """With line and column, and without the value that stands there."""
    file = tmp_path / "turnkeep.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert str(caught.value) == f"{file}{said}"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    """As some editors write them; lines are counted as shown there."""
    file = tmp_path / "turnkeep.toml"
    file.write_bytes(b"\xef\xbb\xbf[session]\r\nttl = 60\r\nsweep = 0\r\n")
    with pytest.raises(ConfigError, match=r"toml:3: \[session\] sweep"):
        load_config(file, environ={})


def test_sweep_is_a_duration_above_zero():
    """Seconds or a text with a unit; not set, nothing is swept."""
    assert load_config({"session": {"sweep": "10m"}}).session.sweep == 600
    assert load_config({}).session.sweep is None
    for wrong in (0, "0s", -1, True, "soon"):
        with pytest.raises(ConfigError, match=r"session\.sweep"):
            load_config({"session": {"sweep": wrong}})


def test_a_turnkeep_toml_goes_before_any_pyproject(tmp_path):
    """Also where the pyproject.toml is nearer; one without our table is passed over unread."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("not toml = = at all")
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.turnkeep]\nsession.ttl = 1\n")
    assert load_config(cwd=below, environ={}).session.ttl == 1
    (tmp_path / "turnkeep.toml").write_text("[session]\nttl = 2\n")
    assert load_config(cwd=below, environ={}).session.ttl == 2


def test_the_search_ends_at_a_home_that_is_a_link(tmp_path, monkeypatch):
    """The home folder is the end of it, by whatever name."""
    home = tmp_path / "real" / "me"
    (home / "work").mkdir(parents=True)
    (tmp_path / "turnkeep.toml").write_text("[session]\nttl = 2\n")
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert load_config(cwd=home / "work", environ={}).session.ttl is None


def test_a_configuration_shows_no_secret_when_it_is_printed():
    """Its repr names the store, not the options."""
    config = load_config({"session": {"store": "server", "server": {"url": SECRET}}})
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("value", "text"), [(300.0, "5m"), (0.25, "250ms"), (1.5, "1500ms"), (86400, "1d")]
)
def test_durations_are_written_as_they_are_read(value, text):
    """In the largest unit that is whole."""
    assert (duration_text(value), seconds(text)) == (text, value)
