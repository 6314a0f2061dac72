"""The plugin's face: the store's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from turnkeep.hookspecs import Env, StoreSpec, hookimpl
from turnkeep.store import Capability
from turnkeep_session_redis.options import RedisOptions

if TYPE_CHECKING:
    from turnkeep_session_redis.store import RedisStore

CAPABILITIES: Final = frozenset({Capability.LIST_ALL, Capability.ERASE})


@asynccontextmanager
async def open_redis(options: RedisOptions, env: Env) -> AsyncIterator[RedisStore]:
    """Open the store.

    Raises StoreUnavailable where the server cannot be reached or refuses the login, StoreError
    where it is too old, or the prefix is another program's or of a newer version.
    """
    from turnkeep_session_redis.opening import open_store  # only when opened

    files = {
        name: env.data_dir / path.expanduser()
        for name in ("tls_ca", "tls_cert", "tls_key")
        if (path := getattr(options, name)) is not None
    }
    store = await open_store(options.model_copy(update=files))
    try:
        yield store
    finally:
        await store.close()


@hookimpl
def session_stores() -> Iterable[StoreSpec[Any]]:
    """Offer the store `redis`."""
    return [
        StoreSpec(
            name="redis",
            summary="sessions in Redis or Valkey: for many machines, expiry by the server",
            options=RedisOptions,
            open=open_redis,
            capabilities=CAPABILITIES,
        )
    ]
