"""What core itself offers, through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict

from turnkeep.hookspecs import CounterSpec, Env, StoreSpec, hookimpl
from turnkeep.store import Capability, SessionStore
from turnkeep.tokens.counter import TokenCounter


class NoOptions(BaseModel):
    """For what has nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@asynccontextmanager
async def _open_memory(_options: NoOptions, _env: Env) -> AsyncIterator[SessionStore]:
    from turnkeep.stores.memory import MemoryStore

    store = MemoryStore()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _open_estimate(_options: NoOptions, _env: Env) -> AsyncIterator[TokenCounter]:
    from turnkeep.tokens.estimate import EstimateCounter

    yield EstimateCounter()


@hookimpl
def session_stores() -> Iterable[StoreSpec[Any]]:
    """Offer sessions in memory."""
    return [
        StoreSpec(
            name="memory",
            summary="in this process's memory; nothing outlives it",
            options=NoOptions,
            open=_open_memory,
            capabilities=frozenset({Capability.LIST_ALL}),
        )
    ]


@hookimpl
def token_counters() -> Iterable[CounterSpec[Any]]:
    """Offer the estimate that needs no vocabulary."""
    return [
        CounterSpec(
            name="estimate",
            summary="counts without a vocabulary, erring upward",
            options=NoOptions,
            open=_open_estimate,
        )
    ]
