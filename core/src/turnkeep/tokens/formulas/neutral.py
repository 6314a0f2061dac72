"""The formula for messages of no known provider: the most that any known one would count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnkeep.content import ToolDefinition
from turnkeep.tokens.formulas.anthropic import FORMULA as ANTHROPIC
from turnkeep.tokens.formulas.base import Count, Formula, as_json
from turnkeep.tokens.formulas.gemini import FORMULA as GEMINI
from turnkeep.tokens.formulas.openai import FORMULA as OPENAI
from turnkeep.tokens.formulas.openai_responses import FORMULA as RESPONSES

KNOWN: Final[tuple[Formula, ...]] = (OPENAI, RESPONSES, ANTHROPIC, GEMINI)
TOOL: Final = 16
"""A definition beside its JSON: a guess, above what the known providers count."""


class NeutralFormula:
    """Reads a message as each known provider would, and takes the largest figure: all guesses."""

    name: str = "neutral"
    priming: int = max(formula.priming for formula in KNOWN)

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of a message beside its texts (see `Formula`)."""
        return max(formula.frame(body, model) for formula in KNOWN)

    def system(self, texts: Sequence[str]) -> int:
        """Give the tokens of a system field beside its texts (see `Formula`)."""
        return max(formula.system(texts) for formula in KNOWN)

    def tools(
        self,
        definitions: Sequence[ToolDefinition],
        count: Count,
        model: str = "",  # noqa: ARG002  # nothing is known of it
        tool_choice: object = None,  # noqa: ARG002  # nothing is known of it
    ) -> int:
        """Give the tokens of definitions as JSON and their frames (see `Formula`)."""
        if not definitions:
            return 0
        return TOOL * len(definitions) + sum(count(as_json(definitions)))


FORMULA: Final = NeutralFormula()
