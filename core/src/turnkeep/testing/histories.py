"""Hypothesis strategies for histories: valid ones, and such as crashes and foreign logs leave.

Needs hypothesis, which nothing else in the package imports.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from pydantic import JsonValue

from turnkeep.content import (
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

TOOLS: Final = tuple(ToolDefinition(name=name) for name in ("read_file", "search", "run"))
PNG: Final = "iVBORw0KGgoAAAANSUhEUg=="
PDF: Final = "JVBERi0xLjQK"

_WORDS: Final = st.sampled_from(
    ["hi", "Grüße", "日本語 🎉", "line\r\nline", "</system>", "\u2028x", "{}", "0"]
)
full_texts: Final = _WORDS | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda text: not text.isspace())
"""Texts with something in them."""
texts: Final = full_texts | st.sampled_from(["", " ", "\n\t", "\u00a0"])
"""Texts that may be empty or only white space."""

call_ids: Final = st.sampled_from(
    ["a", "b", "a__2", "call_1", "functions.read:0", "", "with space", "x" * 45, "x" * 44 + "y"]
)
"""Few ids, so that they are reused, some of them in forms that a provider refuses."""
tool_names: Final = st.sampled_from([tool.name for tool in TOOLS])
json_values: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    st.none() | st.booleans() | st.integers() | full_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(full_texts, inner, max_size=2),
    max_leaves=4,
)
arguments: Final = st.dictionaries(full_texts, json_values, max_size=2)

media: Final[st.SearchStrategy[ImagePart | FilePart]] = st.sampled_from(
    [
        ImagePart(url="https://example.org/a.png"),
        ImagePart(url=f"data:image/png;base64,{PNG}"),
        ImagePart(data=PNG, media_type="image/png"),
        ImagePart(data=PNG),
        ImagePart(data=PNG, media_type="image/tiff", detail="low"),
        FilePart(data=PDF, media_type="application/pdf", name="a.pdf"),
        FilePart(data="aGk=", media_type="text/plain"),
        FilePart(data="", media_type="text/plain"),
        FilePart(url="https://example.org/a.pdf"),
        FilePart(data=PDF, media_type="application/zip"),
    ]
)


def parts(of: st.SearchStrategy[str]) -> st.SearchStrategy[list[Part]]:
    """Make lists of parts with these texts."""
    return st.lists(st.builds(TextPart, text=of) | media, max_size=3)


def messages(role: str, of: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Message]:
    """Make messages of a role, as one text or as parts."""
    return st.builds(Message, role=st.just(role), content=of | parts(of))


reasoning: Final = st.sampled_from(
    [
        Reasoning(
            provider="anthropic",
            data={"type": "thinking", "thinking": "so", "signature": "c2ln"},
        ),
        Reasoning(provider="anthropic", data={"type": "redacted_thinking", "data": "eA=="}),
        Reasoning(
            provider="anthropic", data={"type": "thinking", "thinking": "cut", "signature": ""}
        ),
        Reasoning(provider="anthropic", data="lost its form"),
        Reasoning(provider="openai-responses", data={"id": "rs_1", "summary": []}),
        Reasoning(
            provider="openai-responses",
            data={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"},
        ),
        Reasoning(
            provider="openai-responses",
            data={"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "c2ln"},
            openai_responses={"before": "fc_1"},
        ),
        Reasoning(provider="gemini", data={"text": "so", "thought": True}),
        Reasoning(provider="gemini", data={"text": "", "thought": True}),
    ]
)
opaque: Final = st.sampled_from(
    [
        Opaque(
            provider="anthropic",
            kind="server_tool_use",
            data={"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        ),
        Opaque(
            provider="anthropic",
            kind="search_result",
            data={"type": "search_result", "source": "s", "title": "t", "content": []},
            role="user",
        ),
        Opaque(
            provider="openai-chat",
            kind="input_audio",
            data={"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            role="user",
        ),
        Opaque(
            provider="openai-responses",
            kind="web_search_call",
            data={"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ),
        Opaque(
            provider="openai-responses",
            kind="input_audio",
            data={"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            role="user",
        ),
        Opaque(provider="gemini", kind="code", data=None),
        Opaque(
            provider="gemini",
            kind="executableCode",
            data={"executableCode": {"language": "PYTHON", "code": "1"}},
        ),
        Opaque(provider="gemini", kind="signature", data={"text": "", "thoughtSignature": "c2ln"}),
        Opaque(
            provider="gemini",
            kind="fileData",
            data={"fileData": {"fileUri": "https://a/b"}, "videoMetadata": {"fps": 1}},
            role="user",
        ),
    ]
)
plain_calls: Final = st.builds(
    ToolCall, tool_call_id=call_ids, name=tool_names, arguments=arguments
)
_PROVIDERS_OWN: Final[tuple[dict[str, JsonValue], ...]] = (
    {"openai_responses": {"id": "fc_1", "status": "completed", "after": "rs_2"}},
    {"openai_responses": {"custom": True}},
    {"gemini": {"part": {"thoughtSignature": "c2ln"}}},
    {"gemini": {"id": False}},
)
"""What readers leave on calls that came from these providers."""
calls: Final = plain_calls | st.builds(
    lambda call, extra: ToolCall(**{**call.model_dump(), **extra}),
    plain_calls,
    st.sampled_from(_PROVIDERS_OWN),
)
results: Final = st.builds(
    ToolResult,
    tool_call_id=call_ids,
    name=tool_names,
    status=st.sampled_from(["success", "error"]),
    content=st.lists(texts | media | json_values, max_size=3),
)
items: Final[st.SearchStrategy[Item]] = st.one_of(
    messages("user"),
    messages("assistant"),
    messages("system"),
    messages("developer"),
    calls,
    calls,
    results,
    results,
    reasoning,
    opaque,
)
broken: Final = st.lists(items, max_size=12)
"""Any items in any order."""


@st.composite
def logs(draw: st.DrawFn, *, max_steps: int = 5) -> list[Item]:
    """Make logs as agents leave them: whole steps, with the faults of crashes here and there."""
    log: list[Item] = draw(st.lists(messages("system"), max_size=2))
    log += draw(st.lists(messages("user"), max_size=2))
    for _ in range(draw(st.integers(0, max_steps))):
        log += draw(st.lists(reasoning | messages("assistant") | opaque, max_size=2))
        group = draw(st.lists(calls, max_size=3))
        log += group
        answers: list[Item] = [
            draw(results).model_copy(update={"tool_call_id": call.tool_call_id}) for call in group
        ]
        answers = draw(st.permutations(answers))
        if draw(st.integers(0, 4)) == 0:  # a crash, or a result that came twice or from elsewhere
            answers = answers[:-1] + draw(st.lists(results, max_size=1))
        log += answers
        log += draw(st.lists(messages("user") | messages("system"), max_size=2))
    return log


@st.composite
def valid(
    draw: st.DrawFn, *, thinking: bool = False, provider: str = "anthropic", max_steps: int = 5
) -> list[Item]:
    """Make contexts that every provider takes as they are, and that need no repair.

    With `thinking`, answers may begin with reasoning of the provider's.
    """
    context: list[Item] = draw(st.lists(messages_with_text("system"), max_size=2))
    context.append(draw(messages_with_text("user")))
    number = 0
    for _ in range(draw(st.integers(0, max_steps))):
        if thinking and draw(st.booleans()):
            context.append(draw(st.sampled_from(SEALED_BY[provider])))
        said: list[Item] = draw(st.lists(messages_with_text("assistant"), max_size=2))
        group = []
        for call in draw(st.lists(calls, min_size=0 if said else 1, max_size=3)):
            number += 1
            group.append(call.model_copy(update={"tool_call_id": f"call_{number}"}))
        context += [*said, *group]
        for call in group:
            content = draw(st.lists(full_texts | media, min_size=1, max_size=3))
            status = draw(st.sampled_from(["success", "error"]))
            answer = ToolResult(tool_call_id=call.tool_call_id, name=call.name, content=content)
            context.append(answer.model_copy(update={"status": status}))
        follow = messages_with_text("user") | messages_with_text("system")
        context += draw(st.lists(follow, min_size=0 if group else 1, max_size=2))
    return context


SEALED: Final = (
    Reasoning(
        provider="anthropic", data={"type": "thinking", "thinking": "so", "signature": "c2ln"}
    ),
    Reasoning(provider="anthropic", data={"type": "redacted_thinking", "data": "eA=="}),
)
"""Reasoning that is whole, so that Anthropic takes it back."""
SEALED_BY: Final[dict[str, tuple[Reasoning, ...]]] = {
    "anthropic": SEALED,
    "openai-responses": tuple(
        Reasoning(
            provider="openai-responses",
            data={
                "type": "reasoning",
                "id": f"rs_{number}",
                "summary": [{"type": "summary_text", "text": "so"}],
                "encrypted_content": "c2ln",
            },
        )
        for number in (1, 2)
    ),
    "gemini": (
        Reasoning(provider="gemini", data={"text": "so", "thought": True}),
        Reasoning(
            provider="gemini", data={"text": "", "thought": True, "thoughtSignature": "eA=="}
        ),
    ),
}
"""The same for each provider that takes reasoning back."""


def messages_with_text(role: str) -> st.SearchStrategy[Message]:
    """Make messages that are not empty."""
    several = parts(full_texts).filter(bool)
    return st.builds(Message, role=st.just(role), content=full_texts | several)
