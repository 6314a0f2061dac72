"""Events: what one author added to a session at one moment, and the four other kinds of entry.

A session is an append-only log of events. An event is immutable once stored; its `seq` (1, 2, 3 …
without gaps) is given by the store and is not part of the stored bytes.
"""

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AwareDatetime, Discriminator, Field, JsonValue, model_validator

from turnkeep.content import ITEM_TYPES, Item, Message, Model, Ref, ToolResult, Usage
from turnkeep.errors import ContentError

_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""Hexadecimal digit → the same with the two bits in front that RFC 9562 asks for."""


def new_id() -> str:
    """Make an identifier that sorts by its time of birth, in the layout of UUIDv7 (RFC 9562)."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    tail = os.urandom(10).hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{tail[:3]}-{_VARIANT[tail[3]]}{tail[4:7]}-{tail[7:19]}"


def utc_now() -> datetime:
    """Give the current time, aware and in UTC."""
    return datetime.now(UTC)


_GIVEN: Final = {"execution_id", "author", "content", "usage", "partial"}
"""Shared by all events of `of_items`: nobody changes the set of a frozen model, and a copy has its
own."""


def author_of(item: Item) -> str:
    """Tell the author of an item that names none: "user", "system", "assistant" or "tool"."""
    kind = type(item)
    if kind is Message:
        role: str = item.role  # type: ignore[union-attr]  # it is a Message
        return "system" if role == "developer" else role
    return "tool" if kind is ToolResult else "assistant"


def runs_of(items: Iterable[Item], author: str | None = None) -> list[tuple[str, list[Item]]]:
    """Put items together that one author added in a row; `author` is that of all, if given.

    Raises ContentError for what is no item.
    """
    runs: list[tuple[str, list[Item]]] = []
    for item in items:
        if type(item) not in ITEM_TYPES:
            raise ContentError(f"{type(item).__name__} is no item of a conversation")
        name = author or author_of(item)
        if runs and runs[-1][0] == name:
            runs[-1][1].append(item)
        else:
            runs.append((name, [item]))
    return runs


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

    @classmethod
    def of_items(
        cls,
        content: list[Item],
        *,
        author: str,
        execution_id: str | None,
        usage: Usage | None = None,
        partial: bool = False,
        timestamp: datetime | None = None,
    ) -> Self:
        """Make an event of items that are valid already, without validating them again."""
        event = cls.__new__(cls)
        fields = {
            "type": "event",
            "id": new_id(),
            "execution_id": execution_id,
            "timestamp": timestamp or utc_now(),
            "author": author,
            "content": content,
            "usage": usage,
            "state": None,
            "partial": partial,
            "seq": None,
        }
        object.__setattr__(event, "__dict__", fields)
        object.__setattr__(event, "__pydantic_fields_set__", _GIVEN)
        object.__setattr__(event, "__pydantic_extra__", {})
        object.__setattr__(event, "__pydantic_private__", None)
        return event

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
    """Takes back single items, or everything after an event. Nothing is deleted.

    With `after` the session stands again as it stood at that event: what was taken back later than
    that stands again, too.
    """

    type: Literal["retract"] = "retract"  # type: ignore[assignment]  # narrows the tag
    items: list[Ref] = Field(default_factory=list)
    after: int | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if bool(self.items) == (self.after is not None):
            raise ValueError("give either items or after")
        return self


Form: TypeAlias = Literal["whole", "cut", "stub", "cover"]
"""How an item stands in a context: as in the log; shortened when it arrived; shortened later; or a
text in place of several items, with the origin of the first."""


class Placed(Model):
    """An item in a checkpoint with its origin in the log."""

    seq: int
    index: int
    item: Item
    form: Form = "whole"


class Checkpoint(Event):
    """Its contents stand for everything before it, so that no request needs an older event.

    `decisions` are those on its calls; `previous` is the seq of the checkpoint before it, 0 if
    none; `report` says why and at what price the context was rewritten; `memory` is what each step
    of the pipeline noted for its next run, by the step's name.
    """

    type: Literal["checkpoint"] = "checkpoint"  # type: ignore[assignment]  # narrows the tag
    contents: list[Placed] = Field(default_factory=list)
    decisions: list[Decision] = Field(default_factory=list)
    previous: int = 0
    report: dict[str, JsonValue] = Field(default_factory=dict)
    memory: dict[str, JsonValue] = Field(default_factory=dict)


class Tombstone(Event):
    """Stands where an event was erased: its id, author and time are left, its content is not.

    `was` is the type of what stood here, `changed_state` whether it held a state; `erased_at` and
    `reason` say when and why.
    """

    type: Literal["tombstone"] = "tombstone"  # type: ignore[assignment]  # narrows the tag
    was: str
    changed_state: bool = False
    erased_at: AwareDatetime = Field(default_factory=utc_now)
    reason: str | None = None


AnyEvent: TypeAlias = Annotated[
    Event | Decision | Retract | Checkpoint | Tombstone, Discriminator("type")
]
