"""A prepared request: what one model call gets, in whichever provider's shape is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from turnkeep.content import Item, Request, ToolDefinition
from turnkeep.formats import get_profile
from turnkeep.formats.profile import Countable, Profile, Wire, WireMessage
from turnkeep.optimize.steps import Repair
from turnkeep.optimize.validity import cut
from turnkeep.tokens.counter import TokenCounter


class RequestReport(NamedTuple):
    """What a request weighs, and what had to be repaired to make it valid.

    `tokens` is the whole; `overhead` the part of it that stands for message and call structure.
    `exact` says whether the texts were counted with the model's own tokenizer.
    """

    profile: str
    tokens: int
    overhead: int
    counter: str
    exact: bool
    repairs: list[Repair]


class PreparedRequest:
    """Items and tools of one model call; `to_…()` gives a provider's request body.

    What an interrupted or foreign log left broken is repaired in the request, never in the log.
    """

    def __init__(
        self, request: Request, items: Sequence[Item], *, session_id: str, counter: TokenCounter
    ) -> None:
        self.request = request
        self.items = items
        self._session_id = session_id
        self._counter = counter
        self._wires: dict[str, _Wire] = {}

    @classmethod
    def of_items(
        cls,
        items: Sequence[Item],
        *,
        instructions: str = "",
        tools: Iterable[ToolDefinition | Mapping[str, Any]] = (),
        tool_choice: Any = None,
        model_id: str | None = None,
        session_id: str,
        counter: TokenCounter,
    ) -> Self:
        """Prepare a request for items from anywhere."""
        request = Request(
            instructions=instructions,
            tools=[ToolDefinition.model_validate(tool) for tool in tools],
            tool_choice=tool_choice,
            model_id=model_id,
        )
        return cls(request, items, session_id=session_id, counter=counter)

    def to(self, profile: str, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the request body for a profile ("openai-chat", "anthropic").

        `max_output` is the most tokens the model may answer with; `cache=False` asks for no
        caching. Raises ContentError for an unknown profile.
        """
        wire = self._wire(profile)
        return wire.profile.payload(
            messages=wire.messages,
            system=wire.system,
            tools=wire.tools,
            tool_choice=self.request.tool_choice,
            model_id=self.request.model_id,
            max_output=max_output,
            session_id=self._session_id,
            cache=cache,
        )

    def to_openai_chat(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of an OpenAI Chat Completions request."""
        return self.to("openai-chat", max_output=max_output, cache=cache)

    def to_anthropic(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of an Anthropic Messages request (`max_tokens` is required there)."""
        return self.to("anthropic", max_output=max_output, cache=cache)

    def report(self, profile: str = "openai-chat") -> RequestReport:
        """Weigh the request as this provider would get it, and say what was repaired."""
        wire = self._wire(profile)
        parts = [
            wire.profile.tool_texts(self.request.tools),
            wire.profile.system_texts(wire.system),
            *(Countable(message.texts, message.overhead) for message in wire.messages),
        ]
        texts = [text for part in parts for text in part.texts]
        overhead = wire.profile.request_overhead + sum(part.overhead for part in parts)
        return RequestReport(
            profile=profile,
            tokens=sum(self._counter.count_texts(texts)) + overhead,
            overhead=overhead,
            counter=self._counter.name,
            exact=self._counter.exact(self.request.model_id or ""),
            repairs=wire.repairs,
        )

    def _wire(self, name: str) -> _Wire:
        if name not in self._wires:
            profile = get_profile(name)
            steps = cut(self.items, profile, tools=self.request.tools)
            leading = steps[0].items[: steps[0].leading]
            system, messages = profile.system(self.request.instructions, leading)  # type: ignore[arg-type]  # the leading items are messages
            self._wires[name] = _Wire(
                profile,
                system,
                [*messages, *(message for step in steps for message in step.messages())],
                profile.tools(self.request.tools),
                [repair for step in steps for repair in step.repairs],
            )
        return self._wires[name]


class _Wire(NamedTuple):
    profile: Profile
    system: list[Wire] | None
    messages: list[WireMessage]
    tools: list[Wire]
    repairs: list[Repair]
