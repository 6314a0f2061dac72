"""Models through LiteLLM for turnkeep: `LitellmClient`, loaded when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnkeep_model_litellm.client import LitellmClient as LitellmClient
    from turnkeep_model_litellm.options import LitellmOptions as LitellmOptions

__all__ = ["LitellmClient", "LitellmOptions"]


def __getattr__(name: str) -> object:
    # Listing plugins imports this package: it must cost nothing (PEP 562).
    if name == "LitellmClient":
        from turnkeep_model_litellm.client import LitellmClient

        return LitellmClient
    if name == "LitellmOptions":
        from turnkeep_model_litellm.options import LitellmOptions

        return LitellmOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
