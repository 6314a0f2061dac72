"""turnkeep's suite for optimizers on this step, with a model that says the same each time."""

from pathlib import Path

import pytest

from turnkeep.model import ModelLimits
from turnkeep.optimize.compact import Compact, CompactOptions
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep.testing.optimizers import OptimizerConformance, PipelineConformance
from turnkeep_memory_summarize import Summarize, SummarizeOptions

pytest_plugins = ["turnkeep.testing.plugin"]
pytestmark = pytest.mark.prove  # each invariant asks a model, if a small one

TRANSCRIPTS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "transcripts"


class _Ours:
    examples = 10
    histories = 25

    def recordings(self):
        return sorted(TRANSCRIPTS.glob("*/*.jsonl"))[::6]  # a step that asks a model takes longer


class TestSummarize(_Ours, OptimizerConformance):
    def optimizer(self):
        return Summarize(ExtractiveModel(), SummarizeOptions(keep_recent=1, least=0, share=0.9))


class TestChunked(_Ours, OptimizerConformance):
    """A model whose window is far smaller than what it is to read."""

    def optimizer(self):
        model = ExtractiveModel(limits=ModelLimits(context_window=900))
        options = SummarizeOptions(keep_recent=1, least=0, share=0.9, structured=False)
        return Summarize(model, options)


class TestPipeline(_Ours, PipelineConformance):
    histories = 25

    def stages(self):
        return [
            Compact(CompactOptions(keep_recent=2)),
            Summarize(ExtractiveModel(), SummarizeOptions()),
        ]
