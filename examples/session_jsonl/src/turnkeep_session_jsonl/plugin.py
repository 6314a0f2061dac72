"""The plugin's face: the store's name in TOML, its options, and how to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from turnkeep import Capability, Env, StoreSpec, hookimpl

if TYPE_CHECKING:
    from turnkeep_session_jsonl.store import JsonlStore


class JsonlOptions(BaseModel):
    """The table `[session.jsonl]`; a relative `folder` starts from the folder of turnkeep.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Path("sessions")


@asynccontextmanager
async def open_jsonl(options: JsonlOptions, env: Env) -> AsyncIterator[JsonlStore]:
    """Open the store, and close it when the program is done with it."""
    from turnkeep_session_jsonl.store import JsonlStore  # what is heavy is imported here

    store = JsonlStore(env.data_dir / options.folder)
    try:
        yield store
    finally:
        await store.close()


@hookimpl
def session_stores() -> Iterable[StoreSpec[Any]]:
    """Offer the store `jsonl`."""
    return [
        StoreSpec(
            name="jsonl",
            summary="a JSONL file for each session; for small programs and for looking at",
            options=JsonlOptions,
            open=open_jsonl,
            capabilities=frozenset({Capability.LIST_ALL}),
        )
    ]
