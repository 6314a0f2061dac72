"""langmem: summarize_messages, whose RunningSummary is kept in the state beside all messages.

As in its docstring and guide ("Manage long context with summarization"): every call gets the whole
history and the running summary; what comes back is sent and not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langmem.short_term import RunningSummary, summarize_messages

from peers.base import Count, Desk, Peer
from peers.langchain import FakeModel, LangChain, counter

MAX_SUMMARY = 256
"""Tokens; the default. The guide binds it to the model, so the fake keeps to it, too."""


class Summaries(LangChain):
    """summarize_messages at each call, the running summary kept."""

    holds_system = True

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        self.settings = settings
        self.model = FakeModel(desk=desk, most=MAX_SUMMARY * 4)
        self.running: RunningSummary | None = None

    async def request(self) -> Sequence[BaseMessage]:
        with self.desk.ledger.meter():
            result = summarize_messages(
                list(self.messages),
                running_summary=self.running,
                model=self.model,
                **self.settings,
            )
        if result.running_summary is not None:
            self.running = result.running_summary
        return result.messages


def peers(limit: int, count: Count) -> list[Peer]:
    """Give langmem's way with its settings."""
    made: list[tuple[str, str, Any]] = [
        (
            "langmem summary",
            (
                f"summarize_messages(max_tokens={limit}, max_summary_tokens=256 (default)), "
                "counted approximately (default)"
            ),
            partial(Summaries, max_tokens=limit, token_counter=count_tokens_approximately),
        ),
        (
            "langmem summary, o200k",
            "the same, counted by o200k_base",
            partial(Summaries, max_tokens=limit, token_counter=counter(count)),
        ),
    ]
    return [Peer(name, settings, start, count) for name, settings, start in made]
