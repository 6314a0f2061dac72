"""The conformance suite for optimizers: subclass `OptimizerConformance` in a test module.

How is in docs/writing-an-optimizer.md. Needs pytest and hypothesis: `turnkeep[testing]`.
"""

from __future__ import annotations

import pytest

# Before they are imported: asserts then say what was compared, as in a test module.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("base", "plans", "requests", "sessions"))
)

from turnkeep.testing.optimizers.base import Together
from turnkeep.testing.optimizers.plans import Plans
from turnkeep.testing.optimizers.requests import Requests
from turnkeep.testing.optimizers.sessions import Sessions

__all__ = ["OptimizerConformance", "PipelineConformance"]


class PipelineConformance(Requests, Sessions, Together):
    """The tests of a pipeline as the engine runs it. Override `stages`."""


class OptimizerConformance(Plans, PipelineConformance):
    """All tests. Override `optimizer`, `recordings` and `histories` for a long run."""
