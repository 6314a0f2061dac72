"""What every wire format shares: messages as a provider gets them, findings, and the contract.

A `Profile` turns items into one provider's request and back, and says which rules a request breaks.
The rules R1 to R9 are those of `docs/formats.md`; "wire" stands for a provider's other rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import JsonValue

from turnkeep.content import (
    Item,
    Message,
    Opaque,
    Reasoning,
    Request,
    ToolCall,
    ToolDefinition,
    ToolResult,
    Usage,
    compact_json,
)

Wire: TypeAlias = dict[str, Any]
"""A JSON object in a provider's shape."""

Side: TypeAlias = Literal["assistant", "result", "input"]

SYSTEM_WRAPPER: Final = "<system>\n{}\n</system>"
"""Carries a system message that stands within the conversation, where there is no such role."""


class Violation(NamedTuple):
    """A rule that a request breaks: "R1" to "R9" or "wire", the place, and a sentence."""

    rule: str
    where: str
    message: str


class Countable(NamedTuple):
    """What a token counter counts: texts, and tokens of structure that the texts do not hold."""

    texts: tuple[str, ...]
    overhead: int


class WireMessage(NamedTuple):
    """One message as the provider gets it, without cache markers; shared, so never changed.

    `texts` and `overhead` are for counting as in `Countable`; `overhead` errs upward. `blocks` is
    the number of content blocks, by which Anthropic finds its cache.
    """

    body: Wire
    texts: tuple[str, ...]
    overhead: int
    blocks: int


class ParsedResponse(NamedTuple):
    """What a model answered: its items, what it cost, and why it stopped as the provider says.

    `partial`: it was a stream that was cut off.
    """

    items: list[Item]
    usage: Usage | None
    finish: str | None
    partial: bool = False


class Profile(Protocol):
    """One provider's request format. Implementations hold no state and are shared."""

    @property
    def name(self) -> str:
        """The name in `PROFILE_NAMES`, also the `provider` of reasoning that is replayed."""

    @property
    def request_overhead(self) -> int:
        """Tokens that every request costs beside its messages, tools and system text."""

    def render(self, items: Iterable[Item]) -> list[WireMessage]:
        """Render any items in their order, broken lists too, exactly as they stand.

        Raises ContentError for a `BlobPart`, which must be resolved to its original before.
        """

    def system(
        self, instructions: str, leading: Sequence[Message]
    ) -> tuple[list[Wire] | None, list[WireMessage]]:
        """Render instructions and the leading system messages.

        Returns what goes into the request's own system field, if the provider has one, and the
        messages that stand before all others.
        """

    def system_texts(self, system: list[Wire] | None) -> Countable:
        """Give what to count of the system field (not of the messages)."""

    def tools(self, definitions: Sequence[ToolDefinition]) -> list[Wire]:
        """Render tool definitions."""

    def tool_texts(self, definitions: Sequence[ToolDefinition]) -> Countable:
        """Give what to count of tool definitions."""

    def inferred_tools(self, messages: Sequence[WireMessage]) -> list[Wire]:
        """Give the definitions that `payload` adds when none are declared but calls are there."""

    def breakpoints(
        self,
        tools: Sequence[Wire],
        system: Sequence[Wire] | None,
        messages: Sequence[WireMessage],
        *,
        stable: int = 0,
    ) -> tuple[int, ...]:
        """Say after which blocks the request asks the provider to cache.

        Positions count the flat list of tools, then system blocks, then the content blocks of the
        messages, in rising order; () where the provider caches by itself. `stable` is how many
        messages a checkpoint holds, 0 if none.
        """

    def payload(
        self,
        *,
        messages: Sequence[WireMessage],
        system: list[Wire] | None = None,
        tools: Sequence[Wire] = (),
        tool_choice: JsonValue = None,
        model_id: str | None = None,
        max_output: int | None = None,
        session_id: str | None = None,
        stable: int = 0,
        cache: bool = True,
    ) -> Wire:
        """Assemble the body of a request; message bodies are shared, marked ones are copies.

        Args:
            messages: what `system` and `render` gave, in order.
            system: the first of what `system` gave.
            tools: what `tools` gave.
            tool_choice: "auto", "none", "required", {"name": …} or the provider's own object.
            model_id: the provider's name of the model, left out if None.
            max_output: the most tokens the model may answer with.
            session_id: groups requests for the provider's cache; sent only as a hash.
            stable: how many messages a checkpoint holds (see `breakpoints`).
            cache: whether to ask for caching.
        """

    def check(self, body: Mapping[str, Any]) -> list[Violation]:
        """Check a request body: its messages, and system text and tools if it has them.

        Works on the wire form alone, as the provider would, in linear time.
        """

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say whether this provider gets the item back; it is left out otherwise."""

    def allowed_id(self, call_id: str, suffix: str = "") -> str:
        """Give the id with the suffix if the provider allows it, else the nearest allowed one."""

    def allowed_name(self, name: str) -> str:
        """Give the tool's name if the provider allows it, else the nearest allowed one."""

    def parse_request(self, body: object) -> Request:
        """Read a request body (a dict or an SDK object). Raises ContentError with the path."""

    def parse_response(self, body: object) -> ParsedResponse:
        """Read a response body (a dict or an SDK object). Raises ContentError with the path."""


def side_of(item: Item) -> Side:
    """Say who an item comes from: the assistant, a tool, or whoever gives it input.

    Provider data of unknown kind is the assistant's, unless its extra field `role` is "user".
    """
    kind = type(item)
    if kind is ToolCall:
        return "assistant"
    if kind is ToolResult:
        return "result"
    if isinstance(item, Message):
        return "assistant" if item.role == "assistant" else "input"
    if isinstance(item, Opaque) and (item.__pydantic_extra__ or {}).get("role") == "user":
        return "input"
    return "assistant"


def leading_run(items: Sequence[Item]) -> list[Message]:
    """Give the system and developer messages that stand before everything else."""
    leading: list[Message] = []
    for item in items:
        if not isinstance(item, Message) or item.role not in {"system", "developer"}:
            break
        leading.append(item)
    return leading


def render_context(
    profile: Profile, items: Sequence[Item], instructions: str = ""
) -> tuple[list[Wire] | None, list[WireMessage]]:
    """Render a whole context: what goes into the system field, and all messages."""
    leading = leading_run(items)
    system, messages = profile.system(instructions, leading)
    return system, [*messages, *profile.render(items[len(leading) :])]


def cache_key(session_id: str) -> str:
    """Name a session for a provider's cache: by a hash, as its id may name a person."""
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"turnkeep-{digest[:32]}"


def definition_texts(definitions: Sequence[ToolDefinition]) -> tuple[str, ...]:
    """Give what to count of tool definitions: names, descriptions, and schemas as JSON."""
    return tuple(
        text
        for tool in definitions
        for text in (tool.name, tool.description, compact_json(tool.parameters))
    )


def is_blank(text: str) -> bool:
    """Say whether a text is empty or only white space; no provider takes such a text."""
    return not text or text.isspace()
