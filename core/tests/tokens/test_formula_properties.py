"""Formulas on any JSON: nothing raises, nothing is below 0."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import ToolDefinition
from turnkeep.tokens.formulas import formula_for

NAMES = ["openai-chat", "openai-responses", "anthropic", "gemini", "neutral"]


def words(texts: Sequence[str]) -> list[int]:
    """Count words: a counter for tests that are not about texts."""
    return [len(text.split()) for text in texts]


KEYS = st.sampled_from(
    [
        "role",
        "name",
        "content",
        "type",
        "text",
        "source",
        "data",
        "media_type",
        "image_url",
        "url",
        "detail",
        "file",
        "file_data",
        "tool_calls",
        "function",
        "id",
        "tool_use_id",
        "arguments",
        "parts",
        "inlineData",
        "inline_data",
        "fileData",
        "mimeType",
        "functionCall",
        "functionResponse",
        "thoughtSignature",
        "mediaResolution",
        "level",
        "input_audio",
        "output",
        "encrypted_content",
    ]
)
VALUES = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "redacted_thinking",
        "image_url",
        "file",
        "input_audio",
        "output",
        "encrypted_content",
        "low",
        "high",
        "MEDIA_RESOLUTION_LOW",
        "image/png",
        "data:image/png;base64,iVBORw0KGgo=",
        "R0lGODlhAQABAAAA",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)
MODELS = st.sampled_from(["", "gpt-4o", "gpt-5.6-sol", "claude-opus-4-7", "gemini-3-pro", "x/y"])


@pytest.mark.parametrize("name", NAMES)
@given(body=st.dictionaries(KEYS, JSON, max_size=6), model=MODELS | st.text(max_size=8))
def test_a_frame_is_never_negative_and_never_raises(
    name: str, body: dict[str, Any], model: str
) -> None:
    """Any JSON object, however broken as a message, has a frame of 0 tokens or more."""
    assert formula_for(name).frame(body, model) >= 0


SCHEMAS = st.recursive(
    JSON,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.text(max_size=3), inner),
            "items": inner,
            "enum": JSON,
            "$defs": inner,
        },
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("name", NAMES)
@given(schema=st.dictionaries(st.sampled_from(["properties", "type", "items"]), SCHEMAS))
def test_tools_of_any_schema_have_a_cost(name: str, schema: dict[str, Any]) -> None:
    """Any JSON as a schema is counted and raises nothing."""
    tool = ToolDefinition.model_construct(name="f", description="", parameters=schema)
    assert formula_for(name).tools([tool], words) >= 0
