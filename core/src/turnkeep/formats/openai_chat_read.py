"""How requests and responses of OpenAI Chat become items; what is lost is in `docs/formats.md`."""

from __future__ import annotations

from typing import Any, Final

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
from turnkeep.formats.media import split_data_url
from turnkeep.formats.profile import ParsedResponse, Wire

PROVIDER: Final = "openai-chat"
REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
"""Where servers that speak this format put reasoning; Chat itself shows none."""


def parse_request(body: object) -> Request:
    """Read a request body: messages, tools, tool choice and model; other settings are left out."""
    value = as_object(body, "")
    reader = _Reader()
    for index, message in enumerate(as_list(value.get("messages"), "messages")):
        reader.message(message, f"messages[{index}]")
    contents = reader.items
    instructions = ""
    if contents and _is_plain_system(contents[0]):
        instructions = str(getattr(contents.pop(0), "content", ""))
    tools = [
        _tool(tool, f"tools[{index}]")
        for index, tool in enumerate(as_list(value.get("tools") or [], "tools"))
    ]
    model = value.get("model")
    return build(
        Request,
        "",
        instructions=instructions,
        contents=contents,
        tools=tools,
        tool_choice=_tool_choice(value.get("tool_choice")),
        model_id=None if model is None else as_text(model, "model"),
    )


def parse_response(body: object) -> ParsedResponse:
    """Read the first choice of a response body, or a bare assistant message."""
    value = as_object(body, "")
    reader = _Reader()
    if "choices" not in value and value.get("role") == "assistant":
        reader.message(value, "")
        return ParsedResponse(reader.items, None, None)
    choices = as_list(value.get("choices"), "choices")
    if not choices:
        refuse("choices", "the response holds no answer")
    choice = as_object(choices[0], "choices[0]")
    message = {"role": "assistant", **as_object(choice.get("message"), "choices[0].message")}
    reader.message(message, "choices[0].message")
    finish = choice.get("finish_reason")
    return ParsedResponse(
        reader.items,
        _usage(value.get("usage")),
        None if finish is None else as_text(finish, "choices[0].finish_reason"),
    )


class _Reader:
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.names: dict[str, str] = {}
        """The tool of the latest call with each id: tool messages do not name it."""

    def message(self, message: object, path: str) -> None:
        value = as_object(message, path)
        role = as_text(value.get("role"), _at(path, "role"))
        if role == "assistant":
            self.assistant(value, path)
        elif role == "tool":
            self.result(value, path)
        elif role in {"system", "developer", "user"}:
            self.input(role, value, path)
        else:
            refuse(_at(path, "role"), f"messages of role {role!r} are not supported")

    def input(self, role: str, value: Wire, path: str) -> None:
        extra = unknown(value, ("role", "content"), Message)
        content = value.get("content")
        if isinstance(content, str):
            self.items.append(build(Message, path, role=role, content=content, **extra))
            return
        run: list[Part] = []
        place = _at(path, "content")
        for index, part in enumerate(as_list(content, place)):
            at = f"{place}[{index}]"
            known = _part(as_object(part, at), at)
            if known is not None:
                run.append(known)
                continue
            if run:
                self.items.append(build(Message, path, role=role, content=run, **extra))
                run = []
            data = as_object(part, at)
            kind = as_text(data.get("type"), f"{at}.type")
            self.items.append(
                build(Opaque, at, provider=PROVIDER, kind=kind, data=data, role="user")
            )
        if run or not content:
            self.items.append(build(Message, path, role=role, content=run, **extra))

    def assistant(self, value: Wire, path: str) -> None:
        if value.get("function_call") is not None:
            refuse(_at(path, "function_call"), "the old form of calls is not supported")
        thought = {key: value[key] for key in REASONING_FIELDS if value.get(key)}
        if thought:
            self.items.append(build(Reasoning, path, provider=PROVIDER, data=thought))
        known = ("role", "content", "tool_calls", "refusal", "function_call", *REASONING_FIELDS)
        extra = unknown(value, known, Message)
        calls = as_list(value.get("tool_calls") or [], _at(path, "tool_calls"))
        text = self.assistant_text(value.get("content"), _at(path, "content"))
        refusal = value.get("refusal")
        if isinstance(refusal, str) and refusal and not text:
            text, extra["refusal"] = refusal, True
        if text or (text is not None and not calls):
            message = build(Message, path, role="assistant", content=text, **extra)
            self.items.append(message)
        for index, call in enumerate(calls):
            self.call(call, f"{_at(path, 'tool_calls')}[{index}]")

    def assistant_text(self, content: object, path: str) -> str | None:
        """Give the text of an assistant's content; several parts become lines."""
        if content is None or isinstance(content, str):
            return content
        texts = []
        for index, part in enumerate(as_list(content, path)):
            at = f"{path}[{index}]"
            value = as_object(part, at)
            kind = value.get("type")
            if kind not in ("text", "refusal"):
                refuse(f"{at}.type", "an assistant's content is made of text and refusals")
            texts.append(as_text(value.get(kind), f"{at}.{kind}"))
        return "\n".join(texts)

    def call(self, call: object, path: str) -> None:
        value = as_object(call, path)
        kind = text_or(value, "type", "function")
        if kind not in {"function", "custom"}:
            refuse(f"{path}.type", f"calls of type {kind!r} are not supported")
        inner = as_object(value.get(kind), f"{path}.{kind}")
        call_id = text_or(value, "id")
        name = as_text(inner.get("name"), f"{path}.{kind}.name")
        # A custom tool takes any text, which is kept as arguments that are no JSON.
        key = "arguments" if kind == "function" else "input"
        arguments = read_arguments(inner.get(key), f"{path}.{kind}.{key}")
        extra = unknown(value, ("id", "type", kind), ToolCall)
        self.names[call_id] = name
        self.items.append(
            build(ToolCall, path, tool_call_id=call_id, name=name, arguments=arguments, **extra)
        )

    def result(self, value: Wire, path: str) -> None:
        call_id = as_text(value.get("tool_call_id"), _at(path, "tool_call_id"))
        content = value.get("content")
        pieces: list[Part | str | JsonValue] = []
        if isinstance(content, str):
            pieces.append(content)
        else:
            place = _at(path, "content")
            for index, part in enumerate(as_list(content or [], place)):
                data = as_object(part, f"{place}[{index}]")
                known = _part(data, f"{place}[{index}]")
                pieces.append(known.text if isinstance(known, TextPart) else known or data)
        name = text_or(value, "name") or self.names.get(call_id, "")
        extra = unknown(value, ("role", "name"), ToolResult)
        result = build(ToolResult, path, tool_call_id=call_id, name=name, content=pieces, **extra)
        self.items.append(result)


def _part(value: Wire, path: str) -> Part | None:
    """Read a part of a user message; None for kinds that no part of ours can hold."""
    kind = value.get("type")
    if kind == "text":
        text = as_text(value.get("text"), f"{path}.text")
        return build(TextPart, path, text=text, **unknown(value, ("type", "text"), TextPart))
    if kind == "image_url":
        image = value.get("image_url")
        if isinstance(image, str):  # some servers take the bare URL
            image = {"url": image}
        fields = as_object(image, f"{path}.image_url")
        url = as_text(fields.get("url"), f"{path}.image_url.url")
        detail = fields.get("detail")
        found = split_data_url(url)
        if found is None:
            return build(ImagePart, path, url=url, detail=detail)
        return build(ImagePart, path, data=found[1], media_type=found[0] or None, detail=detail)
    if kind == "file":
        fields = as_object(value.get("file"), f"{path}.file")
        found = split_data_url(text_or(fields, "file_data"))
        if found is not None:
            name = text_or(fields, "filename") or None
            return build(FilePart, path, data=found[1], media_type=found[0] or None, name=name)
    return None


def _is_plain_system(item: Item) -> bool:
    return (
        isinstance(item, Message)
        and item.role == "system"
        and isinstance(item.content, str)
        and not item.__pydantic_extra__
    )


def _tool(tool: object, path: str) -> ToolDefinition:
    value = as_object(tool, path)
    if text_or(value, "type", "function") != "function":
        refuse(f"{path}.type", "tools of other types than function are not supported")
    function = as_object(value.get("function"), f"{path}.function")
    fields: dict[str, Any] = {
        "name": as_text(function.get("name"), f"{path}.function.name"),
        "description": text_or(function, "description"),
        **unknown(function, ("name", "description", "parameters"), ToolDefinition),
    }
    if function.get("parameters") is not None:
        fields["parameters"] = as_object(function["parameters"], f"{path}.function.parameters")
    return build(ToolDefinition, path, **fields)


def _tool_choice(choice: Any) -> JsonValue:
    if choice is None or isinstance(choice, str):
        return choice
    value = as_object(choice, "tool_choice")
    function = value.get("function")
    if set(value) == {"type", "function"} and isinstance(function, dict) and "name" in function:
        return {"name": as_text(function["name"], "tool_choice.function.name")}
    return value


def _usage(usage: Any) -> Usage | None:
    if usage is None:
        return None
    value = as_object(usage, "usage")
    read = as_object(value.get("prompt_tokens_details") or {}, "usage.prompt_tokens_details")
    made = as_object(
        value.get("completion_tokens_details") or {}, "usage.completion_tokens_details"
    )
    return build(
        Usage,
        "usage",
        input_tokens=as_count(value.get("prompt_tokens"), "usage.prompt_tokens"),
        output_tokens=as_count(value.get("completion_tokens"), "usage.completion_tokens"),
        cached_tokens=as_count(
            read.get("cached_tokens"), "usage.prompt_tokens_details.cached_tokens"
        ),
        cache_write_tokens=as_count(
            read.get("cache_write_tokens"), "usage.prompt_tokens_details.cache_write_tokens"
        ),
        reasoning_tokens=as_count(
            made.get("reasoning_tokens"), "usage.completion_tokens_details.reasoning_tokens"
        ),
    )


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
