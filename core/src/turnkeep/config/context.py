"""The table `[context]` given in code: its rules, and the steps of core that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from turnkeep import builtin
from turnkeep.errors import ConfigError
from turnkeep.optimize.pipeline import ChosenStep
from turnkeep.optimize.presets import with_preset
from turnkeep.optimize.rules import ContextRules


def rules_of(context: ContextRules | Mapping[str, Any]) -> ContextRules:
    """Read the rules of a table. Raises ConfigError with every fault."""
    if isinstance(context, ContextRules):
        return context
    own = {key: below for key, below in with_preset(context).items() if key not in _core_steps()}
    return _valid(ContextRules, own, "context")


def chosen_steps(
    context: ContextRules | Mapping[str, Any], rules: ContextRules
) -> list[ChosenStep]:
    """Choose the steps of a pipeline from those of core, with the options of their tables.

    Raises ConfigError for a step of a plugin: it is opened by who gives it, or by a configuration.
    """
    table = {} if isinstance(context, ContextRules) else with_preset(context)
    specs = _core_steps()
    steps: list[ChosenStep] = []
    for use in rules.pipeline:
        name, inline = (use, {}) if isinstance(use, str) else (use.use, use.options)
        if name not in specs:
            raise ConfigError(
                f"context.pipeline: {name!r} is no step of core ({', '.join(specs)}); open it "
                "yourself and give `optimizers=[...]`, or use turnkeep.open()"
            )
        below = table.get(name, {})
        given = {**(below if isinstance(below, Mapping) else {}), **inline}
        options = _valid(specs[name].options, given, f"context.{name}")
        often = sum(step.spec is specs[name] for step in steps)
        steps.append(ChosenStep(f"{name}#{often + 1}" if often else name, specs[name], options))
    return steps


def _core_steps() -> dict[str, Any]:
    return {spec.name: spec for spec in builtin.request_optimizers()}


M = TypeVar("M", bound=BaseModel)


def _valid(model: type[M], table: Mapping[str, Any], where: str) -> M:
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(
            *(
                f"{'.'.join([where, *map(str, fault['loc'])])}: {fault['msg']}"
                for fault in error.errors(include_url=False)
            )
        ) from None
