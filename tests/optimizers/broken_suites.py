"""The suite on every broken optimizer; run by test_broken.py, which expects the failures."""

import sys
from pathlib import Path

from hypothesis import Phase, settings

from turnkeep.testing.optimizers import OptimizerConformance

sys.path.insert(0, str(Path(__file__).parent))
from broken_optimizers import BROKEN

pytest_plugins = ["turnkeep.testing.plugin"]

# The same histories each time, and the first failure is enough.
settings.register_profile("once", phases=[Phase.generate], derandomize=True, database=None)
settings.load_profile("once")


class _Suite(OptimizerConformance):
    examples = 25
    seconds = 2.0

    def optimizer(self):
        return BROKEN[type(self).__name__.removeprefix("Test")][0]()


for name in BROKEN:
    globals()[f"Test{name}"] = type(f"Test{name}", (_Suite,), {"__module__": __name__})
