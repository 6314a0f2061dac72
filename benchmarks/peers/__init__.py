"""Other frameworks: how they shorten a context, and how they keep a session; see README.md."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peers.base import Count, Peer
    from peers.session_base import SessionPeer, Where

Family = tuple[str, tuple[str, ...]]
"""The module that plays it, and the distributions whose versions are printed."""

FAMILIES: dict[str, Family] = {
    "langchain": ("peers.langchain", ("langchain", "langchain-core")),
    "langmem": ("peers.langmem", ("langmem",)),
    "agent-framework": ("peers.agent_framework", ("agent-framework-core",)),
    "strands": ("peers.strands", ("strands-agents",)),
    "openai-agents": ("peers.openai_agents", ("openai-agents",)),
    "adk": ("peers.google_adk", ("google-adk",)),
}
"""Policies of a replay."""
SESSIONS: dict[str, Family] = {
    "openai-agents": ("peers.session_openai_agents", ("openai-agents",)),
    "adk": ("peers.session_google_adk", ("google-adk",)),
    "langgraph": (
        "peers.session_langgraph",
        (
            "langgraph-checkpoint",
            "langgraph-checkpoint-sqlite",
            "langgraph-checkpoint-postgres",
        ),
    ),
    "agno": ("peers.session_agno", ("agno",)),
}
"""Session stores."""
WITHOUT = {
    "adk": {"redis": "which has no session store on Redis"},
    "langgraph": {"redis": "whose saver for Redis needs the modules RedisJSON and RediSearch"},
}
"""Why a family has no session store of a kind that can run here."""


def load(family: str, limit: int, count: Count) -> list[Peer]:
    """Give the peers of a family for a budget. Raises ImportError where it is not installed."""
    made: list[Peer] = importlib.import_module(FAMILIES[family][0]).peers(limit, count)
    return made


def load_sessions(family: str, where: Where) -> list[SessionPeer]:
    """Give a family's session stores of one kind. Raises ImportError where it is not installed."""
    module = importlib.import_module(SESSIONS[family][0])
    made: list[SessionPeer] = module.session_peers(where)
    return made


def versions(family: str, of: Mapping[str, Family] = FAMILIES) -> str:
    """Name the installed distributions of a family with their versions."""
    found = []
    for name in of[family][1]:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)
