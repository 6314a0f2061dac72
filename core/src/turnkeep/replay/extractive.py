"""A summarizer without a model: it extracts, and says the same whenever it reads the same.

For replays and tests of what a summary costs and keeps, not for conversations: it repeats sentences
and names that it was sent and understands none of them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from turnkeep.content import Message, Usage
from turnkeep.model import (
    DEFAULTS,
    FinishReason,
    ModelAnswer,
    ModelClient,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
    TextDelta,
)
from turnkeep.optimize.facts import facts_in
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter

HEADINGS: Final = (
    "Goal",
    "Decisions",
    "Artifacts",
    "Open items",
    "Constraints and preferences",
)
"""What it writes under where the request names no headings."""
OUTPUT: Final = 1_500
"""Tokens that it answers with where nobody says how many."""
_PROFILE: Final = "openai-chat"
_SENTENCE: Final = 300
"""Characters of a sentence at most."""
_READ: Final = 20_000
"""Characters that are read of one text: what decides stands at its ends."""
_HEADING: Final = re.compile(r"^#{1,6} +(.+?)\s*$")
_END: Final = re.compile("(?<=[.!?\u3002\uff01\uff1f])\\s+|\\n+|(?<=[\u3002\uff01\uff1f])")
_SHARES: Final = {"goal": 0.12, "decision": 0.22, "artifact": 0.34, "open": 0.1, "constraint": 0.22}
_WORDS: Final = {
    "decision": ("decid", "chose", "instead", "because", "will ", "let's", "fixed", "changed"),
    "open": ("todo", "next", "remain", "still", "fail", "error", "not yet", "pending"),
    "constraint": ("must", "never", "always", "don't", "do not", "only", "prefer", "please"),
}


class _Said(NamedTuple):
    """A text, and whose it is: "user", "assistant", "call", "tool" or "summary"."""

    who: str
    text: str


class ExtractiveModel(ModelClient):
    """A model client that answers any request with an extract of what it holds.

    It writes under the headings (lines that begin with `#`) of the last message. What it reads are
    the JSON lines of that message, if there are any, else all messages before it. Its usage is what
    a model would have read and written, as `counter` counts.
    """

    def __init__(
        self,
        *,
        model_id: str = "extractive",
        limits: ModelLimits | None = None,
        counter: TokenCounter | None = None,
    ) -> None:
        self._model_id = model_id
        self._limits = limits or ModelLimits()
        self._counter = counter or EstimateCounter()

    @property
    def model_id(self) -> str:
        """The name it was given."""
        return self._model_id

    @property
    def profile(self) -> str:
        """The form in which it reads requests."""
        return _PROFILE

    @property
    def limits(self) -> ModelLimits:
        """Those it was given; it has none of its own."""
        return self._limits

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Extract. The answer has at most `settings.max_output` tokens."""
        body = request.to(_PROFILE, cache=False)
        messages: Sequence[Mapping[str, Any]] = body["messages"]
        text, finish = self._extract(messages, settings.max_output or OUTPUT)
        read = sum(self._counter.count_texts(list(_strings(body))))
        usage = Usage(input_tokens=read, output_tokens=self._count(text))
        items = [Message(role="assistant", content=text)]
        return ModelAnswer(items=list(items), usage=usage, finish=finish, model=self._model_id)

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Extract, and give the answer in one piece."""
        answer = await self.generate(request, settings)
        yield TextDelta(answer.text)
        yield answer

    def _count(self, text: str) -> int:
        return self._counter.count_texts([text])[0]

    def _extract(
        self, messages: Sequence[Mapping[str, Any]], most: int
    ) -> tuple[str, FinishReason]:
        asked = _content(messages[-1]) if messages else ""
        told = [line[1] for line in map(_HEADING.match, asked.split("\n")) if line]
        said = list(_records(asked)) or list(_spoken(messages[:-1]))
        headings = told or list(HEADINGS)
        old = _sections([each.text for each in said if each.who == "summary"], headings)
        found = _found([each for each in said if each.who != "summary"])
        room = most - self._count("\n".join(f"## {heading}" for heading in headings)) - 1
        left = 0
        parts: list[str] = []
        for heading in headings:
            kind = _kind(heading)
            share = int(max(room, 0) * _SHARES[kind]) + left
            kept, left = self._fitting(_merged(kind, old.get(heading, []), found[kind]), share)
            parts.append("\n".join([f"## {heading}", *(kept or ["- none"])]) if told else "")
            if not told:
                parts[-1] = "\n".join(kept)
        text = "\n".join(part for part in parts if part) or "- none"
        finish: FinishReason = "stop"
        while text and self._count(text) > most:
            text, finish = text[: len(text) * 3 // 4], "length"
        return text, finish

    def _fitting(self, lines: Sequence[str], room: int) -> tuple[list[str], int]:
        """Give the lines that fit, in order of their worth, and what room is left."""
        kept: list[str] = []
        written = [f"- {line}\n" for line in lines]
        for line, tokens in zip(lines, self._counter.count_texts(written), strict=True):
            if tokens <= room:
                kept.append(f"- {line}")
                room -= tokens
        return kept, room


def _merged(kind: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Put together what an earlier summary held and what is new, best first.

    What was wanted and must hold is older; names and decisions fade.
    """
    lines = [*old, *new] if kind in ("goal", "constraint") else [*new, *old]
    return list(dict.fromkeys(lines))


def _found(said: Sequence[_Said]) -> dict[str, list[str]]:
    """Give the lines of each kind, best first."""
    sentences = [(each.who, sentence) for each in said for sentence in _sentences(each)]
    users = [sentence for who, sentence in sentences if who == "user"]
    answers = [sentence for who, sentence in sentences if who == "assistant"]
    holding = [sentence for sentence in users if _speaks_of("constraint", sentence)]
    return {
        "goal": [*users[:1], *users[-1:]],
        "decision": _marked("decision", answers),
        "artifact": _names(said),
        "open": _marked("open", answers),
        "constraint": list(dict.fromkeys([*holding, *reversed(users)])),
    }


def _marked(kind: str, sentences: Sequence[str]) -> list[str]:
    """Give the sentences with words of a kind, then the others, the newest first of each."""
    newest = list(reversed(sentences))
    marked = [sentence for sentence in newest if _speaks_of(kind, sentence)]
    return list(dict.fromkeys([*marked, *newest]))


def _speaks_of(kind: str, sentence: str) -> bool:
    low = sentence.lower()
    return any(word in low for word in _WORDS[kind])


def _names(said: Sequence[_Said]) -> list[str]:
    """Give the names that came up, by how often and how lately; equal ones in a fixed order."""
    often: Counter[str] = Counter()
    last: dict[str, int] = {}
    for place, each in enumerate(said):
        for name in facts_in(each.text[:_READ]):
            often[name] += 1 if each.who == "tool" else 3
            last[name] = place
    return sorted(often, key=lambda name: (-often[name], -last[name], name))


def _sentences(said: _Said) -> Iterator[str]:
    if said.who in ("tool", "call"):
        return  # only the names are taken of them
    for piece in _END.split(said.text[:_READ]):
        sentence = " ".join(piece.split()).lstrip("-*# ")
        if len(sentence) > 2:
            yield sentence[:_SENTENCE]


def _kind(heading: str) -> str:
    low = heading.lower()
    return next((kind for kind in _SHARES if kind in low), "decision")


def _sections(texts: Iterable[str], headings: Sequence[str]) -> dict[str, list[str]]:
    """Read an earlier summary: the lines under each heading."""
    found: dict[str, list[str]] = {}
    for text in texts:
        current = headings[0] if headings else ""
        for line in text.split("\n"):
            if heading := _HEADING.match(line):
                current = heading[1]
            elif (kept := line.strip().removeprefix("- ")) and kept != "none":
                found.setdefault(current, []).append(kept)
    return found


def _records(text: str) -> Iterator[_Said]:
    """Read the JSON lines of a message: objects that say whose text it is, under "from"."""
    for line in text.split("\n"):
        if not line.startswith("{"):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("from"), str):
            rest = [value for key, value in record.items() if key not in ("from", "ref")]
            yield _Said("call" if "call" in record else record["from"], "\n".join(_strings(rest)))


def _spoken(messages: Sequence[Mapping[str, Any]]) -> Iterator[_Said]:
    """Read the messages of a conversation."""
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            continue
        text = _content(message)
        if any(f"## {heading}" in text.split("\n") for heading in HEADINGS):
            role = "summary"
        calls = "\n".join(_strings(message.get("tool_calls") or []))
        if text:
            yield _Said(str(role), text)
        if calls:
            yield _Said("call", calls)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content if "text" in part)


def _strings(value: object) -> Iterator[str]:
    """Give all strings in a JSON value in order; without recursion, as it may be deep."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, Mapping):
            waiting += reversed(list(inner.values()))
        elif isinstance(inner, list | tuple):
            waiting += reversed(inner)
