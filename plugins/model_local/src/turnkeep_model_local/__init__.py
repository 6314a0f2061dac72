"""A real model in the process, by llama.cpp, for turnkeep: see `LocalModel`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnkeep_model_local.client import LocalModel
    from turnkeep_model_local.options import LocalOptions

__all__ = ["LocalModel", "LocalOptions"]


def __getattr__(name: str) -> Any:
    """Load the client when it is asked for: the plugin's face stays light (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "client" if name == "LocalModel" else "options"
    return getattr(import_module(f"{__name__}.{module}"), name)
