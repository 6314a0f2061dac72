"""Scripts: what the server answers, and how it misbehaves, one item a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from turnkeep.testing.provider.seen import SeenRequest

Kind = Literal[
    "rate limit", "overloaded", "server error", "drop", "slow", "hang", "garbage", "empty", "broken"
]


@dataclass(frozen=True)
class Call:
    """A tool call of the model; `id` is made up in the provider's form if None.

    `arguments` may be a text that is no JSON, as models write it: OpenAI passes it on, and the
    others, whose arguments are objects, give an object with that text.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Fault:
    """A way to misbehave. Made by the methods below; alone in a script, or in `Say(fault=…)`."""

    kind: Kind
    status: int | None = None
    retry_after: float | None = None
    after_bytes: int | None = None
    after_events: int | None = None
    before: float = 0.0
    between: float = 0.0

    @classmethod
    def rate_limit(cls, *, retry_after: float | None = None) -> Fault:
        """Answer 429; `retry_after` are the seconds of the header of that name, None: no header."""
        return cls("rate limit", retry_after=retry_after)

    @classmethod
    def overloaded(cls, *, retry_after: float | None = None) -> Fault:
        """Answer that the provider is overloaded: 529 from Anthropic, else 503."""
        return cls("overloaded", retry_after=retry_after)

    @classmethod
    def server_error(cls, status: int = 500) -> Fault:
        """Answer a failure of the provider's own."""
        return cls("server error", status=status)

    @classmethod
    def drop(cls, *, after_bytes: int | None = None, after_events: int | None = None) -> Fault:
        """Cut the connection: before any byte, or after so much of the body.

        `after_bytes` counts the bytes of the body, `after_events` the events of a stream (a plain
        answer is cut in its middle).
        """
        return cls("drop", after_bytes=after_bytes, after_events=after_events)

    @classmethod
    def slow(cls, before: float = 0.0, *, between: float = 0.0) -> Fault:
        """Wait `before` seconds before the first byte, and `between` seconds between events."""
        return cls("slow", before=before, between=between)

    @classmethod
    def hang(cls, *, after_events: int | None = None) -> Fault:
        """Send nothing, or nothing more after so many events of a stream, and stay connected."""
        return cls("hang", after_events=after_events)

    @classmethod
    def garbage(cls) -> Fault:
        """Answer 200 with what is no JSON."""
        return cls("garbage")

    @classmethod
    def empty(cls) -> Fault:
        """Answer without any content."""
        return cls("empty")

    @classmethod
    def broken(cls, *, after_events: int = 1) -> Fault:
        """Send the provider's error inside the stream after so many events; plain: status 500."""
        return cls("broken", after_events=after_events)


@dataclass(frozen=True)
class Say:
    """An answer of the model, whatever the provider.

    Attributes:
        text: what it says; "" for nothing.
        thinking: its reasoning, sealed as the provider does. OpenAI Chat shows none: there it is
            only counted.
        calls: its tool calls.
        finish: why it stopped: "stop", "length", "tool_calls", "content_filter" in any provider's
            terms, or a word of the provider. None: as its content tells.
        output_tokens: what is billed for the answer; None: as counted.
        fault: how the answer is spoiled on its way.
    """

    text: str = ""
    thinking: str | None = None
    calls: tuple[Call, ...] | list[Call] = ()
    finish: str | None = None
    output_tokens: int | None = None
    fault: Fault | None = None


Answer: TypeAlias = Say | Fault
Script: TypeAlias = Callable[["SeenRequest"], Answer | str | Awaitable[Answer | str]]
"""Gives the answer to a request. It runs in the server's thread and must not block."""
Step: TypeAlias = Answer | str | Script
"""An item of a script; a text is `Say(text)`."""

SPOILED = Say("This is the answer that a fault spoils on its way.")
"""What is answered where a fault stands alone and needs an answer."""
