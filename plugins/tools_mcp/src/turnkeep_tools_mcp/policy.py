"""What a tool may do unasked: confirmations and idempotence, from its annotations or the user.

Annotations are a server's word about itself. What it does not say is read as the protocol reads
it: not read-only, destructive, not idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mcp_types import Tool, ToolAnnotations

Confirmation: TypeAlias = bool | Collection[str] | Callable[[str, dict[str, Any]], bool] | None
"""All tools, the named ones, as a function of name and arguments says, or by annotations."""

Idempotence: TypeAlias = bool | Collection[str] | None
"""All tools, the named ones, or by annotations."""


def confirmation(tool: Tool, wish: Confirmation) -> bool | Callable[[dict[str, Any]], bool]:
    """Say whether a person must agree to calls of a tool."""
    if wish is None:
        return not _harmless(tool.annotations)
    if isinstance(wish, bool):
        return wish
    if callable(wish):
        return partial(wish, tool.name)
    return tool.name in wish


def idempotence(tool: Tool, wish: Idempotence) -> bool:
    """Say whether calling a tool twice does no harm."""
    if isinstance(wish, bool):
        return wish
    if wish is not None:
        return tool.name in wish
    said = tool.annotations
    return said is not None and (said.read_only_hint is True or said.idempotent_hint is True)


def _harmless(said: ToolAnnotations | None) -> bool:
    return said is not None and (said.read_only_hint is True or said.destructive_hint is False)
