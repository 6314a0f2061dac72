"""The counter that a command counts with: named, configured, or the estimate."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnkeep.tokens.memo import Memo


def counter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a counter."""
    parser.add_argument(
        "--counter", metavar="NAME", help="what counts the tokens (default: the configured one)"
    )
    parser.add_argument("--config", metavar="TOML", help="default: the turnkeep.toml found")


@asynccontextmanager
async def chosen_counter(args: argparse.Namespace) -> AsyncIterator[Memo]:
    """Open it: `--counter` with its default options, else what the configuration names.

    Raises ConfigError, PluginError.
    """
    import logging
    from pathlib import Path

    from turnkeep.config import load_config
    from turnkeep.hookspecs import Env
    from turnkeep.keeper import opened_counter
    from turnkeep.plugins import Plugins
    from turnkeep.tokens.memo import Memo

    logger = logging.getLogger("turnkeep")
    if args.counter is None:
        config = load_config(args.config)
        spec, options, folder = config.counter, config.counter_options, config.folder
    else:
        spec = Plugins().counter(args.counter)
        options, folder = spec.options(), Path.cwd()
    async with opened_counter(spec, options, Env(data_dir=folder, logger=logger)) as counter:
        yield Memo(counter)
