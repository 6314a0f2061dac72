"""How requests and responses of Anthropic become items; what is lost is in `docs/formats.md`."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import JsonValue

from turnkeep.content import (
    FilePart,
    ImagePart,
    Item,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
    Usage,
)
from turnkeep.formats.anthropic_render import NAME, THINKING
from turnkeep.formats.foreign import (
    as_count,
    as_list,
    as_object,
    as_text,
    build,
    read_arguments,
    refuse,
    text_or,
    unknown,
)
from turnkeep.formats.profile import ParsedResponse, Wire

MARKER = "cache_control"
"""Cache markers move from request to request: they are no content and are not kept."""


def parse_request(body: object) -> Request:
    """Read a request body: system, messages, tools, choice and model; other settings are not."""
    value = as_object(body, "")
    texts = _system(value.get("system"))
    reader = Reader()
    reader.items += [Message(role="system", content=text) for text in texts[1:]]
    for index, message in enumerate(as_list(value.get("messages"), "messages")):
        reader.message(message, f"messages[{index}]")
    tools = [
        _tool(tool, f"tools[{index}]")
        for index, tool in enumerate(as_list(value.get("tools") or [], "tools"))
    ]
    model = value.get("model")
    return build(
        Request,
        "",
        instructions=texts[0] if texts else "",
        contents=reader.items,
        tools=tools,
        tool_choice=_tool_choice(value.get("tool_choice")),
        model_id=None if model is None else as_text(model, "model"),
    )


def parse_response(body: object) -> ParsedResponse:
    """Read a response body, or a bare assistant message."""
    value = as_object(body, "")
    if value.get("role") != "assistant":
        refuse("role", "this is no answer of the assistant")
    reader = Reader()
    reader.message(value, "")
    finish = value.get("stop_reason")
    return ParsedResponse(
        reader.items,
        read_usage(value.get("usage")),
        None if finish is None else as_text(finish, "stop_reason"),
    )


class Reader:
    """Reads messages in their order; what was read is in `items`."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.names: dict[str, str] = {}
        """The tool of the latest call with each id: results do not name it."""
        self.run: list[Part] = []

    def message(self, message: object, path: str) -> None:
        """Read one more. Raises ContentError with the path."""
        value = as_object(message, path)
        role = as_text(value.get("role"), _at(path, "role"))
        if role not in {"user", "assistant"}:
            refuse(_at(path, "role"), f"messages of role {role!r} are not supported")
        content = value.get("content")
        if isinstance(content, str):
            self.items.append(build(Message, path, role=role, content=content))
            return
        place = _at(path, "content")
        for index, block in enumerate(as_list(content, place)):
            at = f"{place}[{index}]"
            found = as_object(block, at)
            if MARKER in found:
                found = {key: below for key, below in found.items() if key != MARKER}
            if role == "user":
                self._user_block(found, at)
            else:
                self._assistant_block(found, at)
        self._end_run(path)

    def _end_run(self, path: str) -> None:
        """Make one message of the parts that stand together; a single text becomes its content."""
        if not self.run:
            return
        content: object = self.run
        if len(self.run) == 1 and isinstance(part := self.run[0], TextPart):
            content = content if part.__pydantic_extra__ else part.text
        self.items.append(build(Message, path, role="user", content=content))
        self.run = []

    def _user_block(self, block: Wire, path: str) -> None:
        part = _part(block, path)
        if part is not None:
            self.run.append(part)
            return
        self._end_run(path)
        if block.get("type") == "tool_result":
            self._result(block, path)
            return
        kind = as_text(block.get("type"), f"{path}.type")
        self.items.append(build(Opaque, path, provider=NAME, kind=kind, data=block, role="user"))

    def _assistant_block(self, block: Wire, path: str) -> None:
        kind = as_text(block.get("type"), f"{path}.type")
        if kind == "text":
            text = as_text(block.get("text"), f"{path}.text")
            extra = unknown(block, ("type", "text"), Message)
            self.items.append(build(Message, path, role="assistant", content=text, **extra))
        elif kind == "tool_use":
            call_id = as_text(block.get("id"), f"{path}.id")
            name = as_text(block.get("name"), f"{path}.name")
            arguments = read_arguments(block.get("input"), f"{path}.input")
            extra = unknown(block, ("type", "id", "name", "input"), ToolCall)
            call = build(
                ToolCall, path, tool_call_id=call_id, name=name, arguments=arguments, **extra
            )
            self.names[call_id] = name
            self.items.append(call)
        elif kind in THINKING:
            self.items.append(build(Reasoning, path, provider=NAME, data=block))
        else:
            self.items.append(build(Opaque, path, provider=NAME, kind=kind, data=block))

    def _result(self, block: Wire, path: str) -> None:
        call_id = as_text(block.get("tool_use_id"), f"{path}.tool_use_id")
        content = block.get("content")
        pieces: list[Part | str | JsonValue] = []
        if isinstance(content, str):
            pieces.append(content)
        else:
            for index, inner in enumerate(as_list(content or [], f"{path}.content")):
                at = f"{path}.content[{index}]"
                data = as_object(inner, at)
                part = _part(data, at)
                pieces.append(part.text if isinstance(part, TextPart) else part or data)
        known = ("type", "tool_use_id", "content", "is_error")
        self.items.append(
            build(
                ToolResult,
                path,
                tool_call_id=call_id,
                name=self.names.get(call_id, ""),
                status="error" if block.get("is_error") else "success",
                content=pieces,
                **unknown(block, known, ToolResult),
            )
        )


def _part(block: Wire, path: str) -> Part | None:
    """Read a text, picture or document; None for kinds and sources that no part can hold."""
    kind = block.get("type")
    if kind == "text":
        text = as_text(block.get("text"), f"{path}.text")
        return build(TextPart, path, text=text, **unknown(block, ("type", "text"), TextPart))
    if kind not in ("image", "document"):
        return None
    source = as_object(block.get("source"), f"{path}.source")
    fields: dict[str, Any] = {}
    form = source.get("type")
    if form == "url":
        fields["url"] = as_text(source.get("url"), f"{path}.source.url")
    elif form in ("base64", "text"):
        data = as_text(source.get("data"), f"{path}.source.data")
        fields["data"] = data if form == "base64" else base64.b64encode(data.encode()).decode()
        fields["media_type"] = source.get("media_type")
    else:
        return None
    extra = {key: below for key, below in block.items() if key not in {"type", "source"}}
    if kind == "image":
        return None if extra else build(ImagePart, path, **fields)
    # Citations and context are settings that only this provider has: such a block is kept whole.
    if set(extra) - {"title"}:
        return None
    return build(FilePart, path, name=extra.get("title"), **fields)


def _system(system: object) -> list[str]:
    if system is None:
        return []
    if isinstance(system, str):
        return [system] if system else []
    texts = []
    for index, block in enumerate(as_list(system, "system")):
        value = as_object(block, f"system[{index}]")
        texts.append(as_text(value.get("text"), f"system[{index}].text"))
    return texts


def _tool(tool: object, path: str) -> ToolDefinition:
    value = as_object(tool, path)
    name = as_text(value.get("name"), f"{path}.name")
    if text_or(value, "type", "custom") != "custom":
        # The provider runs this tool itself; only it knows the other fields.
        return build(ToolDefinition, path, name=name, anthropic=_unmarked(value))
    schema = as_object(value.get("input_schema"), f"{path}.input_schema")
    description = text_or(value, "description")
    return build(ToolDefinition, path, name=name, description=description, parameters=schema)


def _unmarked(value: Wire) -> Wire:
    return {key: below for key, below in value.items() if key != MARKER}


def _tool_choice(choice: object) -> JsonValue:
    if choice is None:
        return None
    value = as_object(choice, "tool_choice")
    words = {"auto": "auto", "none": "none", "any": "required"}
    kind = text_or(value, "type")
    if set(value) == {"type"} and kind in words:
        return words[kind]
    if set(value) == {"type", "name"} and kind == "tool":
        return {"name": as_text(value["name"], "tool_choice.name")}
    return value


def read_usage(usage: object) -> Usage | None:
    """Read usage; `input_tokens` of the API leaves out what came from or went to the cache."""
    if usage is None:
        return None
    value = as_object(usage, "usage")
    fresh, read, written, output = (
        as_count(value.get(key), f"usage.{key}")
        for key in (
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "output_tokens",
        )
    )
    # What went to the cache for five minutes and for an hour costs differently.
    by_age = value.get("cache_creation")
    extra = {"cache_creation": by_age} if isinstance(by_age, dict) else {}
    return build(
        Usage,
        "usage",
        input_tokens=fresh + read + written,
        output_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        **extra,
    )


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
