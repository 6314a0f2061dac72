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

    With `encoding = "auto"` the counter's `for_model` gives the one of a model, and o200k_base for
    models that tiktoken does not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Literal["auto", "o200k_base", "o200k_harmony", "cl100k_base"] = "auto"


@asynccontextmanager
async def open_tiktoken(options: TiktokenOptions, _env: Env) -> AsyncIterator[TiktokenCounter]:
    """Load both tokenizers (0.5 s of CPU) and give the counter.

    Loaded here, versions that do not go together fail at the start and not in the middle of a turn.
    """
    import asyncio

    from turnkeep_tokens_tiktoken.counter import DEFAULT, TiktokenCounter  # only when opened

    auto = options.encoding == "auto"
    counter = TiktokenCounter(DEFAULT if auto else options.encoding, follow_models=auto)
    await asyncio.to_thread(counter.load)
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
