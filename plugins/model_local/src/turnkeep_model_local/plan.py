"""Plans: what llama.cpp is asked for a request, and how its answer is to be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from turnkeep.errors import ModelRefused
from turnkeep.model import ModelRequest, ModelSettings
from turnkeep_model_local.plain_text import PlainText

PROFILE: Final = "openai-chat"
_KEPT: Final = ("messages", "tools")


@dataclass(frozen=True)
class Plan:
    """`body` is what llama.cpp gets, `conversation` by what its computed prompt is found again.

    `call`: the answer is no text but the arguments of a call of this tool; with "" it is the call,
    an object of name and arguments. `optional`: the schema may be dropped if it cannot be followed.
    """

    body: dict[str, Any]
    conversation: str
    call: str | None = None
    optional: bool = False


def planned(
    request: ModelRequest,
    settings: ModelSettings,
    *,
    model: str,
    plain: PlainText,
    max_output: int,
    sampling: Mapping[str, Any],
) -> Plan:
    """Plan a call. Raises ModelRefused for a tool choice that names no tool of the request."""
    wire = request.to(PROFILE)
    body: dict[str, Any] = {key: plain.value(wire[key]) for key in _KEPT if wire.get(key)}
    body |= sampling
    wanted = max_output if settings.max_output is None else settings.max_output
    body["max_tokens"] = max(1, min(wanted, max_output))
    # Pieces of progress come while the prompt is computed, too: calls can be ended there.
    body |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    body["cache_prompt"] = True
    conversation = _conversation(wire)
    choice = wire.get("tool_choice")
    tools = {tool["function"]["name"]: _arguments(tool) for tool in wire.get("tools") or ()}
    if isinstance(choice, dict) or choice in ("required", "any"):
        named = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
        if not tools or (isinstance(choice, dict) and named not in tools):
            raise ModelRefused("the tool choice names no tool of the request", model=model)
        if named is None and len(tools) == 1:
            named = next(iter(tools))
        body["response_format"] = _format(_any_call(tools) if named is None else tools[named])
        return Plan(body, conversation, call=named or "")
    if choice == "none":
        body["tool_choice"] = choice
    if settings.output_schema is not None:
        body["response_format"] = _format(dict(settings.output_schema))
        return Plan(body, conversation, optional=True)
    return Plan(body, conversation)


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _arguments(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {**(tool["function"].get("parameters") or {}), "type": "object"}


def _any_call(tools: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Give the schema of a call of one of the tools; references inside theirs are led there."""
    homes = {name: f"tool{number}" for number, name in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                "arguments": {"$ref": f"#/$defs/{homes[name]}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name in tools
    ]
    inner = {homes[name]: _led(schema, homes[name]) for name, schema in tools.items()}
    return {"anyOf": calls, "$defs": inner}


def _led(value: Any, home: str) -> Any:
    if isinstance(value, dict):
        return {
            key: f"#/$defs/{home}{each[1:]}"
            if key == "$ref" and isinstance(each, str) and each.startswith("#")
            else _led(each, home)
            for key, each in value.items()
        }
    return [_led(each, home) for each in value] if isinstance(value, list) else value


def _conversation(wire: Mapping[str, Any]) -> str:
    """Name the conversation: as the request does, else by how it begins, which does not change."""
    named = wire.get("prompt_cache_key")
    if isinstance(named, str) and named:
        return named
    first: list[Any] = []
    for message in wire["messages"]:
        first.append(message)
        if message.get("role") == "user":
            break
    return hashlib.blake2b(json.dumps(first, sort_keys=True).encode()).hexdigest()
