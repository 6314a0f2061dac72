"""What OpenAI Chat refuses: a request body is checked as the API would, by its wire form alone.

Nothing here is shared with the code that renders, so that a fault there cannot hide itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from turnkeep.formats.profile import Violation

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
FIELDS: Final = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset(
        {"role", "content", "name", "tool_calls", "refusal", "audio", "function_call"}
    ),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}
REASONING_FIELDS: Final = frozenset(
    {"reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks"}
)
PARTS: Final = {
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "tool": frozenset({"text"}),
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
}
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
MAX_TOOLS: Final = 128
MAX_ID: Final = 40
MAX_CACHE_KEY: Final = 64


def check(body: Mapping[str, Any]) -> list[Violation]:
    """List what the API would refuse in a request body, in the order of its messages."""
    audit = _Audit()
    audit.tools(body.get("tools"), body.get("tool_choice"))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        audit.report("wire", "messages", "a request needs a list of messages that is not empty")
        return audit.found
    for index, message in enumerate(messages):
        audit.message(index, message)
    audit.end(messages)
    key = body.get("prompt_cache_key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_CACHE_KEY):
        audit.report("wire", "prompt_cache_key", "a cache key is a text of at most 64 characters")
    return audit.found


class _Audit:
    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.declared: set[str] | None = None
        self.calls: dict[str, str] = {}
        """Every call id seen, with its place."""
        self.answered: set[str] = set()
        self.waiting: dict[str, str] = {}
        """Calls of the latest assistant message that have no result yet."""
        self.late: dict[str, str] = {}
        """Calls without a result when another message came."""
        self.started = False

    def report(self, rule: str, where: str, message: str) -> None:
        self.found.append(Violation(rule, where, message))

    def tools(self, tools: object, choice: object) -> None:
        if tools is None:
            if choice is not None:
                self.report("wire", "tool_choice", "tool_choice is only allowed beside tools")
            return
        if not isinstance(tools, list) or not tools:
            self.report("wire", "tools", "tools is a list that is not empty, or absent")
            return
        if len(tools) > MAX_TOOLS:
            self.report("wire", "tools", f"{len(tools)} tools, at most {MAX_TOOLS} are allowed")
        self.declared = set()
        for index, tool in enumerate(tools):
            where = f"tools[{index}]"
            kind = _word(tool, "type")
            inner = tool.get(kind) if kind in {"function", "custom"} else None
            name = _word(inner, "name")
            if not isinstance(inner, dict) or not NAME.match(name):
                self.report("wire", where, "a tool needs a type, and a name of up to 64 [\\w-]")
                continue
            if name in self.declared:
                self.report("wire", where, f"the tool {name} is declared twice")
            self.declared.add(name)
            if not isinstance(inner.get("parameters", {}), dict):
                self.report("wire", f"{where}.function.parameters", "not a JSON Schema object")
        if isinstance(choice, dict):
            function = choice.get("function")
            if choice.get("type") == "function" and _word(function, "name") not in self.declared:
                self.report("R8", "tool_choice", "the tool that is forced is not declared")
        elif choice is not None and choice not in ("auto", "none", "required"):
            self.report("wire", "tool_choice", "not one of auto, none, required, or an object")

    def message(self, index: int, message: object) -> None:
        where = f"messages[{index}]"
        role = _word(message, "role")
        if not isinstance(message, dict) or role not in ROLES:
            self.report("wire", where, "not a message of a known role")
            return
        if role != "tool" and self.waiting:
            self.late.update(self.waiting)
            self.waiting = {}
        if not self.started and role not in {"system", "developer"}:
            self.started = True
            if role != "user":
                self.report("R4", where, f"the first message is of role {role}, not user")
        if not message.keys() <= FIELDS[role]:
            for field in message.keys() - FIELDS[role]:
                if field in REASONING_FIELDS:
                    self.report("R9", f"{where}.{field}", "reasoning is not taken back")
                else:
                    self.report("wire", f"{where}.{field}", f"no field of a {role} message")
        calls = message.get("tool_calls")
        content = message.get("content")
        if content is not None:
            self.content(role, content, f"{where}.content")
        elif role != "assistant" or not (
            calls or message.get("refusal") or message.get("audio") or message.get("function_call")
        ):
            self.report("R6", f"{where}.content", "content is required here")
        if role == "tool":
            self.result(message.get("tool_call_id"), where)
        elif calls is not None:
            self.tool_calls(calls, where)

    def content(self, role: str, content: object, where: str) -> None:
        if isinstance(content, str):
            if not content or content.isspace():
                self.report("R6", where, "the text is empty or only white space")
            return
        if not isinstance(content, list):
            self.report("wire", where, "content is a text or a list of parts")
            return
        if not content:
            self.report("R6", where, "the list of parts is empty")
        for index, part in enumerate(content):
            place = f"{where}[{index}]"
            kind = _word(part, "type")
            if kind in {"thinking", "redacted_thinking", "reasoning"}:
                self.report("R9", place, "reasoning is not taken back")
            elif kind not in PARTS[role]:
                self.report("wire", place, f"a {role} message has no parts of type {kind!r}")
            elif kind in {"text", "refusal"}:
                text = part.get(kind)
                if not isinstance(text, str):
                    self.report("wire", place, "a text part needs its text")
                elif not text or text.isspace():
                    self.report("R6", place, "the text is empty or only white space")
            elif kind == "image_url":
                image = part.get("image_url")
                url = image.get("url") if isinstance(image, dict) else None
                if not isinstance(url, str) or not url:
                    self.report("wire", place, "a picture needs image_url.url")
            elif not isinstance(part.get(kind), dict):
                self.report("wire", place, f"a part of type {kind} needs its object {kind}")

    def tool_calls(self, calls: object, where: str) -> None:
        if not isinstance(calls, list) or not calls:
            self.report("wire", f"{where}.tool_calls", "a list of calls that is not empty")
            return
        for index, call in enumerate(calls):
            place = f"{where}.tool_calls[{index}]"
            if not isinstance(call, dict):
                self.report("wire", place, "a call is an object")
                continue
            self.function(call, place)
            call_id = call.get("id")
            if not isinstance(call_id, str) or not call_id or call_id.isspace():
                self.report("wire", f"{place}.id", "a call needs an id")
                continue
            if len(call_id) > MAX_ID:
                self.report("wire", f"{place}.id", f"an id has at most {MAX_ID} characters")
            if call_id in self.calls:
                self.report("R7", f"{place}.id", f"the id is used at {self.calls[call_id]} too")
            self.calls[call_id] = place
            self.answered.discard(call_id)
            self.waiting[call_id] = place

    def function(self, call: Mapping[str, Any], place: str) -> None:
        function = call.get("function")
        if call.get("type") != "function" or not isinstance(function, dict):
            self.report("wire", place, 'a call has type "function" and an object function')
            return
        name = function.get("name")
        if not isinstance(name, str) or not NAME.match(name):
            self.report("wire", f"{place}.function.name", "a name is 1 to 64 letters, digits, _, -")
        elif self.declared is not None and name not in self.declared:
            self.report("R8", f"{place}.function.name", f"the tool {name} is not declared")
        arguments = function.get("arguments")
        if not isinstance(arguments, str) or not _is_json_object(arguments):
            self.report("wire", f"{place}.function.arguments", "not the JSON text of an object")

    def result(self, call_id: object, where: str) -> None:
        if not isinstance(call_id, str) or not call_id:
            self.report("wire", f"{where}.tool_call_id", "a tool message names its call")
        elif self.waiting.pop(call_id, None) is not None:
            self.answered.add(call_id)
        elif self.late.pop(call_id, None) is not None:
            self.answered.add(call_id)
            self.report("R3", where, "this result stands apart from its call and its siblings")
        elif call_id in self.answered:
            self.report("R1", where, "this call has a result already")
        else:
            self.report("R1", where, "no call before has this id")

    def end(self, messages: list[Any]) -> None:
        for place in (*self.late.values(), *self.waiting.values()):
            self.report("R2", place, "no tool message responds to this call")
        if not self.started:
            self.report("R4", "messages", "there is no user message")
        if _word(messages[-1], "role") == "assistant":
            self.report("R5", f"messages[{len(messages) - 1}]", "the last message is the model's")


def _word(value: object, key: str) -> str:
    """Give a text inside an object, or "" where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_no_constant), dict)
    except (ValueError, RecursionError):
        return False
