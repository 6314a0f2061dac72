"""Plugins are found one by one; what is broken stays its own problem."""

import logging
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from turnkeep import plugins as plugins_module
from turnkeep.builtin import NoOptions
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import StoreSpec, hookimpl
from turnkeep.plugins import Plugins


def spec(name, **fields):
    return StoreSpec(name=name, summary="", options=NoOptions, open=None, **fields)


def nothing():
    return []


@pytest.fixture
def install(monkeypatch):
    """Pretend that modules with these hooks are installed."""
    points = []

    def add(name, **hooks):
        module = ModuleType(f"plugin_{name}")
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(EntryPoint(name=name, value=module.__name__, group="turnkeep"))

    add.points = points
    monkeypatch.setattr(plugins_module, "entry_points", lambda group: points)
    return add


def test_the_core_offers_through_the_same_hooks(install):
    """Built-ins are a row like any other."""
    found = Plugins().found
    assert [(plugin.name, plugin.offers) for plugin in found] == [
        ("core", ("session store memory", "token counter estimate"))
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
    install.points.append(
        EntryPoint(name="session_gone", value="no_such_module_here", group="turnkeep")
    )
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
    install.points.append(EntryPoint(name="x", value="no_such_module_here", group="turnkeep"))
    with pytest.raises(ModuleNotFoundError):
        Plugins()


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        ({"sesion_stores": nothing}, "sesion_stores"),
        ({"session_stores": lambda: [spec("new", api=2)]}, "made for plugin api 2"),
        ({"session_stores": lambda: ["sqlite"]}, "must return StoreSpec"),
        ({"session_stores": lambda: 1 / 0}, "ZeroDivisionError"),
    ],
)
def test_faults_of_a_plugin_are_told(install, hooks, problem):
    """A misspelt hook, another api, a wrong return, an exception: each has its sentence."""
    install("bad", **hooks)
    assert problem in Plugins().found[1].problem


def test_two_plugins_with_one_name_must_be_told_apart(install):
    """The message says what to write."""
    install("one", session_stores=lambda: [spec("same")])
    install("two", session_stores=lambda: [spec("same")])
    with pytest.raises(ConfigError, match="offered by two plugins"):
        Plugins().store("same")


def test_an_unknown_name_gets_a_hint(install):
    """The closest name, or the pip line for one of ours."""
    with pytest.raises(ConfigError, match="Did you mean 'memory'"):
        Plugins().store("memry")
    with pytest.raises(ConfigError, match="pip install turnkeep-session-sqlite"):
        Plugins().store("sqlite")


def test_a_plugin_can_be_disabled(install, monkeypatch):
    """TURNKEEP_DISABLED_PLUGINS names entry points that are not even imported."""
    install("mine", session_stores=lambda: 1 / 0)
    monkeypatch.setenv("TURNKEEP_DISABLED_PLUGINS", "mine, other")
    assert Plugins().found[1].problem == "disabled by TURNKEEP_DISABLED_PLUGINS"


@pytest.mark.parametrize("name", ["store", "ttl", "", "My Store"])
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
