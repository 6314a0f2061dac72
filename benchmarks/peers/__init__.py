"""Other frameworks' ways to shorten a context, each as a policy of a replay; see README.md."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peers.base import Count, Peer

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "langchain": ("peers.langchain", ("langchain", "langchain-core")),
    "langmem": ("peers.langmem", ("langmem",)),
    "agent-framework": ("peers.agent_framework", ("agent-framework-core",)),
    "strands": ("peers.strands", ("strands-agents",)),
    "openai-agents": ("peers.openai_agents", ("openai-agents",)),
    "adk": ("peers.google_adk", ("google-adk",)),
}
"""Name → the module that plays it, and the distributions whose versions are printed."""


def load(family: str, limit: int, count: Count) -> list[Peer]:
    """Give the peers of a family for a budget. Raises ImportError where it is not installed."""
    made: list[Peer] = importlib.import_module(FAMILIES[family][0]).peers(limit, count)
    return made


def versions(family: str) -> str:
    """Name the installed distributions of a family with their versions."""
    found = []
    for name in FAMILIES[family][1]:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)
