"""What Anthropic Messages refuses: a request body is checked as the API would, by its wire form.

Nothing here is shared with the code that renders, so that a fault there cannot hide itself. Two
rules are stricter than the API: roles alternate, and the model's message is never the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from turnkeep.formats.profile import Violation

ID: Final = re.compile(r"[a-zA-Z0-9_-]+\Z")
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
THINKING: Final = frozenset({"thinking", "redacted_thinking"})
OF_USER: Final = frozenset({"tool_result", "image", "document", "search_result"})
OF_ASSISTANT: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"}) | THINKING
IN_RESULT: Final = frozenset({"text", "image", "document", "search_result", "tool_reference"})
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MAX_MARKERS: Final = 4


def check(body: Mapping[str, Any]) -> list[Violation]:
    """List what the API would refuse in a request body, in the order of its messages."""
    audit = _Audit()
    limit = body.get("max_tokens")
    if limit is not None and not (type(limit) is int and limit > 0):
        audit.report("wire", "max_tokens", "a whole number above 0")
    audit.tools(body.get("tools"), body.get("tool_choice"))
    if body.get("system") is not None:
        audit.system(body["system"])
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        audit.report("wire", "messages", "a request needs a list of messages that is not empty")
        return audit.found
    for index, message in enumerate(messages):
        audit.message(index, message)
    audit.end(messages)
    return audit.found


class _Audit:
    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.declared: set[str] | None = None
        self.markers = 0
        self.role = ""
        self.calls: dict[str, str] = {}
        """Every call id seen, with its place."""
        self.answered: set[str] = set()
        self.waiting: dict[str, str] = {}
        """Calls of the message before that have no result yet."""
        self.late: dict[str, str] = {}
        """Calls without a result in the message right behind them."""
        self.undeclared = False

    def report(self, rule: str, where: str, message: str) -> None:
        self.found.append(Violation(rule, where, message))

    def tools(self, tools: object, choice: object) -> None:
        if tools is None:
            if choice is not None:
                self.report("wire", "tool_choice", "tool_choice is only allowed beside tools")
            return
        if not isinstance(tools, list):
            self.report("wire", "tools", "tools is a list")
            return
        self.declared = set()
        for index, tool in enumerate(tools):
            where = f"tools[{index}]"
            name = _word(tool, "name")
            if not isinstance(tool, dict) or not NAME.match(name):
                self.report("wire", where, "a tool needs a name of 1 to 128 letters, digits, _, -")
                continue
            if name in self.declared:
                self.report("wire", where, f"the tool {name} is declared twice")
            self.declared.add(name)
            self.marker(tool, where)
            if _word(tool, "type") in {"", "custom"}:  # others are run by the provider
                schema = tool.get("input_schema")
                if _word(schema, "type") != "object":
                    self.report("wire", f"{where}.input_schema", 'a schema of type "object"')
        if choice is None:
            return
        kind = _word(choice, "type")
        if kind == "tool" and _word(choice, "name") not in self.declared:
            self.report("R8", "tool_choice", "the tool that is forced is not declared")
        elif kind not in {"auto", "any", "tool", "none"}:
            self.report("wire", "tool_choice", "not an object of type auto, any, tool or none")

    def system(self, system: object) -> None:
        if isinstance(system, str):
            self.text(system, "system")
            return
        if not isinstance(system, list):
            self.report("wire", "system", "system is a text or a list of text blocks")
            return
        for index, block in enumerate(system):
            where = f"system[{index}]"
            if not isinstance(block, dict) or block.get("type") != "text":
                self.report("wire", where, "system holds text blocks only")
                continue
            self.text(block.get("text"), where)
            self.marker(block, where)

    def text(self, text: object, where: str) -> None:
        if not isinstance(text, str):
            self.report("wire", where, "a text block needs its text")
        elif not text or text.isspace():
            self.report("R6", where, "text content blocks must contain non-whitespace text")

    def marker(self, block: Mapping[str, Any], where: str) -> None:
        marker = block.get("cache_control")
        if marker is None:
            return
        self.markers += 1
        if _word(marker, "type") != "ephemeral":
            self.report("wire", f"{where}.cache_control", 'not of type "ephemeral"')
        elif _word(block, "type") in THINKING:
            self.report("wire", f"{where}.cache_control", "thinking cannot be marked")

    def message(self, index: int, message: object) -> None:
        where = f"messages[{index}]"
        role = _word(message, "role")
        if not isinstance(message, dict) or role not in {"user", "assistant"}:
            self.report("wire", where, "not a message of role user or assistant")
            return
        if index == 0 and role != "user":
            self.report("R4", where, "the first message is the model's")
        if role == self.role:
            self.report("wire", where, f"roles must alternate, and {role} stands twice")
        self.role = role
        if role == "assistant":
            self.late.update(self.waiting)
            self.waiting = {}
        for field in message.keys() - {"role", "content"}:
            self.report("wire", f"{where}.{field}", "extra inputs are not permitted")
        content = message.get("content")
        if isinstance(content, str):
            self.text(content, f"{where}.content")
        elif not isinstance(content, list):
            self.report("wire", f"{where}.content", "content is a text or a list of blocks")
        elif not content:
            self.report("R6", f"{where}.content", "the list of blocks is empty")
        elif role == "user":
            self.user_blocks(content, f"{where}.content")
        else:
            self.assistant_blocks(content, f"{where}.content")
        if role == "user":
            self.late.update(self.waiting)
            self.waiting = {}

    def user_blocks(self, content: list[Any], where: str) -> None:
        other = False
        for index, block in enumerate(content):
            place = f"{where}[{index}]"
            kind = _word(block, "type")
            if kind == "tool_result":
                self.result(block, place, behind=other)
            else:
                other = True
                if kind in THINKING:
                    self.report("R9", place, "thinking stands in the model's messages only")
                elif kind in OF_ASSISTANT:
                    self.report("wire", place, f"a user message holds no {kind}")
                else:
                    self.block(block, kind, place)
            if isinstance(block, dict):
                self.marker(block, place)

    def assistant_blocks(self, content: list[Any], where: str) -> None:
        thinking = False
        for index, block in enumerate(content):
            place = f"{where}[{index}]"
            kind = _word(block, "type")
            if kind == "tool_use":
                self.call(block, place)
            elif kind in THINKING:
                thinking = True
                self.thinking(block, kind, place)
            elif kind in OF_USER:
                self.report("wire", place, f"the model's message holds no {kind}")
            else:
                self.block(block, kind, place)
            if isinstance(block, dict):
                self.marker(block, place)
        if thinking and _word(content[0], "type") not in THINKING:
            self.report("R9", f"{where}[0]", "a message with thinking must begin with it")
        if _word(content[-1], "type") in THINKING:
            self.report("R9", f"{where}[{len(content) - 1}]", "the final block cannot be thinking")

    def block(self, block: object, kind: str, place: str) -> None:
        """Check a block that either role may have; kinds that are not known here pass."""
        if not isinstance(block, dict) or not kind:
            self.report("wire", place, "a block is an object with a type")
        elif kind == "text":
            self.text(block.get("text"), place)
        elif kind in {"image", "document"}:
            self.source(block, kind, f"{place}.source")

    def source(self, block: Mapping[str, Any], kind: str, place: str) -> None:
        source = block.get("source")
        form = _word(source, "type")
        if not isinstance(source, dict) or not form:
            self.report("wire", place, f"a block of type {kind} needs a source with a type")
        elif form == "url" and not _word(source, "url"):
            self.report("wire", place, "a source of type url needs its url")
        elif form == "base64":
            said = _word(source, "media_type")
            known = said in IMAGE_TYPES if kind == "image" else said == "application/pdf"
            if not known or not _word(source, "data"):
                self.report("wire", place, f"no data, or a media type that no {kind} has: {said!r}")
        elif form == "text" and not _word(source, "data").strip():
            self.report("R6", place, "the document is empty")

    def call(self, block: Mapping[str, Any], place: str) -> None:
        call_id, name = _word(block, "id"), _word(block, "name")
        if not NAME.match(name):
            self.report("wire", f"{place}.name", "a name is 1 to 128 letters, digits, _, -")
        elif self.declared is None:
            if not self.undeclared:
                self.undeclared = True
                self.report("R8", place, "requests which include tool_use must define tools")
        elif name not in self.declared:
            self.report("R8", f"{place}.name", f"the tool {name} is not declared")
        if not isinstance(block.get("input"), dict):
            self.report("wire", f"{place}.input", "the input of a call is an object")
        if not ID.match(call_id):
            self.report("wire", f"{place}.id", "an id is made of letters, digits, _ and -")
        if call_id in self.calls:
            self.report("R7", f"{place}.id", f"the id is used at {self.calls[call_id]} too")
        self.calls[call_id] = place
        self.answered.discard(call_id)
        self.waiting[call_id] = place

    def thinking(self, block: Mapping[str, Any], kind: str, place: str) -> None:
        if kind == "redacted_thinking":
            whole = bool(_word(block, "data"))
        else:
            whole = isinstance(block.get("thinking"), str) and bool(_word(block, "signature"))
        if not whole:
            self.report("R9", place, "the block is not as the model made it: its seal is missing")

    def result(self, block: Mapping[str, Any], place: str, *, behind: bool) -> None:
        call_id = _word(block, "tool_use_id")
        if self.waiting.pop(call_id, None) is not None:
            self.answered.add(call_id)
            if behind:
                self.report("R3", place, "results must stand before all else in their message")
        elif self.late.pop(call_id, None) is not None:
            self.answered.add(call_id)
            self.report("R3", place, "this result is not in the message right behind its call")
        elif call_id in self.answered:
            self.report("R1", place, "this call has a result already")
        else:
            self.report("R1", place, "no call before has this id")
        if type(block.get("is_error", False)) is not bool:
            self.report("wire", f"{place}.is_error", "is_error is true or false")
        content = block.get("content")
        if isinstance(content, str):
            self.text(content, f"{place}.content")
        elif isinstance(content, list):
            for index, inner in enumerate(content):
                at = f"{place}.content[{index}]"
                kind = _word(inner, "type")
                if kind not in IN_RESULT:
                    self.report("wire", at, f"a result holds no {kind or 'such thing'}")
                    continue
                self.block(inner, kind, at)
                self.marker(inner, at)
        elif content is not None:
            self.report("wire", f"{place}.content", "content is a text or a list of blocks")

    def end(self, messages: list[Any]) -> None:
        for place in (*self.late.values(), *self.waiting.values()):
            self.report("R2", place, "tool_use without tool_result immediately after")
        if _word(messages[-1], "role") == "assistant":
            self.report("R5", f"messages[{len(messages) - 1}]", "the last message is the model's")
        if self.markers > MAX_MARKERS:
            self.report("wire", "cache_control", f"{self.markers} markers, at most 4 are allowed")


def _word(value: object, key: str) -> str:
    """Give a text inside an object, or "" where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
