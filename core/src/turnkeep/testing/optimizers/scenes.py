"""Scenes: contexts that are too large, as sessions leave them, and strategies that make them.

A scene holds the whole log and what stands of it, so that what a reference names can be looked up.
It is plain data: another process makes the same view of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from hypothesis import strategies as st
from pydantic import JsonValue

from turnkeep.content import Item, Message, Ref, ToolCall, ToolResult
from turnkeep.context import Entry
from turnkeep.events import Placed
from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.profile import side_of
from turnkeep.optimize.recall import DEFINITION, RECALL
from turnkeep.optimize.reference import mark
from turnkeep.optimize.shorten import gap
from turnkeep.optimize.view import groups_of
from turnkeep.testing.histories import (
    SEALED_BY,
    TOOLS,
    arguments,
    call_ids,
    full_texts,
    logs,
    media,
    messages,
    opaque,
    reasoning,
    texts,
    tool_names,
)

DECLARED: Final = (*TOOLS, DEFINITION)
"""The tools of every request of the suite."""
INSTRUCTIONS: Final = "Be brief."

_PROSE: Final = (
    "The parser reads src/pkg/parser.py first; on error E4021 it goes back to config_loader.\n"
)
_BASE64: Final = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9w"
BIG: Final = (
    _PROSE * 3,
    _PROSE * 12,
    _PROSE * 40,
    "".join(f"{number}: def work_{number}(self): return {number * 7919}\n" for number in range(60)),
    _BASE64 * 30,
    "日本語のテキスト、絵文字🎉と Grüße. " * 40,
    '{"rows":[' + ",".join(f'{{"id":{number},"name":"n{number}"}}' for number in range(80)) + "]}",
    "\n" * 500 + "the end",
    "x" * 3_000,
    "word " * 700,
    " \u00a0\n" * 100 + "·",
    "é\u0301\u200d🏳️‍🌈" * 150,
)
"""Texts of a hundred to some thousand tokens, of the kinds that tools give back."""
big_texts: Final = st.sampled_from(BIG)
sizes: Final = st.one_of(full_texts, big_texts, big_texts)
"""Texts with something in them, small and large ones."""


class Scene(NamedTuple):
    """A context and its log; `limit` and `target` are tokens, `memory` the notes of the steps."""

    profile: str
    log: list[Entry]
    entries: list[Entry]
    limit: int
    sound: bool = False
    """Whether nothing of it needs repair."""
    memory: Mapping[str, JsonValue] = {}

    def dump(self) -> str:
        """Give it as one line of JSON."""
        return json.dumps(
            [
                self.profile,
                [_placed(entry) for entry in self.log],
                [_placed(entry) for entry in self.entries],
                self.limit,
                self.sound,
                self.memory,
            ]
        )

    @classmethod
    def load(cls, line: str) -> Self:
        """Read what `dump` gave; all items are new ones."""
        profile, log, entries, limit, sound, memory = json.loads(line)
        return cls(profile, _entries(log), _entries(entries), limit, sound, memory)

    @property
    def items(self) -> list[Item]:
        """What stands, in order."""
        return [entry.item for entry in self.entries]

    def longer(self, entries: Sequence[Entry], memory: Mapping[str, JsonValue]) -> Scene:
        """Give the scene in which the session has gone on from a rewritten context."""
        last = self.log[-1].ref.seq if self.log else 0
        return go_on(self._replace(entries=list(entries), memory=memory), last)


def _placed(entry: Entry) -> Any:
    ref, item, form = entry
    return Placed(seq=ref.seq, index=ref.index, item=item, form=form).model_dump(mode="json")


def _entries(documents: Sequence[Any]) -> list[Entry]:
    placed = [Placed.model_validate(document) for document in documents]
    return [Entry(Ref(each.seq, each.index), each.item, each.form) for each in placed]


def go_on(scene: Scene, last: int) -> Scene:
    """Add a new turn with two large results behind a scene whose last event is `last`."""
    added: list[Item] = [Message(role="user", content="Now look at the other file, too.")]
    for number in range(2):
        call_id = f"later_{last}_{number}"
        path = f"src/later_{number}.py"
        added += [
            ToolCall(tool_call_id=call_id, name="read_file", arguments={"path": path}),
            ToolResult(tool_call_id=call_id, name="read_file", content=[BIG[2 + number]]),
        ]
    added += [Message(role="assistant", content="So."), Message(role="user", content="Go on.")]
    new = numbered(added, last)
    return scene._replace(log=[*scene.log, *new], entries=[*scene.entries, *new])


def numbered(items: Sequence[Item], last: int = 0) -> list[Entry]:
    """Give items their identity: those of one side in a row are one event."""
    entries: list[Entry] = []
    side = None
    for item in items:
        if side_of(item) != side:
            last, index, side = last + 1, 0, side_of(item)
        entries.append(Entry(Ref(last, index), item))
        index += 1
    return entries


@st.composite
def conversations(draw: st.DrawFn, profile: str, *, sound: bool = True) -> list[Item]:
    """Make conversations with large texts; unless `sound`, with what crashes and others leave."""
    if not sound and draw(st.integers(0, 3)) == 0:
        return draw(logs())
    said = full_texts if sound else texts
    content = sizes if sound else sizes | texts
    log: list[Item] = draw(st.lists(_message("system", full_texts), max_size=1))
    number = 0
    for _ in range(draw(st.sampled_from([2, 1, 3]))):
        log.append(draw(_message("user", content) | _message("user", said)))
        for _ in range(draw(st.sampled_from([2, 1, 3, 0]))):
            own = SEALED_BY.get(profile, ())
            thinks = draw(st.booleans())
            if own and thinks:
                log.append(draw(st.sampled_from(own)))
            if not sound and draw(st.integers(0, 5)) == 0:
                log.append(draw(reasoning | opaque))
            calls: list[ToolCall] = []
            for _ in range(draw(st.integers(0, 3))):
                number += 1
                call_id = f"call_{number}" if sound else draw(call_ids)
                calls.append(draw(_call(call_id)))
            if not calls or draw(st.booleans()):
                log.append(draw(_message("assistant", content)))
            log += calls
            answers: list[Item] = [draw(_result(call, content)) for call in calls]
            if not sound and answers and draw(st.integers(0, 3)) == 0:
                answers = [*answers[1:], *draw(st.lists(messages("user"), max_size=1)), answers[0]]
            if not sound and draw(st.integers(0, 3)) == 0:
                answers = answers[:-1]
            log += answers
            if not calls:
                log.append(draw(_message("user", said)))
    return log


def _message(role: str, of: st.SearchStrategy[str]) -> st.SearchStrategy[Item]:
    whole = of.map(lambda text: Message.model_validate({"role": role, "content": text}))
    if role != "user":
        return whole
    pictures = st.builds(
        lambda text, part: Message.model_validate(
            {"role": role, "content": [{"type": "text", "text": text}, part.model_dump()]}
        ),
        full_texts,
        media,
    )
    return st.one_of(whole, whole, whole, pictures)


@st.composite
def _call(draw: st.DrawFn, call_id: str) -> ToolCall:
    name = draw(st.one_of(tool_names, tool_names, tool_names, st.just(RECALL)))
    given = dict(draw(arguments))
    if draw(st.integers(0, 2)) == 0:
        given["content"] = draw(big_texts)
    return ToolCall(tool_call_id=call_id, name=name, arguments=given)


@st.composite
def _result(draw: st.DrawFn, call: ToolCall, content: st.SearchStrategy[str]) -> ToolResult:
    pieces: list[Any] = [draw(content)]
    extra = draw(st.integers(0, 7))
    if extra == 0:
        pieces.append(draw(media))
    elif extra == 1:
        pieces = [draw(media)]
    elif extra == 2:
        pieces.append({"rows": [1, 2.5, None, True], "é": "x" * 400})
    return ToolResult(
        tool_call_id=call.tool_call_id,
        name=call.name,
        status="error" if extra == 3 else "success",
        content=pieces,
    )


@st.composite
def scenes(draw: st.DrawFn, profile: str | None = None, sound: bool | None = None) -> Scene:
    """Make scenes for a provider's form (None: any), sound ones or others (None: either)."""
    form = profile or draw(st.sampled_from(PROFILE_NAMES))
    whole = draw(st.sampled_from([True, True, False])) if sound is None else sound
    items = draw(conversations(form, sound=whole))
    for place in draw(st.lists(st.integers(0, 30), max_size=2)):
        if place < len(items):
            items[place] = items[place].model_copy(update={"pinned": True})
    log = numbered(items)
    entries = _rewritten(log) if draw(st.integers(0, 3)) == 0 else log
    share = draw(st.sampled_from([0.5, 0.25, 0.75, 0.1, 0.95, 1.1]))
    return limited(Scene(form, log, list(entries), 1, whole), share)


def limited(scene: Scene, share: float) -> Scene:
    """Set the limit of a scene so that a share of what its messages have now fits."""
    from turnkeep.testing.optimizers.bench import Bench

    ask = Bench(scene).ask
    return scene._replace(limit=ask.fixed + max(round((ask.tokens - ask.fixed) * share), 2))


def _rewritten(log: Sequence[Entry]) -> list[Entry]:
    """Make of a log what an earlier checkpoint may have left: a cover, and stubs behind it."""
    groups, fixed, _ = groups_of(log, lambda _: 1)
    old = groups[: len(groups) // 2]
    covered = [group for group in old if group.coverable][:2]
    hidden = {entry.ref for group in covered for entry in log[group.first : group.last + 1]}
    kept: list[Entry] = []
    told = False
    for entry in log:
        item = entry.item
        if entry.ref in hidden:
            if not told:
                text = f"Earlier steps: {' '.join(mark(ref) for ref in sorted(hidden))}"
                kept.append(Entry(entry.ref, Message(role="user", content=text), "cover"))
            told = True
        elif (
            isinstance(item, ToolResult)
            and entry.ref not in fixed
            and entry.ref.seq % 2
            and item.content
        ):
            stub = item.model_copy(update={"content": [gap(1_000, entry.ref)]})
            kept.append(Entry(entry.ref, stub, "stub"))
        else:
            kept.append(entry)
    return kept


def long_log(steps: int) -> list[Item]:
    """Make a long session of one turn: so many calls, each with a result of its own."""
    items: list[Item] = [Message(role="user", content="Read everything.")]
    for number in range(steps):
        call_id = f"call_{number}"
        path = f"src/package/module_{number % 20}.py"
        text = f"{number}\n" + _PROSE * 8
        items += [
            ToolCall(tool_call_id=call_id, name="read_file", arguments={"path": path}),
            ToolResult(tool_call_id=call_id, name="read_file", content=[text]),
        ]
    return items
