"""Summarizer: from what stands behind `--summarizer` to the model that a replay's policies ask."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TextIO

from turnkeep.config import Config
from turnkeep.errors import ConfigError
from turnkeep.hookspecs import Env
from turnkeep.model import ModelClient, ModelLimits
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep.replay.recorded import Recorded, Recorder
from turnkeep.tokens.counter import TokenCounter

EXTRACTIVE: Final = "extractive"
WINDOW: Final = ModelLimits(context_window=200_000, max_output=8_000)
"""What the extractive summarizer takes and gives, as models do these days."""


@asynccontextmanager
async def opened_summarizer(
    text: str, config: Config, counter: TokenCounter, record: TextIO | None = None
) -> AsyncIterator[ModelClient]:
    """Open `extractive`, `model:ID` or `recorded:FILE`; `record` gets what it answers.

    The extractive one counts with `counter` what it reads and writes, within `WINDOW`. A model is
    opened as for a step of the pipeline: by its name, with the options that its client has in the
    configuration. Raises ConfigError, PluginError, ModelError.
    """
    kind, _, rest = text.partition(":")
    if text == EXTRACTIVE:
        yield _recording(ExtractiveModel(limits=WINDOW, counter=counter), record)
    elif kind == "recorded" and rest:
        if record is not None:
            raise ConfigError(f"--summarizer {text} is recorded already; leave the recording out")
        yield Recorded(rest)
    elif kind == "model" and rest:
        env = Env(data_dir=config.folder, logger=logging.getLogger("turnkeep"))
        async with config.open_model(rest, env) as client:
            yield _recording(client, record)
    else:
        raise ConfigError(
            f"unknown summarizer {text!r}; there are: extractive, model:ID (as in "
            "model:openai/gpt-4o-mini or model:local:smollm2) and recorded:FILE"
        )


def _recording(client: ModelClient, record: TextIO | None) -> ModelClient:
    return client if record is None else Recorder(client, record)
