"""The contract of a dialect: how one provider reads requests, answers, and says no."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from turnkeep.content import Usage, compact_json
from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.script import Call, Say


@dataclass(frozen=True)
class Made:
    """An answer on its way: what the script says, and what the server adds to it."""

    say: Say
    model: str
    body: Wire
    """The request that it answers."""
    usage: Usage
    hour: int = 0
    """Of the tokens written to the cache, those that stay for an hour (Anthropic)."""
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    """Random letters for ids."""
    created: int = field(default_factory=lambda: int(time.time()))

    def call_id(self, index: int, prefix: str) -> str:
        """Give the id of a call: the script's, or one that no other call has."""
        return self.say.calls[index].id or f"{prefix}{self.token[:20]}{index:02d}"


class Event(NamedTuple):
    """One event of a stream; `name` stands on a line of its own where the provider has those."""

    name: str | None
    data: Wire


class Prompt(NamedTuple):
    """A request in the parts that are counted and cached, in the order of the cache."""

    tools: list[Any]
    system: list[Any]
    messages: list[Any]
    automatic: Any = None
    """A cache marker for the last block, wherever that is (Anthropic)."""


class Dialect(Protocol):
    """One provider's API. Implementations hold no state."""

    @property
    def name(self) -> str:
        """The name of its profile."""

    def normal(self, body: Wire, model: str) -> Wire:
        """Give the body in the one spelling that its profile's `check` reads."""

    def model(self, body: Wire) -> str:
        """Give the model that the body names."""

    def streamed(self, body: Wire) -> bool:
        """Say whether the body asks for a stream."""

    def max_output(self, body: Wire) -> int:
        """Give the most tokens that the answer may have, 0 if it is not said."""

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Give the key that a request shows."""

    def prompt(self, body: Wire) -> Prompt:
        """Give what is counted and cached of a body."""

    def unusual(self, body: Wire, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse parameters that are missing or not known."""

    def refusal(self, violation: Violation, body: Wire) -> Refusal:
        """Say what breaks a rule in the provider's words."""

    def unsealed(self, body: Wire) -> Refusal | None:
        """Refuse reasoning that is not as it was given."""

    def too_long(self, body: Wire, tokens: int, window: int) -> Refusal | None:
        """Refuse a prompt of so many tokens if it does not fit into the window."""

    def unauthorized(self, *, shown: bool) -> Refusal:
        """Refuse a key, or that there is none."""

    def limited(self) -> Refusal:
        """Refuse by the rate."""

    def overloaded(self) -> Refusal:
        """Refuse by the load."""

    def error(self, refusal: Refusal) -> Wire:
        """Give the body of an error."""

    def broken(self, refusal: Refusal) -> Event:
        """Give the event of an error in a stream."""

    def answer(self, made: Made) -> Wire:
        """Give the body of an answer."""

    def events(self, made: Made) -> Iterator[Event]:
        """Give the events of an answer."""


def pieces(text: str) -> list[str]:
    """Cut a text as a stream brings it: pieces of 12 characters, longer ones for long texts."""
    size = max(12, len(text) // 100)
    return [text[start : start + size] for start in range(0, len(text), size)]


def arguments_text(call: Call) -> str:
    """Give the arguments of a call as a text."""
    return call.arguments if isinstance(call.arguments, str) else compact_json(call.arguments)


def arguments_object(call: Call) -> Wire:
    """Give the arguments of a call as an object."""
    if isinstance(call.arguments, str):
        return {"__raw__": call.arguments}
    return dict(call.arguments)


def texts_of_answer(say: Say) -> list[str]:
    """Give what is billed as output beside reasoning."""
    return [say.text, *(part for call in say.calls for part in (call.name, arguments_text(call)))]


def words(text: str) -> frozenset[str]:
    """Give the words of a text."""
    return frozenset(text.split())


def as_list(value: object) -> list[Any]:
    """Give a list; empty for anything else."""
    return value if isinstance(value, list) else []


def as_limit(value: object) -> int:
    """Give a number of tokens; 0 for anything else."""
    return value if type(value) is int and value > 0 else 0


def bearer(headers: Mapping[str, str]) -> str | None:
    """Give the key of an Authorization header."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if kind.lower() == "bearer" else None
