"""How requests and responses of Gemini become items; what is lost is in `docs/formats.md`.

Fields are read as the REST API spells them ("functionCall") and as SDKs do ("function_call", with
bytes where JSON has base64).
"""

from __future__ import annotations

import base64
import re
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
)
from turnkeep.formats.gemini_render import NAME, OWN, PLACEHOLDER, SIGNATURE
from turnkeep.formats.gemini_schema import plain_types
from turnkeep.formats.profile import ParsedResponse, Wire, is_blank

BESIDE: Final = (SIGNATURE, "thought", "partMetadata", "videoMetadata", "mediaResolution")
"""Fields of a part beside the one that says what it is."""
_SNAKE: Final = re.compile(r"_([a-z])")


def parse_request(body: object) -> Request:
    """Read a request body: system text, contents, tools and choice; other settings are not kept."""
    value = as_object(body, "")
    texts = _system(_field(value, "systemInstruction"))
    reader = _Reader("call")
    reader.items += [Message(role="system", content=text) for text in texts[1:]]
    for index, content in enumerate(as_list(value.get("contents"), "contents")):
        reader.content(content, f"contents[{index}]")
    tools: list[ToolDefinition] = []
    for index, tool in enumerate(as_list(value.get("tools") or [], "tools")):
        tools += _tools(tool, f"tools[{index}]")
    model = value.get("model")
    return build(
        Request,
        "",
        instructions=texts[0] if texts else "",
        contents=reader.items,
        tools=tools,
        tool_choice=_tool_choice(_field(value, "toolConfig")),
        model_id=None if model is None else as_text(model, "model").removeprefix("models/"),
    )


def parse_response(body: object) -> ParsedResponse:
    """Read the first candidate of a response body, or a bare content of the model."""
    value = as_object(body, "")
    if "candidates" not in value and value.get("role") == "model":
        reader = _Reader("call")
        reader.content(value, "")
        return ParsedResponse(reader.items, None, None)
    candidates = as_list(value.get("candidates") or [], "candidates")
    if not candidates:
        blocked = _field(value, "promptFeedback") or {}
        why = _field(as_object(blocked, "promptFeedback"), "blockReason")
        told = f" (blocked: {why})" if isinstance(why, str) else ""
        refuse("candidates", f"the response holds no answer{told}")
    first = as_object(candidates[0], "candidates[0]")
    name = _field(value, "responseId")
    # Calls may come without ids: those of one session are best told apart by their response.
    reader = _Reader(f"call-{name}" if isinstance(name, str) and name else "call")
    content = first.get("content")
    if content is not None:
        said = {**as_object(content, "candidates[0].content"), "role": "model"}
        reader.content(said, "candidates[0].content")
    finish = _field(first, "finishReason")
    usage = _usage(_field(value, "usageMetadata"))
    return ParsedResponse(
        reader.items, usage, None if finish is None else str(getattr(finish, "value", finish))
    )


class _Reader:
    def __init__(self, prefix: str) -> None:
        self.items: list[Item] = []
        self.prefix = prefix
        self.number = 0
        self.names: dict[str, str] = {}
        """The tool of the latest call with each id."""
        self.unnamed: list[tuple[str, str]] = []
        """Name and made-up id of calls without an id that have no response yet."""
        self.run: list[Part] = []

    def content(self, content: object, path: str) -> None:
        value = as_object(content, path)
        role = text_or(value, "role", "user")
        if role not in {"user", "model", "function"}:
            refuse(_at(path, "role"), f"contents of role {role!r} are not supported")
        place = _at(path, "parts")
        for index, part in enumerate(as_list(value.get("parts") or [], place)):
            at = f"{place}[{index}]"
            found = _plain_part(as_object(part, at))
            if role == "model":
                self.model_part(found, at)
            else:
                self.user_part(found, at)
        self.end_run(path)

    def end_run(self, path: str) -> None:
        """Make one message of the parts that stand together; a single text becomes its content."""
        if not self.run:
            return
        content: object = self.run
        if len(self.run) == 1 and isinstance(part := self.run[0], TextPart):
            content = part.text
        self.items.append(build(Message, path, role="user", content=content))
        self.run = []

    def model_part(self, part: Wire, path: str) -> None:
        beside: Wire = {key: part[key] for key in BESIDE if key in part}
        text = part.get("text")
        if "functionCall" in part:
            self.call(as_object(part["functionCall"], f"{path}.functionCall"), beside, path)
        elif isinstance(text, str) and part.get("thought") is True:
            self.items.append(build(Reasoning, path, provider=NAME, data=part))
        elif isinstance(text, str) and SIGNATURE in part and is_blank(text):
            # Streams end so. Kept as it is: an empty message would be left out of requests.
            self.items.append(build(Opaque, path, provider=NAME, kind="signature", data=part))
        elif isinstance(text, str):
            beside.pop("thought", None)
            extra = {OWN: {"part": beside}} if beside else {}
            self.items.append(build(Message, path, role="assistant", content=text, **extra))
        else:
            self.opaque(part, path)

    def user_part(self, part: Wire, path: str) -> None:
        if "functionResponse" in part:
            self.end_run(path)
            response = as_object(part["functionResponse"], f"{path}.functionResponse")
            self.result(response, f"{path}.functionResponse")
            return
        known = _media(part, path)
        if known is None and isinstance(part.get("text"), str) and not part.keys() - {"text"}:
            known = TextPart(text=part["text"])
        if known is not None:
            self.run.append(known)
            return
        self.end_run(path)
        self.opaque(part, path, role="user")

    def opaque(self, part: Wire, path: str, **extra: str) -> None:
        kind = next((key for key in part if key not in BESIDE), None)
        if kind is None:
            refuse(path, "a part says what it is")
        self.items.append(build(Opaque, path, provider=NAME, kind=kind, data=part, **extra))

    def call(self, call: Wire, beside: Wire, path: str) -> None:
        name = as_text(call.get("name"), f"{path}.functionCall.name")
        call_id, about = text_or(call, "id"), dict[str, object]()
        if not call_id:
            self.number += 1
            call_id = f"{self.prefix}-{self.number}"
            self.unnamed.append((name, call_id))
            about["id"] = False
        if beside.get(SIGNATURE) == PLACEHOLDER:  # ours, and made anew where it is needed
            del beside[SIGNATURE]
        if beside:
            about["part"] = beside
        arguments = read_arguments(call.get("args"), f"{path}.functionCall.args")
        extra = {OWN: about} if about else {}
        self.names[call_id] = name
        self.items.append(
            build(ToolCall, path, tool_call_id=call_id, name=name, arguments=arguments, **extra)
        )

    def result(self, value: Wire, path: str) -> None:
        name, call_id = text_or(value, "name"), text_or(value, "id")
        if not call_id:
            call_id = self.take_unnamed(name)
        response = as_object(value.get("response") or {}, f"{path}.response")
        status, about, said = "success", dict[str, object](), [response]
        if set(response) == {"error"}:
            status, said = "error", [response["error"]]
        elif set(response) in ({"output"}, {"result"}):
            [key] = response
            said = [response[key]]
            if key == "result":
                about["key"] = key
        else:
            about["bare"] = True
        pieces: list[Part | JsonValue] = [*said]
        for index, part in enumerate(as_list(value.get("parts") or [], f"{path}.parts")):
            at = f"{path}.parts[{index}]"
            data = _plain_part(as_object(part, at))
            pieces.append(_media(data, at) or data)
        extra = {OWN: about} if about else {}
        self.items.append(
            build(
                ToolResult,
                path,
                tool_call_id=call_id,
                name=name or self.names.get(call_id, ""),
                status=status,
                content=pieces,
                **extra,
            )
        )

    def take_unnamed(self, name: str) -> str:
        """Give the id of the earliest open call of this name that came without one."""
        for place, (called, call_id) in enumerate(self.unnamed):
            if called == name:
                del self.unnamed[place]
                return call_id
        return name or "call"


def _field(value: Wire, name: str) -> Any:
    """Give a field as the REST API spells it, or else as SDKs do."""
    found = value.get(name)
    return value.get(re.sub(r"([A-Z])", r"_\1", name).lower()) if found is None else found


def _plain_part(part: Wire) -> Wire:
    """Give a part as the REST API has it, without the fields that an SDK left empty."""
    made: Wire = {}
    for key, value in part.items():
        if value is None or (key == "thought" and value is False):
            continue
        name = _SNAKE.sub(lambda found: found.group(1).upper(), str(key))
        if isinstance(value, dict):
            inner = {
                _SNAKE.sub(lambda found: found.group(1).upper(), str(below)): _bytes(deep)
                for below, deep in value.items()
                if deep is not None
            }
            made[name] = inner
        else:
            made[name] = _bytes(value)
    return made


def _bytes(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _media(part: Wire, path: str) -> Part | None:
    """Read a picture or document; None for what no part of ours can hold."""
    if len(part) != 1:
        return None
    [(kind, blob)] = part.items()
    if kind not in {"inlineData", "fileData"} or not isinstance(blob, dict):
        return None
    source = "data" if kind == "inlineData" else "fileUri"
    if blob.keys() - {"mimeType", source}:
        return None
    mime = blob.get("mimeType")
    fields = {
        "data" if kind == "inlineData" else "url": as_text(blob.get(source), f"{path}.{kind}"),
        "media_type": mime if isinstance(mime, str) else None,
    }
    picture = isinstance(mime, str) and mime.startswith("image/")
    return build(ImagePart, path, **fields) if picture else build(FilePart, path, **fields)


def _system(system: object) -> list[str]:
    if system is None:
        return []
    if isinstance(system, str):
        return [system] if system else []
    path = "systemInstruction.parts"
    parts = as_list(as_object(system, "systemInstruction").get("parts") or [], path)
    return [
        as_text(as_object(part, f"{path}[{index}]").get("text"), f"{path}[{index}].text")
        for index, part in enumerate(parts)
    ]


def _tools(tool: object, path: str) -> list[ToolDefinition]:
    value = as_object(tool, path)
    declared = _field(value, "functionDeclarations")
    if declared is None:
        whole = _plain_part(value)
        name = next(iter(whole), "")
        # The provider runs this tool itself; only it knows the fields.
        return [build(ToolDefinition, path, name=name, **{OWN: whole})]
    made = []
    for index, function in enumerate(as_list(declared, f"{path}.functionDeclarations")):
        at = f"{path}.functionDeclarations[{index}]"
        found = as_object(function, at)
        fields: dict[str, Any] = {
            "name": as_text(found.get("name"), f"{at}.name"),
            "description": text_or(found, "description"),
        }
        schema = _field(found, "parametersJsonSchema")
        if schema is None and found.get("parameters") is not None:
            schema = plain_types(as_object(found["parameters"], f"{at}.parameters"))
        if schema is not None:
            fields["parameters"] = as_object(schema, f"{at}.parameters")
        made.append(build(ToolDefinition, at, **fields))
    return made


def _tool_choice(config: Any) -> JsonValue:
    if config is None:
        return None
    value = as_object(config, "toolConfig")
    calling = _field(value, "functionCallingConfig")
    mode = calling.get("mode") if isinstance(calling, dict) else None
    if len(value) == 1 and isinstance(calling, dict) and isinstance(mode, str):
        words = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
        if set(calling) == {"mode"} and mode in words:
            return words[mode]
        names = _field(calling, "allowedFunctionNames")
        if len(calling) == 2 and mode == "ANY" and isinstance(names, list) and len(names) == 1:
            return {"name": as_text(names[0], "toolConfig")}
    return value


def _usage(usage: object) -> Usage | None:
    """Read usage; thoughts are output, and what tools of the provider read is input."""
    if usage is None:
        return None
    value = as_object(usage, "usageMetadata")
    prompt, tools, cached, said, thought = (
        as_count(_field(value, key), f"usageMetadata.{key}")
        for key in (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        )
    )
    return build(
        Usage,
        "usageMetadata",
        input_tokens=prompt + tools,
        output_tokens=said + thought,
        cached_tokens=cached,
        reasoning_tokens=thought,
    )


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
