"""The policies that benchmarks play with and without summaries, and who makes the summaries.

`coding-summary:max_tokens=60000` is the preset with `SUMMARY` as its pipeline; likewise
`chat-summary` and `cheap-summary`. Everything else is a policy as `turnkeep replay` knows it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from turnkeep.config import load_config
from turnkeep.model import ModelClient
from turnkeep.optimize.presets import PRESETS
from turnkeep.plugins import Plugins
from turnkeep.replay.named import parse_policy
from turnkeep.replay.policies import Policy
from turnkeep.replay.rewriting import Rewriting
from turnkeep.replay.summarizer import opened_summarizer
from turnkeep.tokens.counter import TokenCounter

SUFFIX = "-summary"
SUMMARY = ("compact", "summarize")
"""The pipeline of a preset with summaries."""


def summarizer_option(parser: argparse.ArgumentParser) -> None:
    """Add `--summarizer`."""
    parser.add_argument(
        "--summarizer",
        metavar="WHICH",
        help="who makes summaries: extractive, model:ID or recorded:FILE",
    )


@asynccontextmanager
async def chosen_summarizer(
    text: str | None, counter: TokenCounter
) -> AsyncIterator[ModelClient | None]:
    """Open it; None where none was named."""
    if text is None:
        yield None
        return
    async with opened_summarizer(text, load_config({}), counter) as client:
        yield client


def has_summarize() -> bool:
    """Say whether the step `summarize` is installed here."""
    return "summarize" in {offer.spec.name for offer in Plugins().optimizers}


def named_policy(text: str, summarizer: ModelClient | None = None) -> Policy:
    """Give a policy by its name here. Raises ConfigError."""
    name, _, options = text.partition(":")
    preset = name.removesuffix(SUFFIX)
    if name == preset or preset not in PRESETS:
        return parse_policy(text, summarizer=summarizer)
    pipeline = f"pipeline={json.dumps(SUMMARY)}"
    options = ",".join(filter(None, (options, pipeline)))
    policy = parse_policy(f"{preset}:{options}", summarizer=summarizer)
    assert isinstance(policy, Rewriting)
    policy.label = text
    return policy
