"""A prepared request: what one model call gets, in whichever provider's shape is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from turnkeep.content import Item, Request, ToolDefinition
from turnkeep.formats import get_profile
from turnkeep.formats.profile import Profile, Wire, WireMessage
from turnkeep.repair.steps import Repair
from turnkeep.sizing import Counted, Size, guess
from turnkeep.tally import Snapshot, Tally, Way, Weight, fixed_weight
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.formulas import formula_for


class RequestReport(NamedTuple):
    """What a request weighs, and what had to be repaired to make it valid.

    `tokens` is our own count of the whole and errs upward; `overhead` is the part of it that stands
    for message and call structure. `expected` is what the provider is expected to report, and
    `margin` by how much it may be more in 99 of 100 cases; `anchored` says whether that builds on a
    report of this session or is a guess. `exact` says whether the texts were counted with the
    model's own tokenizer.
    """

    profile: str
    tokens: int
    overhead: int
    expected: int
    margin: int
    anchored: bool
    counter: str
    exact: bool
    repairs: list[Repair]


class Weighed(NamedTuple):
    """What the engine wants to know of a request in a provider's form.

    `fixed` are the tokens of instructions and tools without leading system messages, `tokens` those
    of the whole; `expected` is the whole by the provider's formula, `exact` whether the texts were
    counted with the model's own tokenizer.
    """

    way: Way
    fixed: int
    tokens: int
    expected: int
    size: Size
    exact: bool
    repairs: list[Repair]


TallyFor = Callable[[Way], Tally | None]
"""Gives the tally of a session for a way of counting, if it has one."""
SizeOf = Callable[[Counted], Size | None]
"""Sizes a request by our counts of it; None where nothing is known of the session any more."""


class PreparedRequest:
    """Items and tools of one model call; `to_…()` gives a provider's request body.

    What an interrupted or foreign log left broken is repaired in the request, never in the log.
    """

    def __init__(
        self,
        request: Request,
        items: Sequence[Item],
        *,
        session_id: str,
        counter: TokenCounter,
        tally_for: TallyFor | None = None,
        size_of: SizeOf | None = None,
        stable: int = 0,
    ) -> None:
        self.request = request
        self._items = items
        self._upto = len(items)
        self._session_id = session_id
        self._model = request.model_id or ""
        self._counter = counter_for(counter, self._model)
        self._tally_for = tally_for
        self._size_of = size_of
        self._stable = stable
        """Items that a checkpoint holds."""
        self._wires: dict[str, _Wire] = {}
        self.rewritten: Mapping[str, Any] | None = None
        """The report of the rewrite that this is the first request after; None between rewrites."""

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
        tally_for: TallyFor | None = None,
        size_of: SizeOf | None = None,
        stable: int = 0,
    ) -> Self:
        """Prepare a request for items from anywhere; the list may grow later, but not change."""
        request = Request(
            instructions=instructions,
            tools=[ToolDefinition.model_validate(tool) for tool in tools],
            tool_choice=tool_choice,
            model_id=model_id,
        )
        return cls(
            request,
            items,
            session_id=session_id,
            counter=counter,
            tally_for=tally_for,
            size_of=size_of,
            stable=stable,
        )

    @property
    def items(self) -> Sequence[Item]:
        """The items of the context, as they are in the log."""
        return self._items[: self._upto]

    def to(self, profile: str, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the request body for a profile (one of `turnkeep.formats.PROFILE_NAMES`).

        `max_output` is the most tokens the model may answer with; `cache=False` asks for no
        caching. Raises ContentError for an unknown profile.
        """
        wire = self._wire(profile)
        return wire.profile.payload(
            messages=[*wire.leading, *wire.snapshot.messages()],
            system=wire.system,
            tools=wire.tools,
            tool_choice=self.request.tool_choice,
            model_id=self.request.model_id,
            max_output=max_output,
            session_id=self._session_id,
            stable=wire.stable,
            cache=cache,
        )

    def to_openai_chat(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of an OpenAI Chat Completions request."""
        return self.to("openai-chat", max_output=max_output, cache=cache)

    def to_anthropic(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of an Anthropic Messages request (`max_tokens` is required there)."""
        return self.to("anthropic", max_output=max_output, cache=cache)

    def to_openai_responses(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of an OpenAI Responses request, which leaves nothing at the provider."""
        return self.to("openai-responses", max_output=max_output, cache=cache)

    def to_gemini(self, *, max_output: int | None = None, cache: bool = True) -> Wire:
        """Give the body of a Gemini generateContent request; the URL names the model."""
        return self.to("gemini", max_output=max_output, cache=cache)

    def report(self, profile: str = "openai-chat") -> RequestReport:
        """Weigh the request as this provider would get it, and say what was repaired."""
        wire = self._wire(profile)
        size, weight = wire.size, wire.fixed + wire.snapshot.weight
        return RequestReport(
            profile=profile,
            tokens=weight.tokens,
            overhead=weight.overhead,
            expected=size.expected,
            margin=size.margin,
            anchored=size.anchored,
            counter=self._counter.name,
            exact=self._counter.exact(self._model),
            repairs=wire.snapshot.repairs(),
        )

    def weighed(self, profile: str) -> Weighed:
        """Weigh the request as this provider would get it."""
        wire = self._wire(profile)
        fixed = wire.fixed
        if wire.snapshot.first().leading:
            own = wire.profile.system(self.request.instructions, [])
            fixed = fixed_weight(wire.way, *own, self.request.tool_choice)
        return Weighed(
            wire.way,
            fixed.tokens,
            wire.fixed.tokens + wire.snapshot.weight.tokens,
            wire.counted.whole,
            wire.size,
            self._counter.exact(self._model),
            wire.snapshot.repairs(),
        )

    def extended(self, items: Sequence[Item]) -> PreparedRequest:
        """Give the same request with further items behind its own."""
        return PreparedRequest(
            self.request,
            [*self.items, *items],
            session_id=self._session_id,
            counter=self._counter,
            stable=self._stable,
        )

    def weighed_with(self, items: Sequence[Item], profile: str) -> Weighed:
        """Weigh the same request with other items in the place of its own."""
        other = PreparedRequest(
            self.request,
            items,
            session_id=self._session_id,
            counter=self._counter,
            size_of=self._size_of,
        )
        return other.weighed(profile)

    @property
    def last_profile(self) -> str | None:
        """The form that was asked for last; None if none was."""
        return next(reversed(self._wires), None)

    def counted(self) -> Counted | None:
        """Give the counts in the form that was asked for last; None if none was."""
        return next(reversed(self._wires.values())).counted if self._wires else None

    def _wire(self, name: str) -> _Wire:
        if name in self._wires:
            self._wires[name] = self._wires.pop(name)
        else:
            self._wires[name] = self._make(get_profile(name))
        return self._wires[name]

    def _make(self, profile: Profile) -> _Wire:
        formula = formula_for(profile.name, self._model)
        way = Way(profile, formula, self._counter, self._model, self.request.tools)
        tally = None if self._tally_for is None else self._tally_for(way)
        if tally is None or tally.fed > self._upto:  # it has gone on: the items of then, anew
            tally = Tally(way)
        tally.follow(self._items, self._upto)
        snapshot = tally.snapshot()
        first = snapshot.first()
        system, leading = profile.system(
            self.request.instructions,
            first.items[: first.leading],  # type: ignore[arg-type]  # the leading items are messages
        )
        fixed = fixed_weight(way, system, leading, self.request.tool_choice)
        whole = fixed.expected + snapshot.weight.expected
        counted = Counted(whole, fixed.expected, way.form)
        size = None if self._size_of is None else self._size_of(counted)
        tools = profile.tools(way.tools)
        stable = snapshot.messages_of(self._stable)
        return _Wire(
            way,
            profile,
            system,
            leading,
            tools,
            fixed,
            snapshot,
            counted,
            size or guess(whole),
            len(leading) + stable if stable else 0,
        )


class _Wire(NamedTuple):
    way: Way
    profile: Profile
    system: list[Wire] | None
    leading: list[WireMessage]
    tools: list[Wire]
    fixed: Weight
    snapshot: Snapshot
    counted: Counted
    size: Size
    stable: int
