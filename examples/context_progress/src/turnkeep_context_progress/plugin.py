"""The plugin's face: the step's name in TOML, its options, and how to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.hookspecs import Env, OptimizerSpec, hookimpl

if TYPE_CHECKING:
    from turnkeep.optimize.plan import Optimizer


class ProgressOptions(BaseModel):
    """The table `[context.progress]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_recent: int = Field(default=4, ge=0, description="Newest groups that are left alone")


@asynccontextmanager
async def open_progress(options: ProgressOptions, _env: Env) -> AsyncIterator[Optimizer]:
    """Open the step; it holds nothing that must be closed."""
    from turnkeep_context_progress.step import Progress  # what is heavy is imported here

    yield Progress(options.keep_recent)


@hookimpl
def request_optimizers() -> Iterable[OptimizerSpec[Any]]:
    """Offer the step `progress`."""
    return [
        OptimizerSpec(
            name="progress",
            summary="takes progress bars and repeated lines out of old results",
            options=ProgressOptions,
            open=open_progress,
        )
    ]
