"""The plugin's face: the client's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from turnkeep.hookspecs import Env, ModelSpec, hookimpl
from turnkeep_model_local.options import LocalOptions

if TYPE_CHECKING:
    from turnkeep_model_local.client import LocalModel


@asynccontextmanager
async def open_local(model: str, options: LocalOptions, env: Env) -> AsyncIterator[LocalModel]:
    """Load a model and give the client. Raises ModelError."""
    from turnkeep_model_local.client import LocalModel  # only when opened

    given = options.model_dump(exclude_unset=True)
    async with LocalModel(model, folder=env.data_dir, **given) as opened:
        yield opened


@hookimpl
def model_clients() -> Iterable[ModelSpec[Any]]:
    """Offer the client `local`."""
    return [
        ModelSpec(
            name="local",
            summary="a model in this process by llama.cpp, without a network",
            options=LocalOptions,
            open=open_local,
        )
    ]
