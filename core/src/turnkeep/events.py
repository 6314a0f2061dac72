"""Events: what one author added to a session at one moment, and the three other kinds of entry.

A session is an append-only log of events. An event is immutable once stored; its `seq` (1, 2, 3 …
without gaps) is given by the store and is not part of the stored bytes.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AwareDatetime, Discriminator, Field, JsonValue, model_validator

from turnkeep.content import Item, Message, Model, Ref, ToolResult, Usage


def new_id() -> str:
    """Make an identifier that sorts by its time of birth, in the layout of UUIDv7 (RFC 9562)."""
    stamp = time.time_ns() // 1_000_000
    tail = bytearray(os.urandom(10))
    tail[0] = tail[0] & 0x0F | 0x70
    tail[2] = tail[2] & 0x3F | 0x80
    text = f"{stamp:012x}{tail.hex()}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utc_now() -> datetime:
    """Give the current time, aware and in UTC."""
    return datetime.now(UTC)


def author_of(item: Item) -> str:
    """Tell the author of an item that names none: "user", "system", "assistant" or "tool"."""
    if isinstance(item, Message):
        return "system" if item.role == "developer" else item.role
    return "tool" if isinstance(item, ToolResult) else "assistant"


class Event(Model):
    """What one author added at one moment.

    `state` is the session's state after this event, given only where the event changes it.
    `partial` marks what was cut off (a broken stream): kept in the log, left out of requests.
    """

    type: Literal["event"] = "event"
    id: str = Field(default_factory=new_id)
    execution_id: str | None = None
    timestamp: AwareDatetime = Field(default_factory=utc_now)
    author: str = "user"
    content: list[Item] = Field(default_factory=list)
    usage: Usage | None = None
    state: dict[str, JsonValue] | None = None
    partial: bool = False
    seq: int | None = Field(default=None, exclude=True)

    def stored_as(self, seq: int | None) -> Self:
        """Note the seq that the store gave to this very object (None: none yet), and return it."""
        self.__dict__["seq"] = seq
        return self

    def carrying(self, state: dict[str, JsonValue]) -> Self:
        """Attach the session's new state to this event before it is stored, and return it."""
        self.__dict__["state"] = state
        return self


class Decision(Event):
    """A person's answer to a call that asked for approval; used once, by whoever resumes."""

    type: Literal["decision"] = "decision"  # type: ignore[assignment]  # narrows the tag
    call: Ref
    tool_call_id: str
    approved: bool
    arguments: dict[str, JsonValue] | None = None
    reason: str | None = None


class Retract(Event):
    """Takes back single items, or everything after an event. Nothing is deleted."""

    type: Literal["retract"] = "retract"  # type: ignore[assignment]  # narrows the tag
    items: list[Ref] = Field(default_factory=list)
    after: int | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if bool(self.items) == (self.after is not None):
            raise ValueError("give either items or after")
        return self


class Placed(Model):
    """An item in a checkpoint with its origin in the log."""

    seq: int
    index: int
    item: Item


class Checkpoint(Event):
    """Its contents stand for everything before it, so that no request needs an older event.

    `decisions` are those on its calls; `previous` is the seq of the checkpoint before it, 0 if
    none; `report` says why and at what price the context was rewritten.
    """

    type: Literal["checkpoint"] = "checkpoint"  # type: ignore[assignment]  # narrows the tag
    contents: list[Placed] = Field(default_factory=list)
    decisions: list[Decision] = Field(default_factory=list)
    previous: int = 0
    report: dict[str, JsonValue] = Field(default_factory=dict)


AnyEvent: TypeAlias = Annotated[Event | Decision | Retract | Checkpoint, Discriminator("type")]
