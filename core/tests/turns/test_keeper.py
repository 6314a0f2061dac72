"""Opening and closing what the configuration names."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

import turnkeep
from turnkeep import Keeper, Message, StoreUnavailable, TurnkeepError
from turnkeep.builtin import NoOptions
from turnkeep.config import load as config_module
from turnkeep.hookspecs import CounterSpec, ModelSpec, OptimizerSpec, StoreSpec, WrapperSpec
from turnkeep.model import ModelLimits
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.models import ScriptedModel
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
        found = stores = wrappers = counters = optimizers = models = ()
        counter_value = EstimateCounter()

        def store(self, name):
            return StoreSpec(
                name=name, summary="", options=NoOptions, open=offering("store", MemoryStore())
            )

        def wrapper(self, name):
            @asynccontextmanager
            async def open_it(store, options, env):
                async with offering(name, store)(options, env) as opened:
                    yield opened

            return WrapperSpec(name=name, summary="", options=NoOptions, open=open_it)

        def counter(self, name):
            return CounterSpec(
                name=name,
                summary="",
                options=NoOptions,
                open=offering("counter", self.counter_value),
            )

        def store_names(self):
            return {"x"}

        wrapper_names = counter_names = optimizer_names = model_names = store_names

        def model(self, name):
            model = ScriptedModel(
                model_id=name, limits=ModelLimits(context_window=8_000, max_output=4_000)
            )

            @asynccontextmanager
            async def open_it(id_, options, env):
                async with offering(name, model)(options, env) as opened:
                    opened.model_id = id_
                    yield opened

            return ModelSpec(name=name, summary="", options=NoOptions, open=open_it)

        def optimizer(self, name):
            return OptimizerSpec(
                name=name, summary="", options=NoOptions, open=offering(name, object())
            )

    monkeypatch.setattr(config_module, "Plugins", Offered)
    return order, Offered


async def test_what_is_opened_is_closed_in_reverse(opened):
    """The store first, the counter on top of it."""
    order, _ = opened
    async with turnkeep.open({"session": {"store": "x"}}):
        assert order == ["open store", "open counter"]
    assert order[2:] == ["close counter", "close store"]


async def test_a_keeper_entered_again_opens_everything_anew(opened):
    """Its model, too; also after an entry that failed."""
    order, offered = opened
    keep = turnkeep.open({"session": {"store": "x"}, "model": {"client": "x", "id": "m"}})
    async with keep:
        first = list(order)
    del order[:]
    offered.counter_value = ValueError("broken")
    async with keep:
        assert order == first
        assert keep.model is not None
    with pytest.raises(TurnkeepError, match="async with"):
        assert keep.model


async def test_a_keeper_is_not_entered_twice_at_once(opened):
    """The second one would close what the first one uses."""
    keep = turnkeep.open({"session": {"store": "x"}})
    async with keep:
        with pytest.raises(TurnkeepError, match="open already"):
            await keep.__aenter__()
        assert await keep.sessions.get("s") is None


async def test_what_stands_around_the_store_is_opened_after_it(opened):
    """From the store outwards; closed in reverse, before the store."""
    order, _ = opened
    async with turnkeep.open({"session": {"store": "x", "wrap": ["in", "out"]}}):
        assert order == ["open store", "open in", "open out", "open counter"]
    assert order[4:] == ["close counter", "close out", "close in", "close store"]


async def test_the_steps_of_a_pipeline_are_opened_where_there_is_a_limit(opened):
    """In their order, after the counter; closed in reverse."""
    order, _ = opened
    context = {"max_tokens": 1_000, "pipeline": ["one", "two"]}
    async with turnkeep.open({"session": {"store": "x"}, "context": context}):
        assert order == ["open store", "open counter", "open one", "open two"]
    assert order[4:] == ["close two", "close one", "close counter", "close store"]


async def test_the_model_is_opened_last_and_its_window_is_the_limit(opened):
    """Less what it answers with, up to a quarter; steps are opened for it."""
    order, _ = opened
    model = {"client": "m", "id": "some-model"}
    context = {"pipeline": ["one"]}
    settings = {"session": {"store": "x"}, "model": model, "context": context}
    async with turnkeep.open(settings) as keep:
        assert keep.model.model_id == "some-model"
        assert order == ["open store", "open counter", "open m", "open one"]
        assert keep._engine.rules.limit == 8_000 - 2_000
    async with turnkeep.open({**settings, "context": {**context, "max_tokens": 5_000}}) as keep:
        assert keep._engine.rules.limit == 5_000 - 1_250
    async with turnkeep.open(
        {**settings, "context": {"pipeline": ["one"], "max_tokens": 5_000, "reserve": 10}}
    ) as keep:
        assert keep._engine.rules.limit == 4_990


async def test_a_counter_that_does_not_open_ends_no_run(opened, caplog):
    """The estimate takes its place, which is said once, in a warning and in the result."""
    _, offered = opened
    offered.counter_value = OSError("no vocabulary")
    async with turnkeep.open({"session": {"store": "x"}, "tokens": {"counter": "x"}}) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
            report = (await turn.request()).report()
        assert report.counter == "estimate (in place of x: OSError)"
        assert report.tokens > 0
    [said] = [record for record in caplog.records if "token counter" in record.message]
    assert "cannot be used (OSError: no vocabulary): tokens are estimated" in said.message


async def test_expired_sessions_are_swept_in_the_background(caplog):
    """They are removed while the keeper is open, and a store that is away only delays it."""

    class Away(MemoryStore):
        purges = 0

        async def purge(self, *, limit=1000):
            self.purges += 1
            if self.purges == 1:
                raise StoreUnavailable("the store is away")
            return await super().purge(limit=limit)

    store = Away()
    async with turnkeep.Keeper(store=store, ttl=0.01, sweep=0.01) as keep:
        await keep.sessions.create("s")
        while store._sessions:
            await asyncio.sleep(0.01)
    assert "tried again later: the store is away" in caplog.text
    swept = store.purges
    await asyncio.sleep(0.05)
    assert store.purges == swept  # it ended with the keeper


async def test_a_cancellation_at_the_exit_is_heard():
    """Also where a sweep takes its time to end."""

    class Slow(MemoryStore):
        async def purge(self, *, limit=1000):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                raise

    async def use():
        async with Keeper(store=Slow(), sweep=0.001):
            await asyncio.sleep(0.05)

    using = asyncio.create_task(use())
    await asyncio.sleep(0.1)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using


def test_a_sweep_is_a_time_above_zero():
    """Like a ttl."""
    with pytest.raises(ValueError, match="seconds above 0"):
        turnkeep.Keeper(store=MemoryStore(), sweep=0)
