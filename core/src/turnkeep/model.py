"""Model clients: what a model can do, how it is asked, and what it answers.

A client speaks to one model. It gets a request that is valid and fits, in whichever provider's form
it asks for, and gives back items of ours. Anything that can answer will do: a program may write its
own class with the four members of `ModelClient`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import JsonValue

from turnkeep.content import Item, Message, Request, ToolCall, Usage, message_text

FinishReason: TypeAlias = Literal["stop", "tool_calls", "length", "content_filter", "other"]
"""Why a model stopped: it was done, wants its tools run, met its limit of output, was stopped by
the provider's filter, or for a reason that is not known here."""


@dataclass(frozen=True, kw_only=True)
class ModelLimits:
    """What a model takes and gives at most, in tokens; None where it is not known.

    `context_window` holds the prompt and the answer.
    """

    context_window: int | None = None
    max_output: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """How one call is to be made; None leaves it to the client and its options.

    `max_output` is the most tokens to answer with. `output_schema` is a JSON Schema that the text
    of a final answer must follow; a client whose model cannot be held to one ignores it, as the
    caller checks. `timeout` is in seconds, for the whole call with its repetitions.
    """

    max_output: int | None = None
    output_schema: Mapping[str, JsonValue] | None = None
    timeout: float | None = None


class ModelRequest(Protocol):
    """A request ready to be sent, in any provider's form; `PreparedRequest` is one."""

    @property
    def request(self) -> Request:
        """Instructions, tools, tool choice and model id; its contents may be empty."""

    def to(
        self, profile: str, *, max_output: int | None = None, cache: bool = True
    ) -> dict[str, Any]:
        """Give the body for a profile (one of `turnkeep.formats.PROFILE_NAMES`)."""


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """What a model answered.

    `items` are in the order in which the model gave them. `model` is the name by which the provider
    calls what answered, `cost` in US dollars; None where it is not known. `partial`: the answer was
    cut off, so it is kept, but left out of requests.
    """

    items: list[Item]
    usage: Usage | None = None
    finish: FinishReason = "stop"
    model: str | None = None
    cost: float | None = None
    partial: bool = False
    provider: Mapping[str, JsonValue] = field(default_factory=dict)
    """What else the provider reported of this call, such as an id to ask its support about."""

    @property
    def text(self) -> str:
        """The text of the answer."""
        return "\n".join(message_text(item) for item in self.items if isinstance(item, Message))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls that the model wants run."""
        return [item for item in self.items if isinstance(item, ToolCall)]


class TextDelta(NamedTuple):
    """A piece of the answer's text, as it comes."""

    text: str


class ThinkingDelta(NamedTuple):
    """A piece of what the model thinks aloud, as it comes; to be shown at most, never sent back."""

    text: str


class CallDelta(NamedTuple):
    """The model has begun to ask for a tool: `name` once it is known, and a piece of arguments."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    name: str | None
    arguments: str


ModelPiece: TypeAlias = TextDelta | ThinkingDelta | CallDelta | ModelAnswer
"""What a stream gives; the whole `ModelAnswer` comes last, once."""

DEFAULTS = ModelSettings()


class ModelClient(Protocol):
    """One model, ready to be asked; any number of calls may run at once.

    Cancelling the task that waits for `generate` or reads `stream` ends the call; whether the
    provider bills it then is the provider's matter.
    """

    @property
    def model_id(self) -> str:
        """The model's name, as counters and price tables know it."""

    @property
    def profile(self) -> str:
        """The form of requests in which this client's must fit (one of `PROFILE_NAMES`)."""

    @property
    def limits(self) -> ModelLimits:
        """What the model takes and gives at most."""

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask once, repeating what the provider says may be repeated.

        Raises ModelError where there is no answer, of a kind that says what to do about it.
        """

    def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Ask, and give the answer in pieces; what was given is never taken back.

        Repeats only what fails before the first piece. Raises ModelError as `generate` does; cut
        off later, one whose `partial` holds what had come.
        """
