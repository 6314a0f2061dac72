"""What every command on the configured store shares: the store, opened around it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnkeep.config import Config
    from turnkeep.keeper import Keeper

Command = Callable[[argparse.Namespace, "Keeper"], Awaitable[int]]


def on_store(parser: argparse.ArgumentParser, command: Command, *, json: bool = False) -> None:
    """Let a parser run a command on the configured keeper; `json` adds the option `--json`."""
    parser.add_argument("--config", metavar="TOML", help="default: the turnkeep.toml found")
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda args: _run(args, command))


def _run(args: argparse.Namespace, command: Command) -> int:
    import asyncio

    return asyncio.run(_opened(args, command))


async def _opened(args: argparse.Namespace, command: Command) -> int:
    async with lasting(args) as keep:
        return await command(args, keep)


def lasting(args: argparse.Namespace) -> Keeper:
    """Make the configured keeper. Raises ConfigError where its sessions end with this command."""
    from turnkeep.keeper import Keeper

    return Keeper.from_config(lasting_config(args.config))


def lasting_config(path: str | None, *, alone: bool = False) -> Config:
    """Read a configuration. Raises ConfigError where its sessions end with this command.

    `alone`: without the variables that go on top of a file, which would go on top of any other.
    """
    from turnkeep.config import load_config
    from turnkeep.config.layers import ENV_PREFIX
    from turnkeep.errors import ConfigError

    environ = {
        name: text
        for name, text in os.environ.items()
        if not (alone and name.startswith(ENV_PREFIX))
    }
    config = load_config(path, environ=environ)
    if config.store.name == "memory":
        raise ConfigError(
            f"{config.source}: sessions would be kept in memory and end with this command; write "
            '[session] store = "sqlite" into turnkeep.toml, or give --config'
        )
    return config
