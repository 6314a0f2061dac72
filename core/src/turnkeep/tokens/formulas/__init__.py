"""Formulas: what a whole request costs beside the texts in it, one module for each provider.

Each figure has its source beside it: "[…]" names a page of the provider, "measured on" a recorded
or reported request, and what is neither is called a guess. Where figures differ or are missing, the
larger one stands: a count that is too high costs a little room, one too low a refused request.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from turnkeep.tokens.formulas.base import Formula

__all__ = ["Formula", "formula_for"]

_MODULES: Final = {
    "openai-chat": "openai",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
}


def formula_for(profile: str, model: str = "") -> Formula:  # noqa: ARG001  # all models of a profile share one
    """Give the formula for the messages of this profile, the neutral one for an unknown profile.

    `model` may carry a provider before it ("openai/gpt-4o"); what depends on it is asked for with
    each call, as messages have the shape of their profile whatever model reads them.
    """
    module = import_module(f"{__name__}.{_MODULES.get(profile, 'neutral')}")
    formula: Formula = module.FORMULA
    return formula
