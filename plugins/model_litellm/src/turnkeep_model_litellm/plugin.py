"""The plugin's face: the client's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from turnkeep.hookspecs import Env, ModelSpec, hookimpl
from turnkeep_model_litellm.options import LitellmOptions

if TYPE_CHECKING:
    from turnkeep_model_litellm.client import LitellmClient


@asynccontextmanager
async def open_litellm(
    model: str, options: LitellmOptions, _env: Env
) -> AsyncIterator[LitellmClient]:
    """Load LiteLLM (in a thread: it takes seconds) and give the client of one model.

    Loaded here, a model that LiteLLM cannot place fails at the start and not in the middle of a
    turn. Raises ModelError for it.
    """
    from turnkeep_model_litellm.client import LitellmClient  # only when opened

    client = LitellmClient.of(model, options)
    await client.load()
    async with client:
        yield client


@hookimpl
def model_clients() -> Iterable[ModelSpec[Any]]:
    """Offer the client `litellm`."""
    return [
        ModelSpec(
            name="litellm",
            summary="models of OpenAI, Anthropic, Google, AWS and 100 others, by LiteLLM",
            options=LitellmOptions,
            open=open_litellm,
        )
    ]
