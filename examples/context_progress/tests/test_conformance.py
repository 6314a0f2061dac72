"""turnkeep's suite for optimizers on this one."""

from turnkeep_context_progress.step import Progress

from turnkeep.testing.optimizers import OptimizerConformance

pytest_plugins = ["turnkeep.testing.plugin"]


class TestProgress(OptimizerConformance):
    examples = 30

    def optimizer(self):
        return Progress(keep_recent=1)
