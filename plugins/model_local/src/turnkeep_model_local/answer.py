"""Answers: llama.cpp's pieces, read as they come and put together at the end."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any, Final

from turnkeep.content import Item, Message, ToolCall, message_text
from turnkeep.errors import ModelError, ModelOverflow, ModelRefused, ModelUnavailable
from turnkeep.formats.response import read_response
from turnkeep.model import (
    CallDelta,
    FinishReason,
    ModelAnswer,
    ModelPiece,
    TextDelta,
    ThinkingDelta,
)
from turnkeep_model_local.engine import Chunk

_FINISHES: Final[dict[str | None, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}
_SAID: Final = ("content", "reasoning_content", "tool_calls")
_LONGEST: Final = 300
"""Characters kept of llama.cpp's own sentences."""


class AnswerReader:
    """Reads one answer. `call` is as in `Plan`."""

    def __init__(self, model: str, call: str | None) -> None:
        self._model = model
        self._call = call
        self._chunks: list[Chunk] = []
        self._begun = False
        self._said = False

    def pieces(self, chunk: Chunk) -> list[ModelPiece]:
        """Take a piece of llama.cpp's and give what it adds. Raises ModelError for an error."""
        if "error" in chunk:
            raise self._fault(chunk["error"])
        if "prompt_progress" in chunk:
            return []
        self._chunks.append(chunk)
        found: list[ModelPiece] = []
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            self._said = self._said or any(delta.get(key) for key in _SAID)
            if delta.get("reasoning_content"):
                found.append(ThinkingDelta(delta["reasoning_content"]))
            if delta.get("content"):
                found += self._text(delta["content"])
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                name, arguments = function.get("name"), function.get("arguments") or ""
                found.append(CallDelta(call.get("index", 0), name, arguments))
        return found

    def _text(self, text: str) -> list[ModelPiece]:
        if self._call is None:
            return [TextDelta(text)]
        if not self._call:
            return []  # the call is known when it is whole
        name = None if self._begun else self._call
        self._begun = True
        return [CallDelta(0, name, text)]

    def answer(self) -> ModelAnswer:
        """Give the whole answer, or what has come of it."""
        parsed = read_response(self._chunks)
        items: list[Item] = list(parsed.items)
        partial, finish = parsed.partial, _FINISHES.get(parsed.finish, "other")
        if self._call is not None:
            called = self._called(items)
            partial = partial or called is None
            if called is not None:
                items, finish = [called], "tool_calls"
        if not items:
            items = [Message(role="assistant", content="")]
        last = self._chunks[-1]
        return ModelAnswer(
            items=items,
            usage=parsed.usage,
            finish=finish,
            model=last.get("model"),
            cost=0.0,
            partial=partial,
            provider={key: last[key] for key in ("id", "timings") if key in last},
        )

    def partial(self) -> ModelAnswer | None:
        """Give what had come of an answer that was cut off; None if nothing had."""
        return self.answer() if self._said else None

    def _called(self, items: list[Item]) -> ToolCall | None:
        """Read the forced call; None if it was cut off."""
        text = "".join(message_text(item) for item in items if isinstance(item, Message))
        found: Any = None
        with contextlib.suppress(ValueError):
            found = json.loads(text)
        name = self._call
        if not name and isinstance(found, dict):
            name, found = found.get("name"), found.get("arguments")
        if not name or not isinstance(found, dict):
            return None
        return ToolCall(tool_call_id=f"call_{uuid.uuid4().hex[:24]}", name=name, arguments=found)

    def _fault(self, error: Any) -> ModelError:
        said = error if isinstance(error, dict) else {"message": str(error)}
        status = said.get("code")
        status = status if isinstance(status, int) else None
        message = sentence(str(said.get("message")))
        partial = self.partial()
        if said.get("type") == "exceed_context_size_error":
            return ModelOverflow(
                f"the prompt has {said.get('n_prompt_tokens'):,} tokens and the window of "
                f"{self._model!r} {said.get('n_ctx'):,}; raise context_window or shorten it",
                model=self._model,
                status=status,
            )
        if status == 503:
            return ModelUnavailable(message, model=self._model, status=status, partial=partial)
        kind = ModelRefused if status is not None and 400 <= status < 500 else ModelError
        return kind(message, model=self._model, status=status, partial=partial)


def sentence(said: str) -> str:
    """Cut what llama.cpp said to a line."""
    line = " ".join(said.split())
    return f"llama.cpp: {line[:_LONGEST]}{'…' if len(line) > _LONGEST else ''}"
