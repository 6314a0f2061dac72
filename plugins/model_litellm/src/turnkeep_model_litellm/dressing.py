"""What options and settings add to a request's body, in each provider's words."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from turnkeep.model import ModelSettings
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.options import LitellmOptions
from turnkeep_model_litellm.target import Target

Body = dict[str, Any]

CLOUD: Final = ("aws_", "vertex_")
"""How the names of `extra` begin that say how a cloud is reached."""

_CLAUDE: Final = frozenset({"anthropic", "bedrock", "bedrock_converse", "vertex_ai", "azure_ai"})
"""Providers to which LiteLLM translates OpenAI Chat for Claude into Anthropic's own form."""

_BUDGETS: Final = {
    "none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768,
    "max": 32768,
}  # fmt: skip
"""Tokens of thought for Gemini 2.5, which knows no words for it: those that Google names for its
own OpenAI endpoint (ai.google.dev/gemini-api/docs/openai, "Thinking"), and its largest budget."""


def cloud_options(options: LitellmOptions) -> dict[str, JsonValue]:
    """Give the part of `extra` that says how a cloud is reached."""
    return {name: value for name, value in options.extra.items() if name.startswith(CLOUD)}


def dressed(
    body: Mapping[str, Any], target: Target, options: LitellmOptions, settings: ModelSettings
) -> Body:
    """Give a copy of a body with what options and settings ask for.

    It is a copy to the last object, as LiteLLM changes what it is given, and the messages of a body
    belong to the session.
    """
    whole = _copied(body)
    {
        "openai-chat": _chat,
        "openai-responses": _responses,
        "anthropic": _anthropic,
        "gemini": _gemini,
    }[target.profile](whole, target, options, settings)
    _merge(whole, {k: v for k, v in options.extra.items() if not k.startswith(CLOUD)})
    return whole


def _copied(body: Mapping[str, Any]) -> Body:
    """Copy a body, by JSON: that is three times as quick as copy.deepcopy.

    Half a surrogate pair becomes U+FFFD: no provider takes it, and it cannot be sent as UTF-8.
    """
    text = json.dumps(body, ensure_ascii=False)
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    whole: Body = json.loads(text)
    return whole


def _chat(body: Body, target: Target, options: LitellmOptions, settings: ModelSettings) -> None:
    body["model"] = target.model
    _put(body, temperature=options.temperature, top_p=options.top_p)
    if not _wants_thought_back(body, target):
        _put(body, reasoning_effort=options.reasoning_effort)
    known = library().get_supported_openai_params(
        model=target.name, custom_llm_provider=target.provider
    )
    if known is None:
        return
    if settings.output_schema is not None and "response_format" in known:
        schema = copy.deepcopy(dict(settings.output_schema))
        form = {"name": "answer", "schema": schema, "strict": is_closed(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    # What turnkeep adds by itself; what the user asks for is never left out in silence.
    if "prompt_cache_key" not in known:
        body.pop("prompt_cache_key", None)
    # OpenAI's newer models take no other name; most who speak its form know the older one only,
    # whatever LiteLLM says of them (DeepSeek).
    newer = target.provider in {"openai", "azure"} or "max_tokens" not in known
    if not newer and "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")


def _wants_thought_back(body: Body, target: Target) -> bool:
    """Say whether Claude would refuse the next step of a thinking model's calls of tools.

    It wants its signed thought back with their results, and OpenAI Chat has no place for it.
    """
    claude = target.provider in _CLAUDE and "claude" in target.name.lower()
    calls = any(message.get("tool_calls") for message in body["messages"])
    return claude and bool(body.get("tools") or calls)


def _responses(
    body: Body, target: Target, options: LitellmOptions, settings: ModelSettings
) -> None:
    body["model"] = target.name
    _put(body, temperature=options.temperature, top_p=options.top_p)
    # The request may have been made without knowing the model.
    if "include" not in body and library().supports_reasoning(
        model=target.name, custom_llm_provider=target.provider
    ):
        body["include"] = ["reasoning.encrypted_content"]
    if options.reasoning_effort is not None:
        body["reasoning"] = {"effort": options.reasoning_effort}
    if settings.output_schema is not None:
        schema = copy.deepcopy(dict(settings.output_schema))
        form = {"type": "json_schema", "name": "answer", "schema": schema}
        body["text"] = {"format": {**form, "strict": is_closed(schema)}}


def _anthropic(
    body: Body, target: Target, options: LitellmOptions, settings: ModelSettings
) -> None:
    body["model"] = target.name
    _put(body, temperature=options.temperature, top_p=options.top_p)
    # LiteLLM puts it into the words of the model: a budget of thought, or adaptive thought.
    _put(body, reasoning_effort=options.reasoning_effort)
    schema = settings.output_schema
    if schema is not None and is_closed(schema) and _holds_to_schema(target):
        form = {"type": "json_schema", "schema": copy.deepcopy(dict(schema))}
        body["output_config"] = {"format": form}


def _gemini(body: Body, target: Target, options: LitellmOptions, settings: ModelSettings) -> None:
    body.pop("model", None)  # the URL names it
    config: Body = {}
    _put(config, temperature=options.temperature, topP=options.top_p)
    third = "gemini-3" in target.name
    if options.reasoning_effort is not None:
        thought: Body = {"includeThoughts": options.reasoning_effort != "none"}
        if third:
            weak = options.reasoning_effort in {"none", "minimal"}
            strong = options.reasoning_effort in {"xhigh", "max"}
            level = "minimal" if weak else "high" if strong else options.reasoning_effort
            thought["thinkingLevel"] = level
        else:
            thought["thinkingBudget"] = _BUDGETS[options.reasoning_effort]
        config["thinkingConfig"] = thought
    # Before version 3, Gemini refuses a schema of its answer together with tools.
    if settings.output_schema is not None and (third or not body.get("tools")):
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = copy.deepcopy(dict(settings.output_schema))
    if config:
        _merge(body, {"generationConfig": config})


def is_closed(schema: object) -> bool:
    """Say whether all objects of a schema name all their fields and require each.

    So OpenAI and Anthropic want it before they hold an answer to a schema.
    """
    if isinstance(schema, Mapping):
        fields = schema.get("properties")
        if isinstance(fields, Mapping) or schema.get("type") == "object":
            names = set(fields) if isinstance(fields, Mapping) else set()
            if schema.get("additionalProperties") is not False:
                return False
            if set(schema.get("required") or ()) != names:
                return False
        return all(is_closed(value) for value in schema.values())
    if isinstance(schema, list | tuple):
        return all(is_closed(value) for value in schema)
    return True


def _holds_to_schema(target: Target) -> bool:
    return bool(
        library().supports_response_schema(model=target.name, custom_llm_provider=target.provider)
    )


def _put(body: Body, **values: object) -> None:
    body.update({name: value for name, value in values.items() if value is not None})


def _merge(body: Body, more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(body.get(name), dict):
            _merge(body[name], value)
        else:
            body[name] = copy.deepcopy(value)
