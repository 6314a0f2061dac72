"""Opening and closing what the configuration names."""

import logging
from contextlib import asynccontextmanager

import pytest

import turnkeep
from turnkeep import Keeper, Message, TurnkeepError
from turnkeep.builtin import NoOptions
from turnkeep.config import load as config_module
from turnkeep.hookspecs import CounterSpec, StoreSpec
from turnkeep.stores.memory import MemoryStore
from turnkeep.tokens.estimate import EstimateCounter


async def test_without_a_file_one_line_says_that_nothing_lasts(tmp_path, monkeypatch, caplog):
    """And how to keep sessions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        async with turnkeep.open() as keep, keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
    assert len(caplog.records) == 1
    assert 'store = "sqlite"' in caplog.text


async def test_a_given_store_stays_open():
    """Close only what you opened."""
    store = MemoryStore()
    async with Keeper(store=store):
        pass
    assert (await store.list()).heads == []


async def test_a_keeper_must_be_open():
    """The message says how."""
    with pytest.raises(TurnkeepError, match="async with"):
        Keeper(store=MemoryStore()).turn("s")
    with pytest.raises(TurnkeepError, match="needs a store"):
        async with Keeper():
            pass


@pytest.fixture
def opened(monkeypatch):
    """A store and a counter that note when they are opened and closed."""
    order = []

    def offering(name, value):
        @asynccontextmanager
        async def open_it(_options, _env):
            order.append(f"open {name}")
            if isinstance(value, Exception):
                raise value
            yield value
            order.append(f"close {name}")

        return open_it

    class Offered:
        found = stores = counters = ()
        counter_value = EstimateCounter()

        def store(self, name):
            return StoreSpec(
                name=name, summary="", options=NoOptions, open=offering("store", MemoryStore())
            )

        def counter(self, name):
            return CounterSpec(
                name=name,
                summary="",
                options=NoOptions,
                open=offering("counter", self.counter_value),
            )

        def store_names(self):
            return {"x"}

        counter_names = store_names

    monkeypatch.setattr(config_module, "Plugins", Offered)
    return order, Offered


async def test_what_is_opened_is_closed_in_reverse(opened):
    """The store first, the counter on top of it."""
    order, _ = opened
    async with turnkeep.open({"session": {"store": "x"}}):
        assert order == ["open store", "open counter"]
    assert order[2:] == ["close counter", "close store"]


async def test_a_failing_part_closes_the_others(opened):
    """A counter that does not open leaves no open store behind."""
    order, offered = opened
    offered.counter_value = OSError("no vocabulary")
    with pytest.raises(OSError, match="vocabulary"):
        async with turnkeep.open({"session": {"store": "x"}}):
            pass
    assert order == ["open store", "open counter", "close store"]
