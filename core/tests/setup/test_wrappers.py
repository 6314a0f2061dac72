"""`[session] wrap`: what stands around the store, from it outwards."""

from dataclasses import replace

import pytest

import turnkeep
from turnkeep import Message
from turnkeep.config import load_config
from turnkeep.errors import ConfigError
from turnkeep.plugins import Plugins
from turnkeep.stores.compress import CompressedStore
from turnkeep.stores.memory import MemoryStore


def load(session, **environ):
    return load_config({"session": session}, environ=environ)


def write(folder, text):
    (folder / "turnkeep.toml").write_text(text)
    return folder / "turnkeep.toml"


async def test_wrappers_stand_around_the_store_from_it_outwards():
    """The first of the list is next to it, the last is what turns use."""
    wrap = ["compress", {"use": "compress", "above": 7}]
    async with turnkeep.open({"session": {"wrap": wrap, "compress": {"above": 5}}}) as keep:
        outer = keep.wrapper("compress")
        assert outer._options.above == 7
        assert isinstance(outer.inner, CompressedStore)
        assert outer.inner._options.above == 5
        assert isinstance(outer.inner.inner, MemoryStore)
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi" * 100))
        assert (await keep.sessions.get("s")).events[0].content[0].content == "Hi" * 100


async def test_a_wrapper_that_is_not_there_is_told():
    """By the names of those that are."""
    async with turnkeep.open({"session": {"wrap": ["compress"]}}) as keep:
        with pytest.raises(ConfigError, match="wrap names no 'cache'; it names: compress"):
            keep.wrapper("cache")


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ({"wrap": ["compres"]}, r"session.wrap\[0\]: unknown store wrapper 'compres'.*'compress'"),
        ({"wrap": ["compress", "x"]}, r"session.wrap\[1\]: unknown store wrapper 'x'; installed: "),
        ({"wrap": "compress"}, "session.wrap: Input should be a valid list"),
        ({"wrap": ["compress"], "compress": {"abov": 1}}, "session.compress.abov: unknown option"),
        ({"wrap": ["compress"], "compress": 1}, "session.compress: must be a table"),
        ({"wrap": ["compress"], "compress": {"above": -1}}, "session.compress.above: Input sh"),
        ({"wrap": [{"use": "compress", "abov": 1}]}, r"session.wrap\[0\].abov: unknown option"),
        ({"wrap": [{"above": 1}]}, r"session.wrap\[0\].*use: is missing"),
        ({"above": 1}, r"session.above: unknown option; 'above' belongs to \[session.compress\]"),
    ],
)
def test_faults_are_told_where_they_stand(session, said):
    """With what was probably meant."""
    with pytest.raises(ConfigError, match=said):
        load(session)


def test_one_of_ours_that_is_not_installed_is_told_how_to_install(monkeypatch):
    """The exact line of pip."""
    monkeypatch.setenv("TURNKEEP_DISABLED_PLUGINS", "x")
    monkeypatch.setattr("turnkeep.plugins.entry_points", lambda group: [])
    with pytest.raises(ConfigError, match="Run: pip install turnkeep-wrap-encrypt"):
        load({"wrap": ["encrypt"]})


def test_the_table_of_a_wrapper_that_is_not_used_waits():
    """As the table of a store does: it is not checked."""
    config = load({"compress": {"abov": 1}, "encrypt": {"anything": 1}})
    assert config.wrappers == ()


def test_options_beside_a_name_go_before_those_of_its_table(tmp_path):
    """Both hold; a variable may stand in either."""
    file = write(
        tmp_path,
        '[session]\nwrap = [{ use = "compress", above = { env = "ABOVE" } }]\n'
        "[session.compress]\nabove = 1\nlevel = 9\n",
    )
    [chosen] = load_config(file, environ={"ABOVE": "33"}).wrappers
    assert (chosen.options.above, chosen.options.level) == (33, 9)


def test_a_store_and_a_wrapper_of_one_name_are_not_used_together():
    """Their tables would be one."""
    plugins = Plugins(warn=False)
    [offer] = [offer for offer in plugins.stores if offer.spec.name == "memory"]
    plugins.stores.append(replace(offer, spec=replace(offer.spec, name="compress")))
    tables = {"session": {"store": "compress", "wrap": ["compress"]}}
    with pytest.raises(
        ConfigError, match=r"wrap\[0\]: store and wrapper are both named 'compress'"
    ):
        load_config(tables, plugins=plugins)
    tables["session"]["wrap"] = ["metrics"]
    assert load_config(tables, plugins=plugins).store.name == "compress"


def test_wrappers_are_listed_with_the_source_of_their_values(tmp_path):
    """By name, from the store outwards; options beside a name are not shown."""
    file = write(
        tmp_path,
        '[session]\nwrap = ["compress", { use = "compress", level = 3 }]\n'
        "[session.compress]\nabove = 1\n",
    )
    found = {setting.path: setting for setting in load_config(file, environ={}).settings()}
    assert found["session", "wrap"].value == ["compress", "compress"]
    assert found["session", "compress", "above"].source.endswith("turnkeep.toml:4")
