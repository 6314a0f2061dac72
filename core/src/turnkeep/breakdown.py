"""Breakdown: the tokens of a request by part, and its largest items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from turnkeep.content import Item, Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.context import Entry
from turnkeep.formats import get_profile
from turnkeep.prepared import PreparedRequest
from turnkeep.repair.validity import cut
from turnkeep.sizing import guess, texts_of
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tokens.formulas import formula_for
from turnkeep.tokens.learned import Learned

PARTS: Final = (
    "instructions",
    "tools",
    "system messages",
    "user messages",
    "answers",
    "tool calls",
    "tool results",
    "provider data",
    "frames",
)


def break_down(
    entries: Sequence[Entry],
    *,
    instructions: str,
    tools: Sequence[ToolDefinition],
    model: str,
    profile: str,
    counter: TokenCounter,
    learned: Learned,
    largest: int,
) -> dict[str, Any]:
    """Count a request made of a context, as JSON.

    `frames` is what roles, ids, pictures and the like cost beside texts by the provider's formula.
    """
    bound = counter_for(counter, model)
    request = PreparedRequest.of_items(
        [entry.item for entry in entries],
        instructions=instructions,
        tools=tools,
        model_id=model or None,
        session_id="",
        counter=counter,
    )
    report = request.report(profile)
    counts = request.counted()
    assert counts is not None
    parts = {name: {"tokens": 0, "items": 0} for name in PARTS}
    weighed: list[tuple[int, str, str]] = []
    # The items as they are sent: repair may have left some out, or put some in.
    for step in cut(request.items, get_profile(profile), tools=tools):
        for origin, item in zip(step.origins, step.items, strict=True):
            tokens = sum(bound.count_texts(texts_of([item])))
            part = parts[_part(item)]
            part["tokens"] += tokens
            part["items"] += 1
            at = "repair"
            if origin >= 0:
                ref = entries[origin].ref
                at = f"{ref.seq}.{ref.index}"
            weighed.append((tokens, at, _what(item)))
    parts["instructions"]["tokens"] = sum(bound.count_texts([instructions]))
    parts["tools"] = {
        "tokens": formula_for(profile, model).tools(tools, bound.count_texts, model),
        "items": len(tools),
    }
    parts["frames"]["tokens"] = counts.whole - sum(part["tokens"] for part in parts.values())
    correction = learned.known(model, bound.name)
    size = guess(counts.whole, 1.0 if correction is None else correction.factor)
    basis = "a guess until the provider has reported once in a session"
    if correction is not None:
        basis = f"{correction.factor:.2f} tokens for one, as {correction.observations} reports say"
    weighed.sort(key=lambda pair: -pair[0])
    return {
        "model": model or None,
        "profile": profile,
        "counter": report.counter,
        "exact": report.exact,
        "tokens": counts.whole,
        "expected": size.expected,
        "margin": size.margin,
        "basis": basis,
        "parts": parts,
        "repairs": len(report.repairs),
        "largest": [
            {"at": at, "what": what, "tokens": tokens} for tokens, at, what in weighed[:largest]
        ],
    }


def _part(item: Item) -> str:
    if isinstance(item, Message):
        return {"user": "user messages", "assistant": "answers"}.get(item.role, "system messages")
    if isinstance(item, ToolCall):
        return "tool calls"
    return "tool results" if isinstance(item, ToolResult) else "provider data"


def _what(item: Item) -> str:
    if isinstance(item, Message):
        return item.role
    if isinstance(item, ToolCall):
        return f"call {item.name}"
    if isinstance(item, ToolResult):
        return f"result {item.name}"
    return f"{item.type} ({item.provider})"
