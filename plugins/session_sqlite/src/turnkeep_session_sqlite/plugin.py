"""The plugin's face: the store's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.hookspecs import Env, StoreSpec, hookimpl
from turnkeep.store import Capability

if TYPE_CHECKING:
    from turnkeep_session_sqlite.store import SqliteStore

CAPABILITIES: Final = frozenset({Capability.LIST_ALL, Capability.FORK, Capability.ERASE})


class SqliteOptions(BaseModel):
    """The table `[session.sqlite]`.

    `path` may start with `~`; a relative one starts from the data folder. `synchronous = "full"`
    survives a power loss, "normal" only the kill of the process. `busy_timeout` is how many
    seconds a write waits for another process that holds the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("sessions.db")
    synchronous: Literal["full", "normal"] = "full"
    busy_timeout: float = Field(default=5.0, ge=0, le=3600, allow_inf_nan=False)


@asynccontextmanager
async def open_sqlite(options: SqliteOptions, env: Env) -> AsyncIterator[SqliteStore]:
    """Open the store, creating the file and its folders where they are missing.

    Raises StoreUnavailable where the file cannot be reached or written, and StoreError where it
    is not ours to use: no SQLite database, another program's, or of a newer schema.
    """
    from turnkeep_session_sqlite.store import SqliteStore  # only when opened

    store = await SqliteStore.open(
        env.data_dir / options.path.expanduser(),
        synchronous=options.synchronous,
        busy_timeout=options.busy_timeout,
    )
    try:
        yield store
    finally:
        await store.close()


@hookimpl
def session_stores() -> Iterable[StoreSpec[Any]]:
    """Offer the store `sqlite`."""
    return [
        StoreSpec(
            name="sqlite",
            summary="sessions in one SQLite file: durable, safe for several processes",
            options=SqliteOptions,
            open=open_sqlite,
            capabilities=CAPABILITIES,
        )
    ]
