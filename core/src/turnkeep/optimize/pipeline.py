"""Pipeline: the steps that rules name, opened in order, as an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from turnkeep.hookspecs import Env, OptimizerSpec
from turnkeep.optimize.ask import Stage
from turnkeep.optimize.course import ENGINE
from turnkeep.optimize.engine import Engine
from turnkeep.optimize.plan import Optimizer
from turnkeep.optimize.rules import ContextRules

RESERVED: Final = (ENGINE, "fit")


class ChosenStep(NamedTuple):
    """A step with its options; `name` tells it from other uses of the same step."""

    name: str
    spec: OptimizerSpec[Any]
    options: BaseModel


@asynccontextmanager
async def opened_engine(
    rules: ContextRules,
    steps: Sequence[ChosenStep],
    env: Env,
    *,
    given: Sequence[Optimizer] | None = None,
) -> AsyncIterator[Engine]:
    """Open the steps of a pipeline; they are closed in reverse order.

    `given` are optimizers that somebody else has opened, in place of the steps.
    """
    if given is not None:
        # Never the engine's own key, nor the name of the last step.
        names = [type(each).__name__.lower() for each in given]
        names = [f"{name}_step" if name in RESERVED else name for name in names]
        told = [
            name if names.index(name) == place else f"{name}#{names[: place + 1].count(name)}"
            for place, name in enumerate(names)
        ]
        yield Engine(rules, [Stage(*pair) for pair in zip(told, given, strict=True)])
        return
    async with AsyncExitStack() as stack:
        stages = [
            Stage(step.name, await stack.enter_async_context(step.spec.open(step.options, env)))
            for step in steps
        ]
        yield Engine(rules, stages)
