"""The base of wrappers, and the calls that a wrapper's close waits for."""

import asyncio

import pytest

from turnkeep.errors import StoreClosed, StoreError
from turnkeep.store import Capability
from turnkeep.stores.memory import MemoryStore
from turnkeep.stores.wrapped import Calls, StoreWrapper


class Plain(MemoryStore):
    """A store without further powers."""

    name = "plain"
    capabilities = frozenset()
    fork = erase = None


async def test_a_wrapper_is_what_it_stands_around():
    """Name, capabilities and durability are those of the store inside."""
    for inner in (MemoryStore(), Plain()):
        store = StoreWrapper(StoreWrapper(inner))
        assert (store.name, store.capabilities, store.durability) == (
            inner.name,
            inner.capabilities,
            "none",
        )


async def test_a_power_that_the_store_lacks_is_refused_in_a_sentence():
    """Whoever asks without looking at the capabilities."""
    store = StoreWrapper(Plain())
    assert Capability.ERASE not in store.capabilities
    with pytest.raises(StoreError, match="the plain store, as it is wrapped, has no 'erase'"):
        await store.erase("s", {}, expected=None, commit_id=b"")
    with pytest.raises(StoreError, match="no 'fork'"):
        await store.fork("s", "t", upto=0, incarnation=b"", commit_id=b"")


async def test_a_power_of_the_stores_own_is_passed_on():
    """Where it is declared; elsewhere it is refused in a sentence."""

    class Searching(Plain):
        capabilities = frozenset({Capability.SEARCH})

        async def search(self, query, **fields):
            return [query, fields["limit"]]

    assert await StoreWrapper(StoreWrapper(Searching())).search("x", limit=3) == ["x", 3]
    with pytest.raises(StoreError, match="no 'search'"):
        await StoreWrapper(Plain()).search("x")


async def test_close_waits_for_calls_that_have_not_reached_the_store():
    """And what comes later is StoreClosed."""
    calls, order = Calls("x"), []

    async def one():
        async with calls.call():
            await calls.closing.wait()
            await asyncio.sleep(0)
            order.append("call")

    running = asyncio.create_task(one())
    await asyncio.sleep(0)
    await calls.ended()
    order.append("closed")
    assert order == ["call", "closed"]
    with pytest.raises(StoreClosed):
        async with calls.call():
            pass
    await running
