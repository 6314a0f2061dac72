"""Plugins are found one by one; what is broken stays its own problem."""

import logging
import re
import sys
import threading
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import pytest

from turnkeep import plugin_load
from turnkeep import plugins as plugins_module
from turnkeep.builtin import NoOptions
from turnkeep.config import SessionOptions, TokenOptions
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import CounterSpec, StoreSpec, hookimpl
from turnkeep.plugins import CORE_KEYS, Plugins


def spec(name, **fields):
    return StoreSpec(**{"name": name, "summary": "", "options": NoOptions, "open": print} | fields)


def nothing():
    return []


@pytest.fixture
def install(monkeypatch):
    """Pretend that modules with these hooks are installed, each by a distribution of its own."""
    points = []

    def add(name, **hooks):
        module = ModuleType(f"plugin_{name}")
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        add.point(name, module.__name__)

    def point(name, value, **dist):
        entry = EntryPoint(name=name, value=value, group="turnkeep")
        fields = {"name": f"Dist.{name}", "version": "1.2", "requires": None} | dist
        vars(entry).update(dist=SimpleNamespace(**fields))
        points.append(entry)

    add.point = point
    monkeypatch.setattr(plugins_module, "entry_points", lambda group: points)
    monkeypatch.setattr(plugins_module, "_warned", set())
    return add


def test_the_core_offers_through_the_same_hooks(install):
    """Built-ins are a row like any other."""
    found = Plugins().found
    steps = [f"context step {name}" for name in ("compact", "notes", "dedupe", "window")]
    wrappers = [f"store wrapper {name}" for name in ("compress", "retry", "cache", "metrics")]
    assert [(plugin.name, plugin.offers) for plugin in found] == [
        ("core", ("session store memory", *wrappers, "token counter estimate", *steps))
    ]


def test_what_a_plugin_offers_can_be_chosen(install):
    """By its name in TOML."""
    install("mine", session_stores=lambda: [spec("mine")])
    assert Plugins().store("mine").name == "mine"


def test_plugins_are_sorted_by_name(install):
    """The order of installation means nothing."""
    for name in ("zeta", "alpha"):
        install(name, session_stores=nothing)
    assert [plugin.name for plugin in Plugins().found] == ["core", "alpha", "zeta"]


def test_a_plugin_that_does_not_load_is_a_row_and_a_warning(install, caplog):
    """The program goes on; naming the plugin is an error with its cause."""
    install.point("session_gone", "no_such_module_here")
    with caplog.at_level(logging.WARNING):
        found = Plugins()
    assert "session_gone" in caplog.text
    assert "no_such_module_here" in found.found[1].problem
    assert found.store("memory").name == "memory"
    with pytest.raises(PluginError, match="cannot be used") as caught:
        found.store("gone")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_strict_plugins_raise(install, monkeypatch):
    """TURNKEEP_STRICT_PLUGINS=1 is for tests and deployment."""
    monkeypatch.setenv("TURNKEEP_STRICT_PLUGINS", "1")
    install.point("x", "no_such_module_here")
    with pytest.raises(PluginError, match=r"plugin x of Dist.x 1.2 cannot be used") as caught:
        Plugins()
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert Plugins(strict=False).found[1].problem


async def later():
    return []


def endless():
    while True:
        yield spec("more")


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        (
            {"sesion_stores": nothing},
            "sesion_stores is marked as a hook.*did you mean session_stores",
        ),
        ({"session_stores": lambda options: []}, "a hook does not fit.*options"),
        ({"session_stores": lambda: [spec("new", api=2)]}, "for plugin api 2.*--upgrade turnkeep"),
        ({"session_stores": lambda: [spec("old", api=0)]}, "for plugin api 0.*--upgrade Dist.bad"),
        ({"session_stores": lambda: ["sqlite"]}, "a list that holds a str; .* StoreSpec objects"),
        ({"session_stores": lambda: spec("one")}, "returns a StoreSpec; it must return a list"),
        ({"session_stores": lambda: "sqlite"}, "returns a str"),
        ({"session_stores": later}, "session_stores is async"),
        ({"session_stores": endless}, "offers 'more' twice"),
        ({"session_stores": lambda: [spec(5)]}, "5 cannot be a name"),
        (
            {"session_stores": lambda: [spec("x", options=dict)]},
            "options of 'x' must be a pydantic",
        ),
        ({"session_stores": lambda: [spec("x", open=None)]}, "`open` of 'x' must be a function"),
        ({"token_counters": lambda: [spec("x")]}, "must hold CounterSpec objects"),
        (
            {"session_stores": lambda: 1 / 0},
            "fails while it is loaded: ZeroDivisionError.*DISABLED",
        ),
        ({}, "none of its functions is marked with @hookimpl"),
    ],
)
def test_faults_of_a_plugin_are_told(install, hooks, problem):
    """A misspelt hook, another api, a wrong return, an exception: each has its sentence."""
    install("bad", **hooks)
    assert re.search(problem, Plugins().found[1].problem)


def test_a_plugin_is_warned_of_once_in_a_process(install, caplog):
    """However often the configuration is read; with its distribution and version."""
    install("bad", session_stores=lambda: 1 / 0)
    for _ in range(3):
        Plugins()
    [record] = caplog.records
    assert "plugin bad of Dist.bad 1.2 cannot be used" in record.getMessage()


def test_a_message_that_is_code_or_long_is_one_line(install):
    """Whatever an exception's author made of it."""

    class Odd(BaseException):
        def __str__(self):
            raise RuntimeError

    def odd():
        raise Odd

    def long():
        raise ValueError("x\n\x1b[31m" * 1000)

    install("a", session_stores=odd)
    install("b", session_stores=long)
    _, a, b = Plugins().found
    assert "its message cannot be read" in a.problem
    assert len(b.problem) < 500
    assert b.problem.isprintable()


def test_an_interrupt_is_the_users(install):
    """Ctrl-C while plugins load ends the program."""

    def interrupted():
        raise KeyboardInterrupt

    install("a", session_stores=interrupted)
    with pytest.raises(KeyboardInterrupt):
        Plugins()


@pytest.mark.parametrize(
    ("missing", "requires", "said"),
    [
        ("redis.asyncio", ["redis>=5,<7 ; extra == 'dev'"], r'pip install "Dist.x\[dev\]"'),
        ("redis.asyncio", ["Redis>=5"], r'pip install "Redis>=5"$'),
        ("yaml", ["pluggy", "No-Such-YAML>=6"], r'pip install "No-Such-YAML>=6"$'),
        ("yaml", None, "pip install yaml$"),
        ("plugin_x_inner", ["pluggy"], "pip install plugin_x_inner$"),
        ("plugin_x", None, "its own module plugin_x is not there; .*--force-reinstall Dist.x"),
        ("turnkeep.later", None, "needs another turnkeep .*--upgrade turnkeep Dist.x"),
    ],
)
def test_a_missing_module_says_what_to_install(install, missing, requires, said):
    """What the distribution asks for, if it names it; else the module."""

    def gone():
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    install("x", session_stores=gone)
    vars(plugins_module.entry_points(group="turnkeep")[0].dist)["requires"] = requires
    assert re.search(said, Plugins().found[1].problem)


def test_two_plugins_with_one_name_must_be_told_apart(install, caplog):
    """The message says what to write; until then it is a note."""
    install("one", session_stores=lambda: [spec("same", summary="1")])
    install("two", session_stores=lambda: [spec("same", summary="2")])
    found = Plugins()
    assert [bool(plugin.note) for plugin in found.found] == [False, True, True]
    [record] = caplog.records
    assert '"Dist.one:same" or "Dist.two:same" chooses' in record.getMessage()
    with pytest.raises(
        ConfigError, match=r'offered by two plugins; write "Dist.one:same" or "Dist.two:same"'
    ):
        found.store("same")
    assert found.store("dist-two:same").summary == "2"
    with pytest.raises(ConfigError, match=r"Did you mean 'Dist.one:same'"):
        found.store("three:same")


def test_a_built_ins_name_is_not_taken(install, caplog):
    """A plugin that offers it is told, and chosen only by its distribution."""
    install("thief", session_stores=lambda: [spec("memory", summary="stolen")])
    found = Plugins()
    assert found.store("memory").summary != "stolen"
    assert found.store("Dist.thief:memory").summary == "stolen"
    assert (
        "thief of Dist.thief 1.2 offer the session store 'memory'; \"memory\" alone means core's"
        in caplog.text
    )


def test_one_distribution_offers_a_name_once(install):
    """Not even `dist:name` could tell its two plugins apart."""
    install("a", session_stores=lambda: [spec("same")])
    install("b", session_stores=lambda: [spec("same")])
    for point in plugins_module.entry_points(group="turnkeep"):
        point.dist.name = "both"
    found = Plugins()
    assert "which a of the same distribution offers already" in found.found[2].problem
    assert found.store("same")


def test_what_a_plugin_prints_does_not_mix_with_the_output(install, capsys):
    """It goes to standard error, and is told; other threads print where they like."""

    def talk():
        print("hello")
        other = threading.Thread(target=print, args=("the program's",))
        other.start()
        other.join()
        return []

    install("talks", session_stores=talk)
    found = Plugins()
    print("after")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("the program's\nafter\n", "hello\n")
    assert "it prints while it is loaded" in found.found[1].note


def test_a_plugin_that_waits_for_ever_is_named(install, monkeypatch):
    """By a warning with the way out, while it waits."""
    monkeypatch.setattr(plugin_load, "SLOW", 0.01)
    told = threading.Event()
    records = []

    class Told(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())
            told.set()

    def wait():
        assert told.wait(60)
        return []

    install("locked", session_stores=wait)
    handler = Told()
    logging.getLogger("turnkeep.plugins").addHandler(handler)
    try:
        Plugins()
    finally:
        logging.getLogger("turnkeep.plugins").removeHandler(handler)
    assert "locked of Dist.locked 1.2 is still loading" in records[0]
    assert "TURNKEEP_DISABLED_PLUGINS=locked" in records[0]


def test_an_unknown_name_gets_a_hint(install):
    """The closest name, or the pip line for one of ours."""
    with pytest.raises(ConfigError, match="Did you mean 'memory'"):
        Plugins().store("memry")
    with pytest.raises(ConfigError, match="pip install turnkeep-session-sqlite"):
        Plugins().store("sqlite")


def test_a_plugin_can_be_disabled(install, monkeypatch):
    """By its entry point or distribution; it is not even imported, and naming it says so."""
    install("session_mine", session_stores=lambda: 1 / 0)
    for named in ("session_mine, other", "dist_session-mine"):
        monkeypatch.setenv("TURNKEEP_DISABLED_PLUGINS", named)
        found = Plugins()
        assert found.found[1].problem == "disabled by TURNKEEP_DISABLED_PLUGINS"
        with pytest.raises(PluginError, match="disabled by"):
            found.store("mine")


@pytest.mark.parametrize("name", ["store", "ttl", "sweep", "", "My Store"])
def test_a_plugin_cannot_take_a_key_of_the_configuration(install, name):
    """Its table would hide the key."""
    install("bad", session_stores=lambda: [spec(name)])
    assert "cannot be a name" in Plugins().found[1].problem


def test_a_plugin_that_exits_is_a_broken_plugin(install):
    """SystemExit at import stops nobody else."""

    def leave():
        raise SystemExit("needs a licence")

    install("bad", session_stores=leave)
    assert "needs a licence" in Plugins().found[1].problem


def test_every_key_of_core_is_kept_from_plugins():
    """A key that is added to a table is no name for a plugin."""
    assert {*SessionOptions.model_fields, *TokenOptions.model_fields} <= CORE_KEYS


def test_a_counter_is_not_blamed_for_a_store(install):
    """Broken plugins are matched by kind."""
    install("tokens_x", token_counters=lambda: 1 / 0)
    with pytest.raises(ConfigError, match=r"unknown session store 'x'.*Not usable.*tokens_x of"):
        Plugins().store("x")
    with pytest.raises(PluginError, match="token counter 'x' comes from plugin tokens_x"):
        Plugins().counter("x")


def test_a_chosen_spec_knows_its_plugin(install):
    """For messages that name distribution and version."""
    counter = CounterSpec(name="mine", summary="", options=NoOptions, open=print)
    install("tokens_mine", token_counters=lambda: [counter])
    found = Plugins()
    assert found.plugin_of(found.counter("mine")).label == "tokens_mine of Dist.tokens_mine 1.2"
