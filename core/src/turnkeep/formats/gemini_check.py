"""What Gemini refuses: a request body is checked as the API would, by its wire form alone.

Nothing here is shared with the code that renders, so that a fault there cannot hide itself. It is
stricter than the API: the model does not speak twice in a row, results are not empty, and every
body is taken for one of Gemini 3 unless its field `model` names an older one. The API's own
sentences begin with a capital letter; docs/design/validity.md says where they were found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from turnkeep.formats.profile import Violation

NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}\Z")
SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\Z")
OLDER: Final = re.compile(r"gemini-[12]\b")
BESIDE: Final = frozenset(
    {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"}
)
OF_MODEL: Final = frozenset({"functionCall", "executableCode", "codeExecutionResult"})
MODES: Final = frozenset({"AUTO", "NONE", "ANY", "VALIDATED"})


def check(body: Mapping[str, Any]) -> list[Violation]:
    """List what the API would refuse in a request body, in the order of its contents."""
    audit = _Audit()
    audit.tools(body.get("tools"), body.get("toolConfig"))
    system = body.get("systemInstruction")
    if system is not None:
        audit.system(system)
    settings = body.get("generationConfig")
    limit = settings.get("maxOutputTokens") if isinstance(settings, dict) else None
    if limit is not None and not (type(limit) is int and limit > 0):
        audit.report("wire", "generationConfig.maxOutputTokens", "a whole number above 0")
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        audit.report("wire", "contents", "a request needs a list of contents that is not empty")
        return audit.found
    audit.turn = _current_turn(contents)
    if OLDER.search(_word(body, "model")):
        audit.turn = len(contents)
    for index, content in enumerate(contents):
        audit.content(index, content)
    audit.end(contents)
    return audit.found


class _Call(NamedTuple):
    where: str
    name: str
    id: str


class _Audit:
    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.declared: set[str] | None = None
        self.turn = 0
        """The content from which on signatures are asked for."""
        self.role = ""
        self.ids: dict[str, str] = {}
        """Every call id seen, with its place."""
        self.answered: set[str] = set()
        self.waiting: list[_Call] = []
        """Calls of the content before that have no response yet."""
        self.late: dict[str, _Call] = {}
        """Calls without a response in the content right behind them, by id or place."""

    def report(self, rule: str, where: str, message: str) -> None:
        self.found.append(Violation(rule, where, message))

    def tools(self, tools: object, config: object) -> None:
        if tools is not None and not isinstance(tools, list):
            self.report("wire", "tools", "tools is a list")
            return
        for index, tool in enumerate(tools or ()):
            where = f"tools[{index}]"
            functions = tool.get("functionDeclarations") if isinstance(tool, dict) else None
            if not isinstance(tool, dict) or not tool:
                self.report("wire", where, "a tool is an object that is not empty")
            elif functions is not None:
                self.functions(functions, f"{where}.functionDeclarations")
        if config is None:
            return
        calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
        if not isinstance(config, dict) or (
            calling is not None and _word(calling, "mode") not in MODES
        ):
            self.report("wire", "toolConfig", "no mode of function calling")
            return
        names = calling.get("allowedFunctionNames") if isinstance(calling, dict) else None
        for name in names if isinstance(names, list) else ():
            if not isinstance(name, str) or name not in (self.declared or ()):
                self.report("R8", "toolConfig", "a function that is allowed is not declared")

    def functions(self, functions: object, where: str) -> None:
        if not isinstance(functions, list) or not functions:
            self.report("wire", where, "a list of functions that is not empty")
            return
        self.declared = self.declared or set()
        for index, function in enumerate(functions):
            place = f"{where}[{index}]"
            name = _word(function, "name")
            if not isinstance(function, dict) or not NAME.match(name):
                self.report("wire", place, "Must start with a letter or an underscore, at most 64")
                continue
            if name in self.declared:
                self.report("wire", place, f"Duplicate function declaration found: {name}")
            self.declared.add(name)
            schemas = [function.get("parameters"), function.get("parametersJsonSchema")]
            given = [schema for schema in schemas if schema is not None]
            if len(given) > 1 or not all(isinstance(schema, dict) for schema in given):
                self.report("wire", place, "one schema, in parameters or parametersJsonSchema")

    def system(self, system: object) -> None:
        parts = system.get("parts") if isinstance(system, dict) else None
        if not isinstance(parts, list) or not parts:
            self.report("wire", "systemInstruction", "system text is an object with parts")
            return
        for index, part in enumerate(parts):
            where = f"systemInstruction.parts[{index}]"
            if not isinstance(part, dict) or "text" not in part:
                self.report("wire", where, "system text is made of texts")
            else:
                self.text(part, where)

    def text(self, part: Mapping[str, Any], where: str) -> None:
        text = part.get("text")
        if not isinstance(text, str):
            self.report("wire", where, "a text is needed here")
        elif (not text or text.isspace()) and not _word(part, "thoughtSignature"):
            self.report("R6", where, "Unable to submit request because it has an empty text")

    def content(self, index: int, content: object) -> None:
        where = f"contents[{index}]"
        role = _word(content, "role")
        if not isinstance(content, dict) or role not in {"user", "model"}:
            self.report("wire", where, "Please use a valid role: user, model.")
            return
        for field in content.keys() - {"role", "parts"}:
            self.report("wire", f"{where}.{field}", "Unknown name: Cannot find field.")
        if not self.role and role != "user":
            self.report("R4", where, "the first content is the model's")
        if role == self.role == "model":
            self.report(
                "wire",
                where,
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn.",
            )
        parts = content.get("parts")
        if not isinstance(parts, list) or not parts:
            self.report("R6", f"{where}.parts", "contents.parts must not be empty.")
            parts = []
        if role == "user":
            self.user(parts, f"{where}.parts")
        self.settle()
        if role == "model":
            self.model(parts, f"{where}.parts", bound=index >= self.turn)
        self.role = role

    def settle(self) -> None:
        """Take calls that the content at hand has not answered for late ones."""
        self.late.update({call.id or call.where: call for call in self.waiting})
        self.waiting = []

    def kind(self, part: object, where: str) -> str:
        """Give what a part is; report parts that are nothing, or several things."""
        kinds = part.keys() - BESIDE if isinstance(part, dict) else set()
        if len(kinds) != 1:
            self.report(
                "wire", where, "required oneof field 'data' must have one initialized field"
            )
            return ""
        return str(next(iter(kinds)))

    def user(self, parts: list[Any], where: str) -> None:
        other = False
        for index, part in enumerate(parts):
            place = f"{where}[{index}]"
            kind = self.kind(part, place)
            if kind == "functionResponse":
                self.response(part["functionResponse"], place, behind=other)
                continue
            other = True
            if kind and (part.get("thought") or part.get("thoughtSignature")):
                self.report("R9", place, "thoughts and their signatures are the model's")
            if kind in OF_MODEL:
                self.report("wire", place, f"a user's content holds no {kind}")
            elif kind:
                self.data(part, kind, place)

    def model(self, parts: list[Any], where: str, *, bound: bool) -> None:
        called = False
        for index, part in enumerate(parts):
            place = f"{where}[{index}]"
            kind = self.kind(part, place)
            if not kind:
                continue
            signature = part.get("thoughtSignature")
            if signature is not None and not (
                isinstance(signature, str) and SIGNATURE.match(signature)
            ):
                self.report("R9", place, "Invalid value at 'thought_signature' (TYPE_BYTES)")
            if kind == "functionCall":
                if bound and not called and signature is None:
                    self.report(
                        "R9",
                        place,
                        "Function call is missing a thought_signature in functionCall parts.",
                    )
                called = True
                self.call(part["functionCall"], place)
            elif kind == "functionResponse":
                self.report("wire", place, "the model's content holds no functionResponse")
            elif part.get("thought") is True and not isinstance(part.get("text"), str):
                self.report("R9", place, "a thought is not as the model made it: its text is gone")
            else:
                self.data(part, kind, place)

    def data(self, part: Mapping[str, Any], kind: str, where: str) -> None:
        value = part.get(kind)
        if kind == "text":
            self.text(part, where)
        elif not isinstance(value, dict):
            self.report("wire", where, f"{kind} is an object")
        elif kind == "inlineData" and not (_word(value, "mimeType") and _word(value, "data")):
            self.report("wire", where, "inline data needs its type and bytes")
        elif kind == "fileData" and not _word(value, "fileUri"):
            self.report("wire", where, "a file needs its address")

    def call(self, call: object, where: str) -> None:
        name, call_id = _word(call, "name"), _word(call, "id")
        if not NAME.match(name):
            self.report("wire", f"{where}.functionCall.name", "Must start with a letter or _")
        elif self.declared is not None and name not in self.declared:
            self.report("R8", f"{where}.functionCall.name", f"the tool {name} is not declared")
        if isinstance(call, dict) and not isinstance(call.get("args", {}), dict):
            self.report("wire", f"{where}.functionCall.args", "arguments are an object")
        if call_id:
            if call_id in self.ids:
                self.report("R7", where, f"the id is used at {self.ids[call_id]} too")
            self.ids[call_id] = where
            self.answered.discard(call_id)
        self.waiting.append(_Call(where, name, call_id))

    def response(self, value: object, where: str, *, behind: bool) -> None:
        name, call_id = _word(value, "name"), _word(value, "id")
        if not isinstance(value, dict) or not name:
            self.report("wire", where, "a response names its function")
            return
        found = next(
            (c for c in self.waiting if (c.id == call_id and (c.id or c.name == name))), None
        )
        if found is not None:
            self.waiting.remove(found)
            self.answered.add(call_id)
            if behind:
                self.report("R3", where, "responses stand before all else in their content")
            if found.name != name:
                self.report("wire", where, f"the call is one of {found.name}, not of {name}")
        elif call_id and self.late.pop(call_id, None) is not None:
            self.answered.add(call_id)
            self.report(
                "R3", where, "function response turn comes immediately after a function call turn"
            )
        elif call_id and call_id in self.answered:
            self.report("R1", where, "this call has a response already")
        else:
            self.report("R1", where, "the number of function response parts is above that of calls")
        response = value.get("response")
        if not isinstance(response, dict):
            self.report("wire", f"{where}.response", "a response is an object")
            return
        for key in ("output", "result", "error"):
            said = response.get(key)
            if len(response) == 1 and isinstance(said, str) and (not said or said.isspace()):
                self.report("R6", f"{where}.response.{key}", "the text is empty or white space")
        parts = value.get("parts", [])
        for index, part in enumerate(parts if isinstance(parts, list) else [None]):
            kind = self.kind(part, f"{where}.parts[{index}]")
            if kind:
                self.data(part, kind, f"{where}.parts[{index}]")

    def end(self, contents: list[Any]) -> None:
        for call in (*self.late.values(), *self.waiting):
            self.report(
                "R2",
                call.where,
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn.",
            )
        if _word(contents[-1], "role") == "model":
            self.report(
                "R5", f"contents[{len(contents) - 1}]", "the request must end with a user turn"
            )


def _current_turn(contents: list[Any]) -> int:
    """Give the place of the last content in which the user said something."""
    for index in range(len(contents) - 1, -1, -1):
        parts = contents[index].get("parts") if isinstance(contents[index], dict) else None
        if _word(contents[index], "role") == "user" and any(
            isinstance(part, dict) and "functionResponse" not in part
            for part in (parts if isinstance(parts, list) else ())
        ):
            return index
    return 0


def _word(value: object, key: str) -> str:
    """Give a text inside an object, or "" where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
