"""The steps that ship with core, and pipelines of them, pass the suite for optimizers."""

from pathlib import Path

from turnkeep.optimize.compact import Compact, CompactOptions
from turnkeep.optimize.dedupe import Dedupe, DedupeOptions
from turnkeep.optimize.notes import Notes, NotesOptions
from turnkeep.optimize.window import Window, WindowOptions
from turnkeep.testing.optimizers import OptimizerConformance, PipelineConformance

pytest_plugins = ["turnkeep.testing.plugin"]

TRANSCRIPTS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "transcripts"


class _Ours:
    examples = 10
    histories = 500  # of each kind: 2,000 for each invariant in all

    def recordings(self):
        return sorted(TRANSCRIPTS.glob("*/*.jsonl"))


class TestCompact(_Ours, OptimizerConformance):
    def optimizer(self):
        return Compact(CompactOptions(keep_recent=1, rules={"read_file": "Was read: {path}"}))


class TestNotes(_Ours, OptimizerConformance):
    def optimizer(self):
        return Notes(NotesOptions())


class TestDedupe(_Ours, OptimizerConformance):
    def optimizer(self):
        return Dedupe(DedupeOptions(tools=["read_file"]))


class TestWindow(_Ours, OptimizerConformance):
    def optimizer(self):
        return Window(WindowOptions(groups=3))


class TestPipeline(_Ours, PipelineConformance):
    histories = 100

    def stages(self):
        return [
            Dedupe(DedupeOptions()),
            Compact(CompactOptions(keep_recent=2)),
            Notes(NotesOptions()),
        ]


class TestFitAlone(_Ours, PipelineConformance):
    histories = 100

    def stages(self):
        return []
