"""What OpenAI Responses count beside texts: the figures of Chat, on another shape of messages.

The figures for newer models were measured with this API (see `openai.NEWER`); others are those of
Chat, as no page says that the APIs differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnkeep.formats.images import dimensions
from turnkeep.tokens.formulas.base import SEALED_PER_TOKEN, document, length, mappings
from turnkeep.tokens.formulas.openai import MESSAGE, OpenAIFormula, frames_for
from turnkeep.tokens.formulas.openai_images import picture


class OpenAIResponsesFormula(OpenAIFormula):
    """The formula of OpenAI Responses; a message is one input item."""

    name: str = "openai-responses"

    def frame(self, body: Mapping[str, Any], model: str = "") -> int:
        """Give the tokens of an input item beside its texts (see `Formula`).

        What several calls of one answer cost once is not seen here: the items stand alone.
        """
        frames, kind = frames_for(model), body.get("type")
        tokens = MESSAGE
        if kind in ("function_call", "custom_tool_call"):
            tokens = frames.call
        elif kind in ("function_call_output", "custom_tool_call_output"):
            tokens = frames.result
        tokens += length(body.get("encrypted_content")) // SEALED_PER_TOKEN
        for part in (*mappings(body.get("content")), *mappings(body.get("output"))):
            if part.get("type") == "input_image":
                tokens += picture(dimensions(part.get("image_url")), part.get("detail"), model)
            elif part.get("type") == "input_file":
                tokens += document(part.get("file_data"))
        return tokens


FORMULA = OpenAIResponsesFormula()
