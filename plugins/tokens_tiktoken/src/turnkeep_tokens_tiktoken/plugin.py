"""The plugin's face: the counter's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from turnkeep.hookspecs import CounterSpec, Env, hookimpl

if TYPE_CHECKING:
    from turnkeep_tokens_tiktoken.counter import TiktokenCounter


class TiktokenOptions(BaseModel):
    """The table `[tokens.tiktoken]`.

    `encoding = "auto"` takes the one of the model that a request is for, and o200k_base for models
    that tiktoken does not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Literal["auto", "o200k_base", "o200k_harmony", "cl100k_base"] = "auto"


@asynccontextmanager
async def open_tiktoken(options: TiktokenOptions, _env: Env) -> AsyncIterator[TiktokenCounter]:
    """Load the vocabulary (0.5 s of CPU) and give the counter."""
    import asyncio

    from turnkeep_tokens_tiktoken.counter import TiktokenCounter  # only when opened

    auto = options.encoding == "auto"
    counter = TiktokenCounter("o200k_base" if auto else options.encoding, follow_models=auto)
    await asyncio.to_thread(counter.count_texts, ["load the vocabulary now"])
    yield counter


@hookimpl
def token_counters() -> Iterable[CounterSpec[Any]]:
    """Offer the counter `tiktoken`."""
    return [
        CounterSpec(
            name="tiktoken",
            summary="counts as tiktoken does, exact for OpenAI's models, without a network",
            options=TiktokenOptions,
            open=open_tiktoken,
        )
    ]
