"""What OpenAI Responses refuses: a request body is checked as the API would, by its wire form.

Nothing here is shared with the code that renders, so that a fault there cannot hide itself. It is
stricter than the API: results stand together behind their calls (some servers that speak this
format pair them by position), ids of the model's items are sent with their reasoning only, and no
text is empty. The API's own sentences begin with a capital letter; docs/design/validity.md says
where they were found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from turnkeep.formats.profile import Violation

NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
MAX_TOOLS: Final = 128
MAX_ID: Final = 64
MAX_CACHE_KEY: Final = 64
CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
OUTPUTS: Final = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
}
PREFIXES: Final = {"function_call": "fc", "message": "msg", "reasoning": "rs"}
TEXTS: Final = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
OF_ASSISTANT: Final = frozenset({"output_text", "refusal"})
OF_INPUT: Final = frozenset({"input_text", "input_image", "input_file", "input_audio"})
SOURCES: Final = {
    "input_image": ("image_url", "file_id"),
    "input_file": ("file_data", "file_url", "file_id"),
    "input_audio": ("input_audio",),
}


def check(body: Mapping[str, Any]) -> list[Violation]:
    """List what the API would refuse in a request body, in the order of its items."""
    audit = _Audit(stored=body.get("store") is not False)
    audit.tools(body.get("tools"), body.get("tool_choice"))
    if body.get("instructions") is not None:
        audit.text(body["instructions"], "instructions")
    limit = body.get("max_output_tokens")
    if limit is not None and not (type(limit) is int and limit > 0):
        audit.report("wire", "max_output_tokens", "a whole number above 0")
    key = body.get("prompt_cache_key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_CACHE_KEY):
        audit.report("wire", "prompt_cache_key", "a cache key is a text of at most 64 characters")
    items = body.get("input")
    if not isinstance(items, list) or not items:
        audit.report("wire", "input", "a request needs a list of input items that is not empty")
        return audit.found
    for index, item in enumerate(items):
        audit.item(item, f"input[{index}]")
    audit.end(f"input[{len(items) - 1}]")
    return audit.found


class _Audit:
    def __init__(self, *, stored: bool) -> None:
        self.found: list[Violation] = []
        self.stored = stored
        self.declared: set[str] | None = None
        self.calls: dict[str, str] = {}
        """Every call id seen, with its place."""
        self.kinds: dict[str, str] = {}
        self.answered: set[str] = set()
        self.waiting: dict[str, str] = {}
        """Calls of the latest answer that have no output yet."""
        self.late: dict[str, str] = {}
        """Calls without output when something else came."""
        self.side = ""
        """Who spoke last: "input", "assistant", "output"."""
        self.started = False
        self.thought = ""
        """The place of a reasoning item that waits for the item it belongs to."""
        self.reasoned = False
        """Whether the answer at hand holds reasoning."""

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
            kind, name = _word(tool, "type"), _word(tool, "name")
            if not isinstance(tool, dict) or not kind:
                self.report("wire", where, "a tool needs a type")
                continue
            if kind not in {"function", "custom"}:  # the provider runs it, and it has no name
                continue
            if not NAME.match(name):
                self.report("wire", where, "a tool needs a name of 1 to 128 letters, digits, _, -")
                continue
            if name in self.declared:
                self.report("wire", where, f"the tool {name} is declared twice")
            self.declared.add(name)
            if kind == "function" and not isinstance(tool.get("parameters"), dict | None):
                self.report("wire", f"{where}.parameters", "not a JSON Schema object")
        if isinstance(choice, dict):
            forced = _word(choice, "type") in {"function", "custom"}
            if forced and _word(choice, "name") not in self.declared:
                self.report("R8", "tool_choice", "the tool that is forced is not declared")
        elif choice is not None and choice not in ("auto", "none", "required"):
            self.report("wire", "tool_choice", "not one of auto, none, required, or an object")

    def text(self, text: object, where: str) -> None:
        if not isinstance(text, str):
            self.report("wire", where, "a text is needed here")
        elif not text or text.isspace():
            self.report("R6", where, "the text is empty or only white space")

    def item(self, item: object, where: str) -> None:
        kind = _word(item, "type") or ("message" if _word(item, "role") else "")
        if not isinstance(item, dict) or not kind:
            self.report("wire", where, "an input item is an object with a type")
            return
        role = _word(item, "role") if kind == "message" else ""
        if kind in OUTPUTS:
            self.turn("output", where, "")
            self.output(item, kind, where)
        elif (kind == "message" and role != "assistant") or kind.endswith(
            ("_output", "_approval_response")
        ):
            self.turn("input", where, role)
            if kind == "message":
                self.input(item, role, where)
        else:
            self.turn("assistant", where, role)
            self.answer(item, kind, where)

    def turn(self, side: str, where: str, role: str) -> None:
        """Note whose item comes; calls that nobody has answered by then are late."""
        if self.thought and side != "assistant":
            self.report(
                "R9",
                self.thought,
                "the item of type 'reasoning' was provided without its required following item",
            )
            self.thought = ""
        if side == "input" or (side == "assistant" and self.side != "assistant"):
            self.late.update(self.waiting)
            self.waiting = {}
        if side != "assistant":
            self.reasoned = False
        self.side = side
        if not self.started and role not in {"system", "developer"}:
            self.started = True
            if role != "user":
                self.report("R4", where, "the first item is no user message")

    def answer(self, item: Mapping[str, Any], kind: str, where: str) -> None:
        name = item.get("id")
        prefix = PREFIXES.get(kind, "")
        if name is not None:
            if not isinstance(name, str) or not name.startswith(prefix) or len(name) > MAX_ID:
                self.report(
                    "wire", f"{where}.id", f"Expected an ID that begins with '{prefix}', at most 64"
                )
            if kind in {"message", *CALLS} and not self.reasoned:
                self.report(
                    "R9", f"{where}.id", f"{kind} was provided without its required reasoning item"
                )
        if kind == "reasoning":
            self.reasoning(item, where)
            self.thought, self.reasoned = where, True
            return
        self.thought = ""
        if kind in CALLS:
            self.call(item, kind, where)
        elif kind == "message":
            self.content(item.get("content"), OF_ASSISTANT, f"{where}.content")
        elif kind == "item_reference" and not self.stored:
            self.report("wire", where, "Items are not persisted when `store` is set to false")

    def reasoning(self, item: Mapping[str, Any], where: str) -> None:
        if not _word(item, "id") or not isinstance(item.get("summary"), list):
            self.report("R9", where, "reasoning is not as the model made it: id or summary missing")
        elif not self.stored and not _word(item, "encrypted_content"):
            self.report(
                "R9",
                where,
                "Items are not persisted when `store` is set to false: it is not sealed",
            )

    def input(self, item: Mapping[str, Any], role: str, where: str) -> None:
        if role not in {"user", "system", "developer"}:
            self.report("wire", f"{where}.role", f"no message is of role {role!r}")
            return
        allowed = OF_INPUT if role == "user" else frozenset({"input_text"})
        self.content(item.get("content"), allowed, f"{where}.content")

    def content(self, content: object, allowed: frozenset[str], where: str) -> None:
        if isinstance(content, str):
            self.text(content, where)
            return
        if not isinstance(content, list):
            self.report("wire", where, "content is a text or a list of parts")
            return
        if not content:
            self.report("R6", where, "the list of parts is empty")
        for index, part in enumerate(content):
            place = f"{where}[{index}]"
            kind = _word(part, "type")
            if kind not in allowed:
                expected = " and ".join(repr(name) for name in sorted(allowed))
                self.report(
                    "wire", place, f"Invalid value: {kind!r}. Supported values are: {expected}"
                )
            elif kind in TEXTS:
                self.text(part.get(TEXTS[kind]), place)
            elif not any(part.get(key) for key in SOURCES[kind]):
                self.report("wire", place, f"a part of type {kind} needs its source")

    def call(self, item: Mapping[str, Any], kind: str, where: str) -> None:
        call_id, name, given = item.get("call_id"), item.get("name"), item.get(CALLS[kind])
        if not isinstance(name, str) or not NAME.match(name):
            self.report("wire", f"{where}.name", "a name is 1 to 128 letters, digits, _, -")
        elif self.declared is not None and name not in self.declared:
            self.report("R8", f"{where}.name", f"the tool {name} is not declared")
        if not isinstance(given, str) or (kind == "function_call" and not _is_json_object(given)):
            self.report("wire", f"{where}.{CALLS[kind]}", "not the JSON text of an object")
        if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_ID:
            self.report(
                "wire", f"{where}.call_id", "Expected a string with maximum length 64, not empty"
            )
            return
        if call_id in self.calls:
            self.report("R7", f"{where}.call_id", f"the id is used at {self.calls[call_id]} too")
        self.calls[call_id], self.kinds[call_id] = where, kind
        self.answered.discard(call_id)
        self.waiting[call_id] = where

    def output(self, item: Mapping[str, Any], kind: str, where: str) -> None:
        call_id = _word(item, "call_id")
        if self.waiting.pop(call_id, None) is not None:
            self.answered.add(call_id)
        elif self.late.pop(call_id, None) is not None:
            self.answered.add(call_id)
            self.report("R3", where, "this output stands apart from its call and its siblings")
        elif call_id in self.answered:
            self.report("R1", where, "this call has an output already")
        else:
            self.report(
                "R1", where, "No tool call found for function call output with this call_id"
            )
        if self.kinds.get(call_id, OUTPUTS[kind]) != OUTPUTS[kind]:
            self.report("wire", where, f"the call is no {OUTPUTS[kind]}")
        self.content(item.get("output"), OF_INPUT, f"{where}.output")

    def end(self, last: str) -> None:
        if self.thought:
            self.report(
                "R9",
                self.thought,
                "the item of type 'reasoning' was provided without its required following item",
            )
        for place in (*self.late.values(), *self.waiting.values()):
            self.report("R2", place, "No tool output found for function call")
        if not self.started:
            self.report("R4", "input", "there is no user message")
        if self.side == "assistant":
            self.report("R5", last, "the last item is the model's")


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
