"""What tests of agents share."""

import pytest

from turnkeep import InMemorySessionManager, ToolCall
from turnkeep.content import ToolResult, result_text


@pytest.fixture
def manager():
    return InMemorySessionManager()


@pytest.fixture
def call():
    """Make a call of a tool; ids count up."""
    made = []

    def make(name, call_id=None, **arguments):
        made.append(name)
        return ToolCall(tool_call_id=call_id or f"call_{len(made)}", name=name, arguments=arguments)

    return make


@pytest.fixture
def results():
    """Give the texts of a context's results, each by the id of its call."""

    def of(context):
        items = [item for event in context.events for item in event.content]
        return {i.tool_call_id: result_text(i) for i in items if isinstance(i, ToolResult)}

    return of
