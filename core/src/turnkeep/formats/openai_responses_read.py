"""How requests and responses of OpenAI Responses become items; losses are in `docs/formats.md`."""

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
    RAW,
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
from turnkeep.formats.openai_responses_render import NAME, OWN
from turnkeep.formats.profile import ParsedResponse, Wire

CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
OUTPUTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
KEPT: Final = ("id", "status", "phase")
"""Fields of the model's items that go back with them."""


def parse_request(body: object) -> Request:
    """Read a request body: instructions, input, tools, choice and model; other settings are not.

    Refused is a body whose history is with the provider: it cannot be read from here.
    """
    value = as_object(body, "")
    for key in ("previous_response_id", "conversation"):
        if value.get(key) is not None:
            refuse(key, "the history of this request is with the provider, not in it")
    reader = Reader()
    given = value.get("input")
    if isinstance(given, str):
        reader.items.append(Message(role="user", content=given))
    else:
        for index, item in enumerate(as_list(given, "input")):
            reader.item(item, f"input[{index}]")
    tools = [
        _tool(tool, f"tools[{index}]")
        for index, tool in enumerate(as_list(value.get("tools") or [], "tools"))
    ]
    model = value.get("model")
    return build(
        Request,
        "",
        instructions=text_or(value, "instructions"),
        contents=reader.items,
        tools=tools,
        tool_choice=_tool_choice(value.get("tool_choice")),
        model_id=None if model is None else as_text(model, "model"),
    )


def parse_response(body: object) -> ParsedResponse:
    """Read a response body. Refuses one that failed.

    One that met its limit or a filter is an answer, as with other providers; it is `partial` where
    a call in it was cut off, or where it has not ended.
    """
    value = as_object(body, "")
    status = text_or(value, "status", "completed")
    if status in {"failed", "cancelled"}:
        error = value.get("error")
        code = text_or(error, "code", "unknown") if isinstance(error, dict) else "unknown"
        refuse("status", f"the response {status}: {code}")
    reader = Reader()
    cut = status not in {"completed", "incomplete"}
    for index, item in enumerate(as_list(value.get("output"), "output")):
        reader.item(item, f"output[{index}]")
        if status == "incomplete" and isinstance(item, dict):
            calls = item.get("type") in {"function_call", "custom_tool_call"}
            cut = cut or (calls and item.get("status") == "incomplete")
    why = value.get("incomplete_details")
    reason = text_or(why, "reason", status) if isinstance(why, dict) else status
    return ParsedResponse(reader.items, _usage(value.get("usage")), reason, partial=cut)


class Reader:
    """Reads items in their order; what was read is in `items`."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.names: dict[str, str] = {}
        """The tool of the latest call with each id: outputs do not name it."""
        self.waiting: list[int] = []
        """Positions of reasoning whose follower has not come yet."""
        self.after: str | None = None
        """The id of the latest reasoning of the answer at hand."""

    def item(self, item: object, path: str) -> None:
        """Read one more. Raises ContentError with the path."""
        value = as_object(item, path)
        kind = text_or(value, "type") or ("message" if "role" in value else "")
        if not kind:
            refuse(f"{path}.type", "an item has a type")
        if kind == "message":
            role = as_text(value.get("role"), f"{path}.role")
            if role == "assistant":
                self._said(value, path)
            elif role in {"user", "system", "developer"}:
                self.end_answer()
                self._input(role, value, path)
            else:
                refuse(f"{path}.role", f"messages of role {role!r} are not supported")
        elif kind == "reasoning":
            self.waiting.append(len(self.items))
            self.after = text_or(value, "id") or None
            self.items.append(build(Reasoning, path, provider=NAME, data=value))
        elif kind in CALLS:
            self._call(value, kind, path)
        elif kind in OUTPUTS:
            self.end_answer()
            self._result(value, path)
        elif kind == "item_reference":
            refuse(path, "what this item refers to is with the provider, not in the request")
        elif kind.endswith(("_output", "_approval_response")):
            self.end_answer()
            self.items.append(
                build(Opaque, path, provider=NAME, kind=kind, data=value, role="user")
            )
        else:
            self._link(value)
            extra = {} if self.after is None else {OWN: {"after": self.after}}
            self.items.append(build(Opaque, path, provider=NAME, kind=kind, data=value, **extra))

    def end_answer(self) -> None:
        """Tie what comes to no reasoning before it."""
        self.waiting, self.after = [], None

    def _link(self, value: Wire, **about: object) -> dict[str, object]:
        """Tie an item of the model to the reasoning before it; give the extra field of the item."""
        kept = {key: value[key] for key in KEPT if isinstance(value.get(key), str)} | about
        if "id" in kept:
            for place in self.waiting:
                found = self.items[place]
                tied = {**(found.__pydantic_extra__ or {}), OWN: {"before": kept["id"]}}
                assert isinstance(found, Reasoning)
                self.items[place] = Reasoning(provider=NAME, data=found.data, **tied)
            if self.after is not None:
                kept["after"] = self.after
        self.waiting = []
        return {OWN: kept} if kept else {}

    def _said(self, value: Wire, path: str) -> None:
        extra = self._link(value)
        extra |= unknown(value, ("type", "role", "content", *KEPT), Message)
        content = value.get("content")
        if isinstance(content, str):
            message = build(Message, path, role="assistant", content=content, **extra)
            self.items.append(message)
            return
        parts: list[TextPart] = []
        for index, part in enumerate(as_list(content, f"{path}.content")):
            at = f"{path}.content[{index}]"
            found = as_object(part, at)
            kind = found.get("type")
            if kind == "refusal":
                text = as_text(found.get("refusal"), f"{at}.refusal")
                parts.append(build(TextPart, at, text=text, refusal=True))
            elif kind in ("output_text", "input_text", "text"):
                text = as_text(found.get("text"), f"{at}.text")
                noted = {"annotations": found["annotations"]} if found.get("annotations") else {}
                parts.append(build(TextPart, at, text=text, **noted))
            else:
                refuse(f"{at}.type", "an assistant's content is made of text and refusals")
        if len(parts) == 1:
            text, extra = parts[0].text, extra | (parts[0].__pydantic_extra__ or {})
            self.items.append(build(Message, path, role="assistant", content=text, **extra))
        else:
            self.items.append(build(Message, path, role="assistant", content=parts, **extra))

    def _call(self, value: Wire, kind: str, path: str) -> None:
        call_id = as_text(value.get("call_id"), f"{path}.call_id")
        name = as_text(value.get("name"), f"{path}.name")
        key = CALLS[kind]
        if kind == "function_call":
            arguments = read_arguments(value.get(key), f"{path}.{key}")
            extra = self._link(value)
        else:  # a custom tool takes any text, which goes out again as it came
            arguments = {RAW: as_text(value.get(key), f"{path}.{key}")}
            extra = self._link(value, custom=True)
        extra |= unknown(value, ("type", "call_id", "name", key, *KEPT), ToolCall)
        self.names[call_id] = name
        self.items.append(
            build(ToolCall, path, tool_call_id=call_id, name=name, arguments=arguments, **extra)
        )

    def _result(self, value: Wire, path: str) -> None:
        call_id = as_text(value.get("call_id"), f"{path}.call_id")
        output = value.get("output")
        pieces: list[Part | str | JsonValue] = []
        if isinstance(output, str):
            pieces.append(output)
        else:
            for index, part in enumerate(as_list(output, f"{path}.output")):
                at = f"{path}.output[{index}]"
                data = as_object(part, at)
                known = _part(data, at)
                pieces.append(known.text if isinstance(known, TextPart) else known or data)
        extra = unknown(value, ("type", "call_id", "output", "id", "status"), ToolResult)
        self.items.append(
            build(
                ToolResult,
                path,
                **{**extra, "tool_call_id": call_id, "name": self.names.get(call_id, "")},
                content=pieces,
            )
        )

    def _input(self, role: str, value: Wire, path: str) -> None:
        extra = unknown(value, ("type", "role", "content", "id", "status"), Message)
        content = value.get("content")
        if isinstance(content, str):
            self.items.append(build(Message, path, role=role, content=content, **extra))
            return
        run: list[Part] = []
        for index, part in enumerate(as_list(content, f"{path}.content")):
            at = f"{path}.content[{index}]"
            data = as_object(part, at)
            known = _part(data, at)
            if known is not None:
                run.append(known)
                continue
            if run:
                self.items.append(build(Message, path, role=role, content=run, **extra))
                run = []
            kind = as_text(data.get("type"), f"{at}.type")
            self.items.append(build(Opaque, at, provider=NAME, kind=kind, data=data, role="user"))
        if len(run) == 1 and isinstance(first := run[0], TextPart) and not first.__pydantic_extra__:
            self.items.append(build(Message, path, role=role, content=first.text, **extra))
        elif run or not content:
            self.items.append(build(Message, path, role=role, content=run, **extra))


def _part(value: Wire, path: str) -> Part | None:
    """Read a part of an input message or output; None for what no part of ours can hold."""
    kind = value.get("type")
    if kind in ("input_text", "output_text", "text"):
        text = as_text(value.get("text"), f"{path}.text")
        known = ("type", "text", "annotations", "logprobs")
        return build(TextPart, path, text=text, **unknown(value, known, TextPart))
    if kind == "input_image" and isinstance(value.get("image_url"), str):
        found = split_data_url(value["image_url"])
        detail = None if value.get("detail") == "auto" else value.get("detail")
        if found is None:
            return build(ImagePart, path, url=value["image_url"], detail=detail)
        return build(ImagePart, path, data=found[1], media_type=found[0] or None, detail=detail)
    if kind == "input_file" and isinstance(value.get("file_url"), str):
        return build(FilePart, path, url=value["file_url"])
    if kind == "input_file" and (found := split_data_url(text_or(value, "file_data"))) is not None:
        name = text_or(value, "filename") or None
        return build(FilePart, path, data=found[1], media_type=found[0] or None, name=name)
    return None


def _tool(tool: object, path: str) -> ToolDefinition:
    value = as_object(tool, path)
    kind = as_text(value.get("type"), f"{path}.type")
    if kind != "function":
        # The provider runs this tool, or it takes any text; only the provider knows the fields.
        name = text_or(value, "name", text_or(value, "server_label", kind))
        return build(ToolDefinition, path, name=name, **{OWN: value})
    fields: dict[str, Any] = {
        "name": as_text(value.get("name"), f"{path}.name"),
        "description": text_or(value, "description"),
        **unknown(value, ("type", "name", "description", "parameters"), ToolDefinition),
    }
    if fields.get("strict") is False:
        del fields["strict"]  # what is sent without being said
    if value.get("parameters") is not None:
        fields["parameters"] = as_object(value["parameters"], f"{path}.parameters")
    return build(ToolDefinition, path, **fields)


def _tool_choice(choice: Any) -> JsonValue:
    if choice is None or isinstance(choice, str):
        return choice
    value = as_object(choice, "tool_choice")
    if set(value) == {"type", "name"} and value["type"] == "function":
        return {"name": as_text(value["name"], "tool_choice.name")}
    return value


def _usage(usage: object) -> Usage | None:
    if usage is None:
        return None
    value = as_object(usage, "usage")
    read = as_object(value.get("input_tokens_details") or {}, "usage.input_tokens_details")
    made = as_object(value.get("output_tokens_details") or {}, "usage.output_tokens_details")
    return build(
        Usage,
        "usage",
        input_tokens=as_count(value.get("input_tokens"), "usage.input_tokens"),
        output_tokens=as_count(value.get("output_tokens"), "usage.output_tokens"),
        cached_tokens=as_count(
            read.get("cached_tokens"), "usage.input_tokens_details.cached_tokens"
        ),
        cache_write_tokens=as_count(
            read.get("cache_write_tokens"), "usage.input_tokens_details.cache_write_tokens"
        ),
        reasoning_tokens=as_count(
            made.get("reasoning_tokens"), "usage.output_tokens_details.reasoning_tokens"
        ),
    )
