"""The plugin's face: the step's name in TOML, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from turnkeep.hookspecs import Env, OptimizerSpec, hookimpl
from turnkeep_memory_summarize.options import SummarizeOptions

if TYPE_CHECKING:
    from turnkeep_memory_summarize.step import Summarize


@asynccontextmanager
async def open_summarize(options: SummarizeOptions, env: Env) -> AsyncIterator[Summarize]:
    """Open the model and give the step. Raises ConfigError for a prompt that cannot be used."""
    from turnkeep_memory_summarize.prompt import Prompt  # only when opened
    from turnkeep_memory_summarize.step import Summarize

    Prompt.of(options, env.data_dir)  # before a model is opened
    async with env.open_model(options.model) as client:
        step = Summarize(client, options, own=options.model is None, folder=env.data_dir)
        async with step:
            yield step


@hookimpl
def request_optimizers() -> Iterable[OptimizerSpec[Any]]:
    """Offer the step `summarize`."""
    return [
        OptimizerSpec(
            name="summarize",
            summary="takes out the oldest groups; a summary by a model and an index stand for them",
            options=SummarizeOptions,
            open=open_summarize,
        )
    ]
