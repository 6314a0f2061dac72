"""Steps: a log cut at its model calls, each piece repaired once so that it never changes again.

A step is a run of the assistant's items and everything up to its next one: results, then inputs.
Step 0 is what stands before the first. A model call happened just before each run, so a step is
final when the next one begins, and what it looked like at that call is what it looks like ever
after: a provider's cache of the request stays valid. Repair touches the request, never the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from turnkeep.content import (
    BlobPart,
    FilePart,
    ImagePart,
    Item,
    Message,
    Opaque,
    Part,
    Reasoning,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from turnkeep.formats.profile import (
    Profile,
    WireMessage,
    is_blank,
    leading_run,
    side_of,
)

EMPTY_INPUT: Final = "(empty)"
EMPTY_ANSWER: Final = "(no answer)"
EMPTY_RESULT: Final = "(no output)"
NO_RESULT: Final = "no result was recorded"
NO_START: Final = "(conversation continues)"
GO_ON: Final = "Continue."

SYNTHETIC: Final = -1
"""The origin of an item that repair put in."""


class Repair(NamedTuple):
    """One thing that repair did: the rule, a sentence, and which item (counted as fed) it was."""

    rule: str
    what: str
    origin: int


class Step:
    """One repaired step. Its parts never change, so what is derived from it can be kept with it.

    Attributes:
        items: the assistant's items, then results in the order of their calls, then inputs.
        origins: for each item its position as fed; -1 for items that repair put in.
        repairs: what was done to it.
        assistant, results: how many of the items are the assistant's, and how many results.
        leading: how many system messages stand before all else; 0 but in step 0.
    """

    __slots__ = (
        "_messages",
        "_profile",
        "assistant",
        "items",
        "leading",
        "origins",
        "repairs",
        "results",
    )

    def __init__(
        self,
        profile: Profile,
        *,
        placed: list[tuple[int, Item]],
        assistant: int,
        results: int,
        leading: int,
        repairs: list[Repair],
    ) -> None:
        self.items = tuple([item for _, item in placed])
        self.origins = tuple([origin for origin, _ in placed])
        self.repairs = tuple(repairs)
        self.assistant = assistant
        self.results = results
        self.leading = leading
        self._profile = profile
        self._messages: list[WireMessage] | None = None

    def messages(self) -> list[WireMessage]:
        """Render the step, without its leading system messages; kept, so not to be changed."""
        if self._messages is None:
            self._messages = self._profile.render(self.items[self.leading :])
        return self._messages

    def __repr__(self) -> str:
        return f"<Step of {len(self.items)} items from {min(self.origins, default=0)}>"


class StepBuilder:
    """Cuts items into steps as they come. Feeding n items costs O(n).

    Args:
        profile: the provider's rules to repair for.
        tools: what the requests declare; if not empty, calls of other tools are removed.
    """

    def __init__(self, profile: Profile, *, tools: Iterable[ToolDefinition | str] = ()) -> None:
        names = [tool if isinstance(tool, str) else tool.name for tool in tools]
        self._profile = profile
        self._tools = frozenset(names)
        self._ids = _Ids(profile)
        self._closed: list[Step] = []
        self._raw: list[tuple[int, Item]] = []
        self._fed = 0
        self._answering = False
        self._current: tuple[Step, _Ids] | None = None

    def feed(self, item: Item) -> None:
        """Take the next item of the log."""
        answering = side_of(item) == "assistant"
        if answering and not self._answering:
            # The very object that a request was built from is kept, with its rendering.
            step, self._ids = self._close()
            self._ids.settle()
            self._closed.append(step)
            self._raw = []
        self._answering = answering
        self._raw.append((self._fed, item))
        self._fed += 1
        self._current = None

    @property
    def closed(self) -> list[Step]:
        """The steps that are final; the list grows as items are fed."""
        return self._closed

    def current(self) -> Step:
        """Give the step that is still open, in the form it has if the model is called now."""
        return self._close()[0]

    def steps(self) -> list[Step]:
        """Give all steps, the last in the form it has if the model is called now."""
        return [*self._closed, self.current()]

    def _close(self) -> tuple[Step, _Ids]:
        if self._current is None:
            ids = self._ids.branch()
            repairer = _Repairer(self._profile, self._tools, ids)
            self._current = repairer.close(self._raw, first=not self._closed), ids
        return self._current


class _Ids:
    """The call ids used so far. A branch sees them and keeps its own until it is settled."""

    def __init__(self, profile: Profile, base: _Ids | None = None) -> None:
        self.profile = profile
        self.base = base
        self.taken: set[str] = set()
        self.next: dict[str, int] = {}

    def branch(self) -> _Ids:
        return _Ids(self.profile, self)

    def settle(self) -> None:
        """Fold what this branch took into its base, and take the base's place."""
        assert self.base is not None
        self.base.taken |= self.taken
        self.base.next |= self.next
        self.taken, self.next = self.base.taken, self.base.next
        self.base = None

    def take(self, call_id: str) -> str:
        """Give the id itself if it is allowed and free, else the first free variant."""
        wanted = free = self.profile.allowed_id(call_id)
        if self._is_taken(wanted):
            number = self._next(wanted)
            while self._is_taken(free):
                free = self.profile.allowed_id(wanted, f"__{number}")
                number += 1
            self.next[wanted] = number
        self.taken.add(free)
        return free

    def _is_taken(self, call_id: str) -> bool:
        return call_id in self.taken or (self.base is not None and call_id in self.base.taken)

    def _next(self, call_id: str) -> int:
        if call_id in self.next or self.base is None:
            return self.next.get(call_id, 2)
        return self.base.next.get(call_id, 2)


class _Call:
    __slots__ = ("item", "kept", "origin", "result")

    def __init__(self, origin: int, item: ToolCall, *, kept: bool) -> None:
        self.origin = origin
        self.item = item
        self.kept = kept
        self.result: tuple[int, ToolResult] | None = None


class _Repairer:
    """Repairs the items of one step."""

    def __init__(self, profile: Profile, tools: frozenset[str], ids: _Ids) -> None:
        self.profile = profile
        self.tools = tools
        self.ids = ids
        self.repairs: list[Repair] = []
        self.front: list[tuple[int, Item]] = []
        self.calls: list[_Call] = []
        self.called = False
        self.open: dict[str, list[_Call]] = {}
        self.inputs: list[tuple[int, Item]] = []

    def close(self, raw: list[tuple[int, Item]], *, first: bool) -> Step:
        last = raw[-1][0] if raw else SYNTHETIC
        for origin, item in raw:
            self.sort(origin, item)
        calls = [call for call in self.calls if call.kept]
        if not first:
            self.order_front(calls)
            if not calls and all(isinstance(item, Reasoning) for _, item in self.front):
                self.note("R6", "an answer without text got a fixed one", raw[0][0])
                self.front.append((SYNTHETIC, Message(role="assistant", content=EMPTY_ANSWER)))
        results = [self.answer(call) for call in calls]
        if first and not any(_is_user(item) for _, item in self.inputs):
            self.note("R4", "no user message stands first, so a fixed one was put in", last)
            self.inputs.append((SYNTHETIC, Message(role="user", content=NO_START)))
        elif not results and not self.inputs:
            self.note("R5", "nothing follows the answer, so a fixed user message was put in", last)
            self.inputs.append((SYNTHETIC, Message(role="user", content=GO_ON)))
        assistant = [*self.front, *((call.origin, call.item) for call in calls)]
        inputs = [item for _, item in self.inputs]
        return Step(
            self.profile,
            placed=[*assistant, *results, *self.inputs],
            assistant=len(assistant),
            results=len(results),
            leading=len(leading_run(inputs)) if first else 0,
            repairs=self.repairs,
        )

    def note(self, rule: str, what: str, origin: int) -> None:
        self.repairs.append(Repair(rule, what, origin))

    def sort(self, origin: int, item: Item) -> None:
        """Put an item among its like, or leave it out."""
        if isinstance(item, ToolCall):
            self.call(origin, item)
        elif isinstance(item, ToolResult):
            waiting = self.open.get(item.tool_call_id)
            if waiting:
                waiting.pop().result = (origin, item)
            else:
                self.note("R1", "orphaned result: no open call of this step has its id", origin)
        elif isinstance(item, Message):
            if item.role == "assistant":
                answer = self.answer_text(origin, item)
                if answer is not None:
                    self.put_front(origin, answer)
            else:
                self.inputs.append((origin, self.input_text(origin, item)))
        elif self.profile.replays(item):
            if side_of(item) == "input":
                self.inputs.append((origin, item))
            else:
                self.put_front(origin, item)

    def put_front(self, origin: int, item: Item) -> None:
        if self.called:
            self.note("R3", "text or reasoning behind a call was moved before the calls", origin)
        self.front.append((origin, item))

    def call(self, origin: int, item: ToolCall) -> None:
        call = _Call(origin, item, kept=not self.tools or item.name in self.tools)
        self.open.setdefault(item.tool_call_id, []).append(call)
        self.calls.append(call)
        if not call.kept:
            self.note("R8", "a call of a tool that is not declared was removed", origin)
            return
        self.called = True
        changes = {}
        call_id = self.ids.take(item.tool_call_id)
        if call_id != item.tool_call_id:
            changes["tool_call_id"] = call_id
            self.note("R7", f"the call's id became {call_id}: the old one cannot be used", origin)
        if not self.tools and (name := self.profile.allowed_name(item.name)) != item.name:
            changes["name"] = name
            self.note("wire", f"the tool's name became {name}", origin)
        if changes:
            call.item = item.model_copy(update=changes)

    def order_front(self, calls: list[_Call]) -> None:
        """Let the message begin with reasoning if it holds any, and not end with it.

        Else the order stays: a provider refuses blocks that are not where it put them.
        """
        thought = [isinstance(item, Reasoning) for _, item in self.front]
        if not any(thought) or all(thought):
            return
        if not thought[0] or (thought[-1] and not calls):
            moved = self.front[thought.index(True, 1)][0]
            self.note("R3", "reasoning was moved to the beginning of its answer", moved)
            self.front.sort(key=lambda placed: not isinstance(placed[1], Reasoning))

    def answer(self, call: _Call) -> tuple[int, Item]:
        """Give the call's result, a fixed one if there is none."""
        if call.result is None:
            self.note("R2", "a call without result got a fixed one", call.origin)
            return SYNTHETIC, ToolResult(
                tool_call_id=call.item.tool_call_id,
                name=call.item.name,
                status="error",
                content=[NO_RESULT],
            )
        origin, result = call.result
        changes: dict[str, object] = {}
        if result.tool_call_id != call.item.tool_call_id:
            changes["tool_call_id"] = call.item.tool_call_id
        content = _whole_result(result)
        if content is not None:
            changes["content"] = content
            self.note("R6", "an empty text in a result was replaced or left out", origin)
        return origin, result.model_copy(update=changes) if changes else result

    def answer_text(self, origin: int, message: Message) -> Message | None:
        """Give the model's text without what is empty, None if nothing is left."""
        content = _without_blanks(message)
        if content is None:
            return message
        self.note("R6", "an empty text of the model was left out", origin)
        return message.model_copy(update={"content": content}) if content else None

    def input_text(self, origin: int, message: Message) -> Message:
        content = _without_blanks(message)
        if content is None:
            return message
        self.note("R6", "an empty text was replaced or left out", origin)
        return message.model_copy(update={"content": content or EMPTY_INPUT})


def _is_user(item: Item) -> bool:
    return isinstance(item, Opaque) or (isinstance(item, Message) and item.role == "user")


def _without_blanks(message: Message) -> list[Part] | None:
    """Give the parts that are not empty texts, or None if the content can stay as it is."""
    content = message.content
    if isinstance(content, str):
        return [] if is_blank(content) else None
    kept = [part for part in content if not (isinstance(part, TextPart) and is_blank(part.text))]
    return None if kept and len(kept) == len(content) else kept


def _whole_result(result: ToolResult) -> list[object] | None:
    """Give what to put in place of a result's content, or None if it can stay as it is.

    Texts that stand together are sent as one text, so only a whole run of them can be empty.
    """
    kept: list[object] = []
    run: list[object] = []
    blank = True
    for piece in result.content:
        if isinstance(piece, ImagePart | FilePart | BlobPart):
            kept += [piece] if blank else [*run, piece]
            run, blank = [], True
        else:
            run.append(piece)
            text = piece.text if isinstance(piece, TextPart) else piece
            blank = blank and isinstance(text, str) and is_blank(text)
    if not blank:
        kept += run
    if not kept:
        return [EMPTY_RESULT]
    return None if len(kept) == len(result.content) else kept
