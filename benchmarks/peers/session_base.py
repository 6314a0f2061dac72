"""What the session stores of other frameworks are asked for by `benchmarks/sessions.py --peers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from session_paths import items

from turnkeep.content import Message, ToolCall, ToolResult, message_text, result_text

SESSION: str = "session"
USER: str = "user"
LIVE: int = 50
"""Turns that the next one needs, where a peer can be told so."""


class Where(NamedTuple):
    """A place of one kind: a folder for "sqlite", else the URL of a server."""

    kind: str
    folder: Path
    url: str

    def sqlalchemy(self, name: str, drivers: dict[str, str]) -> str:
        """Give SQLAlchemy's URL, with the driver of this kind."""
        if self.kind == "sqlite":
            return f"{drivers['sqlite']}:///{self.folder / name}.db"
        return self.url.replace("postgresql:", f"{drivers['postgres']}:", 1)


class SessionPeer(Protocol):
    """One peer's session of so many turns. What it saves continues what it loaded last."""

    name: str
    load_how: str
    """The call that loads everything, decoded into its message objects."""
    next_how: str
    """Its most favourable call for the next turn."""
    save_how: str
    """What saves a turn."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Hold open what its calls need."""
        ...

    async def fill(self, turns: int) -> None:
        """Make the session; what it is then is what so many saves give."""
        ...

    async def load(self) -> Sequence[Any]:
        """Load all messages."""
        ...

    async def load_next(self) -> Sequence[Any]:
        """Load what the next turn needs."""
        ...

    async def save(self, number: int) -> None:
        """Save a turn."""
        ...

    def forget(self) -> None:
        """Let go of what was loaded; it is not timed."""
        ...


class Texts(NamedTuple):
    """The parts of a turn, for those who make their own messages of them."""

    question: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    result: str
    answer: str

    @property
    def arguments_json(self) -> str:
        """The arguments as a provider writes them."""
        return json.dumps(self.arguments)


def texts(number: int) -> Texts:
    """Give the parts of the very turn that the others are given, too."""
    question, call, result, answer = items(number)
    assert isinstance(question, Message)
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert isinstance(answer, Message)
    return Texts(
        message_text(question),
        call.tool_call_id,
        call.name,
        dict(call.arguments),
        result_text(result),
        message_text(answer),
    )
