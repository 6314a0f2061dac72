"""Gemini generateContent: answers, streams, and what a request may hold.

Shapes are those of ai.google.dev/api/generate-content and .../docs/thought-signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from turnkeep.content import compact_json
from turnkeep.formats.profile import Violation, Wire
from turnkeep.testing.provider import gemini_errors as errors
from turnkeep.testing.provider.dialect import (
    Event,
    Made,
    Prompt,
    arguments_object,
    as_limit,
    as_list,
    bearer,
    pieces,
    words,
)
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.seals import holds, seal

PARAMETERS: Final = words(
    """
    cachedContent contents generationConfig labels model safetySettings serviceTier store
    systemInstruction toolConfig tools
    """
)
PLACEHOLDERS: Final = frozenset(
    {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"}
)
"""Documented stand-ins for signatures of calls that the API did not make."""
OLDER: Final = re.compile(r"gemini-[12]\b")
_SNAKE: Final = re.compile(r"_([a-z])")
_OPEN: Final = frozenset({"args", "response", "parameters", "parametersJsonSchema"})
_REASONS: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}


class Gemini:
    """The dialect of `models/{model}:generateContent` and `:streamGenerateContent`."""

    name = "gemini"

    def normal(self, body: Wire, model: str) -> Wire:
        """Give the body in camel case, as protocol buffers have it, with the model of the URL.

        Contents without a role are the user's.
        """
        made = _camel(body)
        assert isinstance(made, dict)
        for content in as_list(made.get("contents")):
            if isinstance(content, dict):
                content.setdefault("role", "user")
        return made | {"model": model}

    def model(self, body: Wire) -> str:
        """Give the model, if the body names it too."""
        return str(body.get("model") or "")

    def streamed(self, body: Wire) -> bool:  # noqa: ARG002  # the URL says it
        """Say no."""
        return False

    def max_output(self, body: Wire) -> int:
        """Give the limit."""
        config = body.get("generationConfig")
        return as_limit(config.get("maxOutputTokens")) if isinstance(config, dict) else 0

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Give the key of its header, of the query, or the bearer's."""
        return headers.get("x-goog-api-key") or query.get("key") or bearer(headers)

    def prompt(self, body: Wire) -> Prompt:
        """Give tools, system parts and contents."""
        system = body.get("systemInstruction")
        parts = as_list(system.get("parts")) if isinstance(system, dict) else []
        return Prompt(as_list(body.get("tools")), parts, as_list(body.get("contents")))

    def unusual(self, body: Wire, headers: Mapping[str, str]) -> Refusal | None:  # noqa: ARG002  # none is needed
        """Refuse parameters that are not known."""
        for name in body:
            if name not in PARAMETERS:
                return Refusal("parameter", errors.unknown(name), param="")
        return None

    def refusal(self, violation: Violation, body: Wire) -> Refusal:
        """Say it in the API's words."""
        return errors.refusal(violation, body)

    def unsealed(self, body: Wire) -> Refusal | None:
        """Refuse signatures of calls that are not those that were given with them."""
        for content in as_list(body.get("contents")):
            for part in as_list(content.get("parts")):
                call, signature = part.get("functionCall"), part.get("thoughtSignature")
                if call is None or signature is None or signature in PLACEHOLDERS:
                    continue
                if not holds(signature, str(call.get("name")), compact_json(call.get("args", {}))):
                    return Refusal("seal", "Corrupted thought signature.")
        return None

    def too_long(self, body: Wire, tokens: int, window: int) -> Refusal | None:  # noqa: ARG002  # the answer's room does not count
        """Refuse input that does not fit."""
        if tokens <= window:
            return None
        said = f"The input token count ({tokens}) exceeds the maximum number of tokens allowed "
        return Refusal("context", f"{said}({window}).")

    def unauthorized(self, *, shown: bool) -> Refusal:
        """Refuse a key (with status 400, as the API does), or that there is none."""
        if shown:
            said = "API key not valid. Please pass a valid API key."
            return Refusal("auth", said, 400, code="API_KEY_INVALID")
        said = "Method doesn't allow unregistered callers (callers without established identity). "
        return Refusal(
            "auth",
            f"{said}Please use API Key or other form of API consumer identity to call this API.",
            403,
        )

    def limited(self) -> Refusal:
        """Refuse by the rate."""
        return Refusal("limit", "Resource has been exhausted (e.g. check quota).", 429)

    def overloaded(self) -> Refusal:
        """Refuse by the load."""
        return Refusal("overloaded", "The model is overloaded. Please try again later.", 503)

    def error(self, refusal: Refusal) -> Wire:
        """Give the body of an error."""
        return errors.error(refusal)

    def broken(self, refusal: Refusal) -> Event:
        """Give an error in place of a chunk."""
        return Event(None, errors.error(refusal))

    def answer(self, made: Made) -> Wire:
        """Give a response with one candidate."""
        return _chunk(made, _parts(made), _reason(made))

    def events(self, made: Made) -> Iterator[Event]:
        """Give chunks of parts; the last one has the reason to stop."""
        parts = [piece for part in _parts(made) for piece in _pieces(part)]
        for part in parts[:-1]:
            yield Event(None, _chunk(made, [part], None))
        yield Event(None, _chunk(made, parts[-1:], _reason(made)))


def _chunk(made: Made, parts: list[Wire], reason: str | None) -> Wire:
    usage = made.usage
    content: Wire = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate: Wire = {"content": content, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    counts: Wire = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input_tokens}],
    }
    if usage.cached_tokens:
        counts["cachedContentTokenCount"] = usage.cached_tokens
        cached = {"modality": "TEXT", "tokenCount": usage.cached_tokens}
        counts["cacheTokensDetails"] = [cached]
    if usage.reasoning_tokens:
        counts["thoughtsTokenCount"] = usage.reasoning_tokens
    return {
        "candidates": [candidate],
        "usageMetadata": counts,
        "modelVersion": made.model,
        "responseId": made.token,
    }


def _parts(made: Made) -> list[Wire]:
    """Give the parts: a thought, the text, then the calls, of which the first is signed."""
    say = made.say
    parts: list[Wire] = []
    if say.thinking:
        parts.append({"text": say.thinking, "thought": True})
    if say.text:
        parts.append({"text": say.text})
    for index, call in enumerate(say.calls):
        given = arguments_object(call)
        inner: Wire = {"name": call.name, "args": given}
        if call.id is not None:
            inner["id"] = call.id
        part: Wire = {"functionCall": inner}
        if index == 0 and (say.thinking is not None or not OLDER.search(made.model)):
            part["thoughtSignature"] = seal(call.name, compact_json(given))
        parts.append(part)
    return parts


def _pieces(part: Wire) -> list[Wire]:
    """Cut a part as a stream brings it: texts in pieces, all else whole."""
    if "text" not in part:
        return [part]
    return [part | {"text": piece} for piece in pieces(part["text"])]


def _reason(made: Made) -> str:
    given = made.say.finish or "stop"
    return _REASONS.get(given, given)


def _camel(value: Any) -> Any:
    """Give JSON with names in camel case, but for what users wrote themselves."""
    if isinstance(value, list):
        return [_camel(below) for below in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, below in value.items():
        name = _SNAKE.sub(lambda found: found.group(1).upper(), key)
        made[name] = below if name in _OPEN else _camel(below)
    return made


DIALECT: Final = Gemini()
