"""Recorded summaries: what a model answered, written down so that a replay can be played again.

A file of JSON lines: first what the model is (its form, its window), then one line a request, keyed
by a hash of the request's text. What is asked twice is answered once, and again from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, TextIO

from pydantic import TypeAdapter, ValidationError

from turnkeep.content import Item, Usage, compact_json
from turnkeep.errors import ConfigError, ModelError, ModelOverflow, ModelRefused, ModelUnavailable
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelClient,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
)

FORMAT: Final = "turnkeep-summaries"
VERSION: Final = 1
_ITEMS: Final[TypeAdapter[list[Item]]] = TypeAdapter(list[Item])
_KINDS: Final = {
    kind.__name__: kind for kind in (ModelError, ModelOverflow, ModelRefused, ModelUnavailable)
}


class NotRecorded(ConfigError):
    """A request was made that the file has no answer to."""


def key_of(request: ModelRequest) -> str:
    """Give the hash of a request's text: instructions, tools and messages, in one form for all."""
    body = request.to("openai-chat", cache=False)
    said = [body.get("messages"), body.get("tools"), body.get("tool_choice")]
    written = compact_json(said).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(written, digest_size=16).hexdigest()


class Recorder:
    """Asks a model, and writes each answer and refusal down."""

    def __init__(self, client: ModelClient, out: TextIO) -> None:
        self.model_id = client.model_id
        self.profile = client.profile
        self.limits = client.limits
        self._client = client
        self._out = out
        self._known: dict[str, dict[str, Any]] = {}
        self._write(
            {
                "format": FORMAT,
                "version": VERSION,
                "model": self.model_id,
                "profile": self.profile,
                "context_window": self.limits.context_window,
                "max_output": self.limits.max_output,
            }
        )

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask, or give what was answered to the same request before."""
        key = key_of(request)
        line = self._known.get(key)
        if line is not None:
            return _answered(line, self.model_id)
        try:
            answer = await self._client.generate(request, settings)
        except ModelError as error:
            name = type(error).__name__
            line = {"key": key, "error": name if name in _KINDS else "ModelError"}
            self._keep(line)
            raise
        line = {
            "key": key,
            "items": _ITEMS.dump_python(answer.items, mode="json", exclude_none=True),
            "usage": None if answer.usage is None else answer.usage.model_dump(),
            "finish": answer.finish,
            "model": answer.model,
            "cost": answer.cost,
            "partial": answer.partial,
        }
        self._keep(line)
        return answer

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Ask, and give the answer in one piece."""
        yield await self.generate(request, settings)

    def _keep(self, line: dict[str, Any]) -> None:
        self._known[line["key"]] = line
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line, ensure_ascii=False) + "\n")


class Recorded:
    """Answers as a file says that a model did, to the same requests.

    Raises ConfigError for a file that cannot be read; `generate` NotRecorded for what it lacks.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            with Path(name).open(encoding="utf-8") as file:
                lines = [json.loads(line) for line in file if line.strip()]
            head = lines[0]
            if head["format"] != FORMAT or head["version"] != VERSION:
                raise ValueError  # noqa: TRY301  # told below, as any other fault is
            self.model_id = str(head["model"])
            self.profile = str(head["profile"])
            self.limits = ModelLimits(
                context_window=head["context_window"], max_output=head["max_output"]
            )
            self._known: dict[str, dict[str, Any]] = {line["key"]: line for line in lines[1:]}
        except OSError as error:
            raise ConfigError(f"summaries {name}: {error.strerror or error}") from None
        except (ValueError, LookupError, TypeError):
            raise ConfigError(
                f"summaries {name}: it is no file that --record-summaries wrote"
            ) from None

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Give what was answered to this request."""
        del settings
        line = self._known.get(key_of(request))
        if line is None:
            raise NotRecorded(
                f"summaries {self.name}: a request of this replay has no answer there; record it "
                "with the same recordings, policies, profile and counter (--record-summaries)"
            )
        try:
            return _answered(line, self.model_id)
        except (ValidationError, LookupError, TypeError):
            raise NotRecorded(
                f"summaries {self.name}: the answer of key {line['key']} cannot be read; record "
                "it again"
            ) from None

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Give the answer in one piece."""
        yield await self.generate(request, settings)


def _answered(line: dict[str, Any], model: str) -> ModelAnswer:
    if "error" in line:
        kind = _KINDS[line["error"]]
        raise kind(f"model {model!r} gave no answer when this was recorded", model=model)
    usage = line["usage"]
    return ModelAnswer(
        items=_ITEMS.validate_python(line["items"]),
        usage=None if usage is None else Usage.model_validate(usage),
        finish=line["finish"],
        model=line["model"],
        cost=line["cost"],
        partial=line["partial"],
    )
