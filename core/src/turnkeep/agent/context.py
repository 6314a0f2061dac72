"""What a run holds while it goes on, and what it ends with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from turnkeep.content import Message, ToolCall, Usage
from turnkeep.errors import TurnkeepError
from turnkeep.events import Event, new_id
from turnkeep.log import stream_events
from turnkeep.model import FinishReason

PENDING = "pending_tool_calls"
"""The key of a context's state that shows the waiting calls: a view, never a second truth."""


@dataclass
class ExecutionContext:
    """The state of a run, as tools and callbacks see it.

    `events` are the live ones: all of them until the first checkpoint, then it and what came after.
    `state` is the session's; what a tool or a callback changes in it is stored after the step.
    `current_step` counts the model calls of this run.
    """

    execution_id: str = field(default_factory=new_id)
    events: list[Event] = field(default_factory=list)
    current_step: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    final_result: Any = None
    session_id: str | None = None
    _read_all: Callable[[], AsyncIterator[Event]] | None = field(
        default=None, repr=False, compare=False
    )
    _home: Any = field(default=None, repr=False, compare=False)
    """Where a run without a session keeps its turns, so that it can be continued."""
    _of: str | None = field(default=None, repr=False, compare=False)
    """The session that it showed last."""
    _state: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The state as it was stored last: only what has changed since goes on top."""

    def add_event(self, event: Event) -> None:
        """Add an event; it is stored with the session when the run goes on."""
        self.events.append(event)

    async def all_events(self) -> list[Event]:
        """Read all events of the session, those before the live context, too."""
        if self._read_all is None:
            return list(self.events)
        return [event async for event in self._read_all()]

    def __getstate__(self) -> dict[str, Any]:
        """Give what can be pickled or copied deeply: all that it shows, not the way to its store.

        A run goes on with what comes out of it: with the session, or where there is none, with all
        events, which come along.
        """
        away = None if self._read_all is None else _left_behind
        home = None if self._home is None else _Moved.of(*self._home)
        return {**vars(self), "_read_all": away, "_home": home}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        vars(self).update(state)
        if isinstance(self._home, _Moved):
            store, name = self._home = self._home.arrived()
            self._read_all = lambda: stream_events(store, name)

    def __copy__(self) -> ExecutionContext:
        """Give a shallow copy, of the same store."""
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied


class _Moved(NamedTuple):
    """The session in memory of a run without one, on its way."""

    name: str
    sessions: dict[str, Any]

    @classmethod
    def of(cls, store: Any, name: str) -> _Moved:
        return cls(name, {name: store._sessions[name]} if name in store._sessions else {})

    def arrived(self) -> tuple[Any, str]:
        from turnkeep.stores.memory import MemoryStore

        store = MemoryStore()
        store._sessions = dict(self.sessions)
        return store, self.name


def _left_behind() -> AsyncIterator[Event]:
    raise TurnkeepError(
        "this context is a copy, pickled or deep, which has the live events only; for all of them "
        "use keep.sessions.events(session_id), or run the agent with it first"
    )


class ToolConfirmation(BaseModel):
    """A person's answer to a call that waits: run it, perhaps with other arguments, or do not."""

    tool_call_id: str
    approved: bool
    modified_arguments: dict[str, Any] | None = None
    reason: str | None = None


class PendingToolCall(BaseModel):
    """A call that waits for a person, and what the person is asked."""

    tool_call: ToolCall
    confirmation_message: str = ""


@dataclass
class AgentResult:
    """What a run ended with.

    `status` is "complete" with `output`; "pending" while `pending_tool_calls` wait for a person:
    run again with `tool_confirmations`; "incomplete" where `max_steps` model calls were not enough.
    `output` is a text, or what `output_type` asks for. `finish` is why the model stopped last, as
    "length" where its answer met its limit. `usage` sums up this run's model calls, `cost` is
    theirs in US dollars, None where any of them is not known.
    """

    output: Any = None
    context: ExecutionContext = field(default_factory=ExecutionContext)
    status: Literal["complete", "pending", "incomplete"] = "complete"
    pending_tool_calls: Sequence[PendingToolCall] = ()
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    finish: FinishReason | None = None


def user_message(text: str) -> Message:
    """Make the message of a user's input."""
    return Message(role="user", content=text)
