"""Summaries of earlier steps by a model, for turnkeep: `Summarize` is the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnkeep_memory_summarize.options import SummarizeOptions

if TYPE_CHECKING:
    from turnkeep_memory_summarize.step import Summarize

__all__ = ["Summarize", "SummarizeOptions"]


def __getattr__(name: str) -> Any:
    # The plugin's face is a module of this package, and is to be light.
    if name == "Summarize":
        from turnkeep_memory_summarize.step import Summarize

        return Summarize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
