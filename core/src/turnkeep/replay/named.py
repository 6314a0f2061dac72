"""Named: from what stands behind `--policy` to a policy."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from turnkeep.config import Config, load_config
from turnkeep.errors import ConfigError
from turnkeep.model import ModelClient
from turnkeep.optimize.presets import PRESETS
from turnkeep.optimize.rules import ContextRules
from turnkeep.plugins import Plugins
from turnkeep.replay.policies import Everything, Policy, TutorialWindow
from turnkeep.replay.rewriting import Rewriting

_BETWEEN: Final = re.compile(r",(?![^\[]*\])")
"""Commas between options, not those of a list, as in pipeline=["compact","summarize"]."""
_PLAIN: Final = (Everything.label, TutorialWindow.name)


def parse_policy(
    text: str, plugins: Plugins | None = None, summarizer: ModelClient | None = None
) -> Policy:
    """Read a policy: `none`, a preset or a step of a pipeline with options, or a file.

    As in `tutorial-window:window_size=20`, `cheap:max_tokens=60000`,
    `compact:max_tokens=60000,keep_recent=5`, `chat:max_tokens=40000,notes.names=500`,
    `coding:max_tokens=60000,pipeline=["compact","summarize"]` or
    `turnkeep.toml`. `summarizer` is the model that its steps ask. Raises ConfigError.
    """
    if text.endswith(".toml"):
        return _of_config(text, load_config(text, plugins=plugins), summarizer)
    name, _, rest = text.partition(":")
    options = _options(text, rest)
    if name == Everything.label:
        _known(text, name, options, ())
        return Everything()
    if name == TutorialWindow.name:
        _known(text, name, options, ("window_size",))
        size = options.get("window_size", 20)
        if type(size) is not int:
            raise ConfigError(f"policy {text!r}: window_size wants a number, as in window_size=20")
        return TutorialWindow(size)
    plugins = plugins or Plugins()
    if name in PRESETS:
        table: dict[str, Any] = {"preset": name}
    elif name in {offer.spec.name for offer in plugins.optimizers}:
        table = {"pipeline": [name]}
    else:
        raise ConfigError(_unknown(name, plugins))
    for key, value in options.items():
        step, _, below = key.rpartition(".")
        if not step and name not in PRESETS and key not in ContextRules.model_fields:
            step, below = name, key
        if step:
            table.setdefault(step, {})[below] = value
        else:
            table[key] = value
    try:
        config = load_config({"context": table}, environ={}, plugins=plugins)
    except ConfigError as error:
        raise ConfigError(*(f"policy {text!r}: {each}" for each in error.problems)) from None
    return _of_config(text, config, summarizer)


def _of_config(label: str, config: Config, summarizer: ModelClient | None) -> Policy:
    if config.context.max_tokens is None:
        raise ConfigError(
            f"policy {label!r} has no limit, so it would rewrite nothing; give it max_tokens, as "
            f"in {label.partition(':')[0]}:max_tokens=60000"
            if not label.endswith(".toml")
            else f"policy {label!r}: set [context] max_tokens in it, or it rewrites nothing"
        )
    return Rewriting(label, config.context, config.steps, config.folder, summarizer)


def _options(text: str, rest: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in filter(None, _BETWEEN.split(rest)):
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"policy {text!r}: {part!r} is no option; write {part}=VALUE")
        try:
            options[key.strip()] = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value.strip()
    return options


def _known(text: str, name: str, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in options:
        if key not in known:
            raise ConfigError(
                f"policy {text!r}: unknown option {key!r}; {name} has: {', '.join(known) or 'none'}"
            )


def _unknown(name: str, plugins: Plugins) -> str:
    steps = sorted({offer.spec.name for offer in plugins.optimizers})
    names = [*_PLAIN, *PRESETS, *steps]
    close = difflib.get_close_matches(name, names, 1)
    if Path(name).exists():
        hint = "a file must end in .toml"
    else:
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
    return f"unknown policy {name!r}; {hint}"
