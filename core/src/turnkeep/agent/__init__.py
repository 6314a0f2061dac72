"""The agent: a thin loop over `turnkeep.turn`, with tools, approvals, callbacks and streaming."""

from turnkeep.agent.agent import Agent
from turnkeep.agent.context import (
    AgentResult,
    ExecutionContext,
    PendingToolCall,
    ToolConfirmation,
)
from turnkeep.agent.llm import LlmRequest, LlmResponse
from turnkeep.agent.tools import BaseTool, FunctionTool, tool

__all__ = [
    "Agent",
    "AgentResult",
    "BaseTool",
    "ExecutionContext",
    "FunctionTool",
    "LlmRequest",
    "LlmResponse",
    "PendingToolCall",
    "ToolConfirmation",
    "tool",
]
