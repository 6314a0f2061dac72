"""What core itself offers, through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from turnkeep.hookspecs import CounterSpec, Env, OptimizerSpec, StoreSpec, WrapperSpec, hookimpl
from turnkeep.store import Capability, SessionStore
from turnkeep.tokens.counter import TokenCounter

if TYPE_CHECKING:
    from turnkeep.optimize.plan import Optimizer
    from turnkeep.stores.metrics import MetricsOptions


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
def store_wrappers() -> Iterable[WrapperSpec[Any]]:
    """Offer what stands around a store."""
    from turnkeep.stores.cache import CachedStore, CacheOptions
    from turnkeep.stores.compress import CompressedStore, CompressOptions
    from turnkeep.stores.metrics import MetricsOptions
    from turnkeep.stores.retry import RetryingStore, RetryOptions

    return [
        WrapperSpec(
            name="compress",
            summary="keeps what is long compressed, by zlib",
            options=CompressOptions,
            open=_around(CompressedStore),
        ),
        WrapperSpec(
            name="retry",
            summary="repeats calls while the store is away, as far as that is safe",
            options=RetryOptions,
            open=_around(RetryingStore),
        ),
        WrapperSpec(
            name="cache",
            summary="keeps sessions that were loaded lately in memory, and asks whether they hold",
            options=CacheOptions,
            open=_around(CachedStore),
        ),
        WrapperSpec(
            name="metrics",
            summary="counts calls, errors, times and bytes; for the log and for Prometheus",
            options=MetricsOptions,
            open=_open_metrics,
        ),
    ]


@asynccontextmanager
async def _open_metrics(
    store: SessionStore, options: MetricsOptions, env: Env
) -> AsyncIterator[SessionStore]:
    from turnkeep.stores.metrics import opened_metrics

    async with opened_metrics(store, options, env.data_dir, env.logger) as measured:
        yield measured


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


@hookimpl
def request_optimizers() -> Iterable[OptimizerSpec[Any]]:
    """Offer the steps that need no model."""
    from turnkeep.optimize.compact import Compact, CompactOptions
    from turnkeep.optimize.dedupe import Dedupe, DedupeOptions
    from turnkeep.optimize.notes import Notes, NotesOptions
    from turnkeep.optimize.window import Window, WindowOptions

    return [
        OptimizerSpec(
            name="compact",
            summary="shortens old results and arguments to their ends, or to a line of their own",
            options=CompactOptions,
            open=_opening(Compact),
        ),
        OptimizerSpec(
            name="notes",
            summary="takes out the oldest steps, leaving the names that they used and an index",
            options=NotesOptions,
            open=_opening(Notes),
        ),
        OptimizerSpec(
            name="dedupe",
            summary="takes out results that a newer one repeats or supersedes",
            options=DedupeOptions,
            open=_opening(Dedupe),
        ),
        OptimizerSpec(
            name="window",
            summary="keeps only the newest steps",
            options=WindowOptions,
            open=_opening(Window),
        ),
    ]


def _opening(kind: Callable[[Any], Optimizer]) -> Callable[[Any, Env], Any]:
    """Give the `open` of a step that needs nothing but its options."""

    @asynccontextmanager
    async def open_step(options: BaseModel, _env: Env) -> AsyncIterator[Optimizer]:
        yield kind(options)

    return open_step


def _around(kind: Callable[[SessionStore, Any], SessionStore]) -> Callable[..., Any]:
    """Give the `open` of a wrapper that needs nothing but the store and its options."""

    @asynccontextmanager
    async def open_wrapper(
        store: SessionStore, options: BaseModel, _env: Env
    ) -> AsyncIterator[SessionStore]:
        wrapped = kind(store, options)
        try:
            yield wrapped
        finally:
            await wrapped.close()

    return open_wrapper
