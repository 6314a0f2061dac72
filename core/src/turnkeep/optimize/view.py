"""View: the context as an optimizer sees it, in groups.

Its items are those of the live context. They are frozen, but what they hold is not copied: a plan
says what to change, and changes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from turnkeep.content import Item, Message, Opaque, Ref, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.formats.profile import side_of
from turnkeep.model import ModelRequest
from turnkeep.prices import PriceRow

Kind: TypeAlias = Literal["system", "input", "step", "cover"]


class Group(NamedTuple):
    """The smallest run of items that may be removed together: places `first` to `last` of a view.

    A "step" is an answer of the model with its calls, all their results and its reasoning; any
    other kind is one message. `fixed`: it holds what may not be covered; `open`: a call of it still
    wants a result.
    """

    number: int
    kind: Kind
    first: int
    last: int
    tokens: int
    fixed: bool
    open: bool

    @property
    def coverable(self) -> bool:
        """Whether it may be covered."""
        return not (self.fixed or self.open)


@dataclass(frozen=True, kw_only=True)
class View:
    """A context that is to become smaller.

    All sizes are in tokens as our counter counts them. `tokens` is the whole request, `standing`
    its part for instructions and tools, which nothing can shrink. The request must fit `limit`; a
    rewrite begins above `trigger` and should get down to `target`. `turn` is the place where the
    current turn begins; the user's current message is the last one. `idle` is how many seconds ago
    the last request was sent, by the store's clock. `state` is what this step noted last.
    `deadline` is the seconds that the step may take. `session` tells conversations apart;
    `extended` gives the request as it was about to be sent, with further items behind it, for a
    step that asks the conversation's own model: its cache holds what stands before them.
    """

    entries: Sequence[Entry]
    groups: Sequence[Group]
    fixed: frozenset[Ref]
    """Entries that may not be touched: instructions, what is pinned, the user's current message."""
    tokens: int
    standing: int
    limit: int
    trigger: int
    target: int
    turn: int
    idle: float
    prices: PriceRow
    state: JsonValue = None
    deadline: float | None = None
    weigh: Callable[[Item], int]
    count: Callable[[Sequence[str]], Sequence[int]]
    """Counts texts, each by itself; what was counted before is remembered."""
    session: str = ""
    extended: Callable[[Sequence[Item]], ModelRequest] | None = None

    def tokens_of(self, part: Entry | Group) -> int:
        """Give the tokens of an entry or a group."""
        return part.tokens if isinstance(part, Group) else self.weigh(part.item)

    def entries_of(self, group: Group) -> Sequence[Entry]:
        """Give the entries of a group."""
        return self.entries[group.first : group.last + 1]

    def before_recent(self, keep: int) -> Sequence[Group]:
        """Give all groups but the last `keep` ones."""
        return self.groups[: max(len(self.groups) - keep, 0)]


def is_pinned(item: Item) -> bool:
    """Say whether an item asks to be kept word for word, by the extra field `pinned`."""
    extra = item.__pydantic_extra__
    return bool(extra) and extra.get("pinned") is True


class Grouped(NamedTuple):
    """Groups, the entries that are fixed, and where the current turn begins."""

    groups: list[Group]
    fixed: frozenset[Ref]
    turn: int


def groups_of(entries: Sequence[Entry], weigh: Callable[[Item], int]) -> Grouped:
    """Cut entries into groups."""
    turn = _turn(entries)
    fixed = set(_fixed(entries))
    groups: list[Group] = []
    for kind, first, last, opened in _runs(entries):
        part = entries[first : last + 1]
        if opened:
            fixed |= _unanswered(part)
        groups.append(
            Group(
                len(groups),
                kind,
                first,
                last,
                sum(weigh(entry.item) for entry in part),
                any(entry.ref in fixed for entry in part) and not opened,
                opened,
            )
        )
    return Grouped(groups, frozenset(fixed), turn)


def reweighed(
    grouped: Grouped,
    entries: Sequence[Entry],
    changed: Sequence[int],
    weigh: Callable[[Item], int],
) -> Grouped:
    """Weigh groups anew in which items were made smaller at these places, in rising order."""
    groups = list(grouped.groups)
    number = 0
    for place in changed:
        while groups[number].last < place:
            number += 1
        group = groups[number]
        if group is grouped.groups[number]:  # not yet
            part = entries[group.first : group.last + 1]
            groups[number] = group._replace(tokens=sum(weigh(entry.item) for entry in part))
    return grouped._replace(groups=groups)


def _turn(entries: Sequence[Entry]) -> int:
    """Give the place where the current turn begins: the first of the newest messages in a row."""
    place = len(entries)
    while place and not _is_user(entries[place - 1]):
        place -= 1
    if not place:
        return len(entries)
    while place > 1 and _is_user(entries[place - 2]):
        place -= 1
    return place - 1


def _is_user(entry: Entry) -> bool:
    item = entry.item
    return entry.form != "cover" and type(item) is Message and item.role == "user"


def _fixed(entries: Sequence[Entry]) -> Iterable[Ref]:
    current = next((n for n in range(len(entries) - 1, -1, -1) if _is_user(entries[n])), None)
    said = range(len(entries)) if current is None else range(current + 1, len(entries))
    # What the user said beside it or in its place, in a form of the provider's own, as audio is.
    own = [place for place in said if _is_own_input(entries[place])]
    kept = {*own[-1:]} if current is None else {*own, current}
    for place, entry in enumerate(entries):
        item = entry.item
        instructs = type(item) is Message and item.role in ("system", "developer")
        if instructs or place in kept or is_pinned(item):
            yield entry.ref


def _is_own_input(entry: Entry) -> bool:
    return type(entry.item) is Opaque and side_of(entry.item) == "input"


def _runs(entries: Sequence[Entry]) -> Iterable[tuple[Kind, int, int, bool]]:
    """Cut entries at the beginnings of answers and behind their last results."""
    sides = [side_of(entry.item) for entry in entries]
    place, end = 0, len(entries)
    while place < end:
        if sides[place] == "input":
            yield _kind(entries[place]), place, place, False
            place += 1
            continue
        last = place
        answering = True
        look = place
        while look < end and (answering or sides[look] != "assistant"):
            answering = answering and sides[look] == "assistant"
            if sides[look] != "input":
                last = look
            look += 1
        yield "step", place, last, look == end and _is_open(entries[place : last + 1])
        place = last + 1


def _kind(entry: Entry) -> Kind:
    if entry.form == "cover":
        return "cover"
    item = entry.item
    return "system" if type(item) is Message and item.role in ("system", "developer") else "input"


def _unanswered(entries: Sequence[Entry]) -> set[Ref]:
    """Give the calls that want a result: who runs them reads their arguments here."""
    waiting: dict[str, list[Ref]] = {}
    for entry in entries:
        if type(entry.item) is ToolCall:
            waiting.setdefault(entry.item.tool_call_id, []).append(entry.ref)
        elif type(entry.item) is ToolResult and waiting.get(entry.item.tool_call_id):
            waiting[entry.item.tool_call_id].pop()
    return {ref for refs in waiting.values() for ref in refs}


def _is_open(entries: Sequence[Entry]) -> bool:
    waiting: list[str] = []
    for entry in entries:
        if type(entry.item) is ToolCall:
            waiting.append(entry.item.tool_call_id)
        elif type(entry.item) is ToolResult and entry.item.tool_call_id in waiting:
            waiting.remove(entry.item.tool_call_id)
    return bool(waiting)
