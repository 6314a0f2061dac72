"""turnkeep keeps an LLM agent's turns: durable sessions, token counts, a context that fits.

Everything here loads on first use, so that `import turnkeep` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from turnkeep.agent import Agent as Agent
    from turnkeep.agent import AgentResult as AgentResult
    from turnkeep.agent import BaseTool as BaseTool
    from turnkeep.agent import ExecutionContext as ExecutionContext
    from turnkeep.agent import FunctionTool as FunctionTool
    from turnkeep.agent import LlmRequest as LlmRequest
    from turnkeep.agent import LlmResponse as LlmResponse
    from turnkeep.agent import PendingToolCall as PendingToolCall
    from turnkeep.agent import ToolConfirmation as ToolConfirmation
    from turnkeep.agent import tool as tool
    from turnkeep.content import FilePart as FilePart
    from turnkeep.content import ImagePart as ImagePart
    from turnkeep.content import Item as Item
    from turnkeep.content import Message as Message
    from turnkeep.content import Opaque as Opaque
    from turnkeep.content import Reasoning as Reasoning
    from turnkeep.content import Ref as Ref
    from turnkeep.content import Request as Request
    from turnkeep.content import TextPart as TextPart
    from turnkeep.content import ToolCall as ToolCall
    from turnkeep.content import ToolDefinition as ToolDefinition
    from turnkeep.content import ToolResult as ToolResult
    from turnkeep.content import Usage as Usage
    from turnkeep.errors import ConfigError as ConfigError
    from turnkeep.errors import ContentError as ContentError
    from turnkeep.errors import ContextOverflow as ContextOverflow
    from turnkeep.errors import CorruptSession as CorruptSession
    from turnkeep.errors import ModelError as ModelError
    from turnkeep.errors import ModelOverflow as ModelOverflow
    from turnkeep.errors import ModelRefused as ModelRefused
    from turnkeep.errors import ModelUnavailable as ModelUnavailable
    from turnkeep.errors import PendingApproval as PendingApproval
    from turnkeep.errors import PluginError as PluginError
    from turnkeep.errors import SessionBusy as SessionBusy
    from turnkeep.errors import SessionConflict as SessionConflict
    from turnkeep.errors import SessionExists as SessionExists
    from turnkeep.errors import SessionNotFound as SessionNotFound
    from turnkeep.errors import StoreClosed as StoreClosed
    from turnkeep.errors import StoreError as StoreError
    from turnkeep.errors import StoreUnavailable as StoreUnavailable
    from turnkeep.errors import ToolError as ToolError
    from turnkeep.errors import TurnkeepError as TurnkeepError
    from turnkeep.events import Checkpoint as Checkpoint
    from turnkeep.events import Decision as Decision
    from turnkeep.events import Event as Event
    from turnkeep.events import Retract as Retract
    from turnkeep.events import Tombstone as Tombstone
    from turnkeep.hookspecs import CounterSpec as CounterSpec
    from turnkeep.hookspecs import Env as Env
    from turnkeep.hookspecs import ModelSpec as ModelSpec
    from turnkeep.hookspecs import StoreSpec as StoreSpec
    from turnkeep.hookspecs import WrapperSpec as WrapperSpec
    from turnkeep.hookspecs import hookimpl as hookimpl
    from turnkeep.keeper import Keeper as Keeper
    from turnkeep.keeper import open_keeper as _open_keeper
    from turnkeep.manager import InMemorySessionManager as InMemorySessionManager
    from turnkeep.manager import SessionManager as SessionManager
    from turnkeep.model import ModelAnswer as ModelAnswer
    from turnkeep.model import ModelClient as ModelClient
    from turnkeep.model import ModelLimits as ModelLimits
    from turnkeep.model import ModelSettings as ModelSettings
    from turnkeep.session import BaseSessionManager as BaseSessionManager
    from turnkeep.session import Session as Session
    from turnkeep.step import Step as Step
    from turnkeep.store import Capability as Capability
    from turnkeep.store import scoped_id as scoped_id
    from turnkeep.turn import Turn as Turn
    from turnkeep.tutorial.callbacks import create_optimizer_callback as create_optimizer_callback
    from turnkeep.tutorial.llm import LlmClient as LlmClient
    from turnkeep.tutorial.llm import build_messages as build_messages
    from turnkeep.tutorial.memory import (
        TOOLCALL_COMPACTION_RULES as TOOLCALL_COMPACTION_RULES,
    )
    from turnkeep.tutorial.memory import (
        TOOLRESULT_COMPACTION_RULES as TOOLRESULT_COMPACTION_RULES,
    )
    from turnkeep.tutorial.memory import ContextOptimizer as ContextOptimizer
    from turnkeep.tutorial.memory import apply_compaction as apply_compaction
    from turnkeep.tutorial.memory import apply_sliding_window as apply_sliding_window
    from turnkeep.tutorial.memory import apply_summarization as apply_summarization
    from turnkeep.tutorial.memory import count_tokens as count_tokens
    from turnkeep.tutorial.models import display_trace as display_trace
    from turnkeep.tutorial.models import format_trace as format_trace
    from turnkeep.tutorial.tools import load_mcp_tools as load_mcp_tools

    open = _open_keeper  # noqa: A001  # read as turnkeep.open

_HOMES = {
    "agent": "Agent AgentResult BaseTool ExecutionContext FunctionTool LlmRequest LlmResponse "
    "PendingToolCall ToolConfirmation tool",
    "content": "FilePart ImagePart Item Message Opaque Reasoning Ref Request TextPart ToolCall "
    "ToolDefinition ToolResult Usage",
    "errors": "ConfigError ContentError ContextOverflow CorruptSession ModelError ModelOverflow "
    "ModelRefused ModelUnavailable PendingApproval PluginError SessionBusy SessionConflict "
    "SessionExists SessionNotFound StoreClosed StoreError StoreUnavailable ToolError TurnkeepError",
    "events": "Checkpoint Decision Event Retract Tombstone",
    "hookspecs": "CounterSpec Env ModelSpec StoreSpec WrapperSpec hookimpl",
    "keeper": "Keeper open",
    "manager": "InMemorySessionManager SessionManager",
    "model": "ModelAnswer ModelClient ModelLimits ModelSettings",
    "session": "BaseSessionManager Session",
    "store": "Capability scoped_id",
    "step": "Step",
    "turn": "Turn",
    "tutorial.callbacks": "create_optimizer_callback",
    "tutorial.llm": "LlmClient build_messages",
    "tutorial.memory": "ContextOptimizer TOOLCALL_COMPACTION_RULES TOOLRESULT_COMPACTION_RULES "
    "apply_compaction apply_sliding_window apply_summarization count_tokens",
    "tutorial.models": "display_trace format_trace",
    "tutorial.tools": "load_mcp_tools",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

# `open` is left out: `from turnkeep import *` must not hide the built-in.
__all__ = ["__version__", *(_HOME_OF.keys() - {"open"})]  # noqa: PLE0604  # all are texts


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'turnkeep' has no attribute {name!r}")
    value = getattr(import_module(f"turnkeep.{home}"), "open_keeper" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
