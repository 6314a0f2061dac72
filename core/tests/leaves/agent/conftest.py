"""What tests of agents share."""

import pytest

from turnkeep import InMemorySessionManager, ToolCall


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
