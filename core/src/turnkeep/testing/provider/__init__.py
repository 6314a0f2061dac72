"""A strict provider server for tests: four APIs on this machine, scripted, billed, and faulty.

It needs aiohttp, which comes with `turnkeep[testing]`. See docs/provider-server.md.
"""

from __future__ import annotations

from turnkeep.testing.provider.clock import Clock
from turnkeep.testing.provider.script import Answer, Call, Fault, Say, Script, Step
from turnkeep.testing.provider.seen import SeenRequest
from turnkeep.testing.provider.server import ProviderServer

__all__ = [
    "Answer",
    "Call",
    "Clock",
    "Fault",
    "ProviderServer",
    "Say",
    "Script",
    "SeenRequest",
    "Step",
]
