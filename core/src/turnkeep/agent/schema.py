"""A tool's schema, read off its function: parameters from type hints, words from the docstring."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from turnkeep.errors import TurnkeepError

_SECTION: Final = re.compile(r"^(Args|Arguments|Parameters|Params):?\s*$")
_NEXT: Final = re.compile(
    r"^(Returns?|Raises|Yields?|Examples?|Notes?|Attributes|See Also|Warnings?|References):?\s*$"
)
_GOOGLE: Final = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY: Final = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_SPHINX: Final = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


class _Plain(GenerateJsonSchema):
    """Schemas without titles, which repeat names and cost tokens."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False


def arguments_model(
    function: Callable[..., object], *, skip: frozenset[str] = frozenset()
) -> type[BaseModel]:
    """Make a model of a function's parameters, those in `skip` left out.

    A parameter without a hint may be any JSON. Raises TurnkeepError, with the parameter, where a
    call by name is not possible or a hint is not understood.
    """
    name = getattr(function, "__name__", type(function).__name__)
    said = descriptions(inspect.getdoc(function) or "")[1]
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise TurnkeepError(f"tool {name}: its type hints cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in skip:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise TurnkeepError(
                f"tool {name}: parameter {parameter.name!r} has no name that a model could give it "
                "by; tools take named parameters only"
            )
        if parameter.name in {"self", "cls"} and not fields:
            raise TurnkeepError(
                f"tool {name}: it is a method without its object; make a tool of the bound method, "
                f"as tool(thing.{name})"
            )
        hint = hints.get(parameter.name, JsonValue)
        default = ... if parameter.default is parameter.empty else parameter.default
        text = said.get(parameter.name)
        if text and not _is_described(hint):
            hint = Annotated[hint, FieldInfo(description=text)]
        # By alias: a model's own names (copy, json, _x) are names like others to a function.
        fields[f"p{len(fields)}"] = (hint, Field(default, alias=parameter.name))
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())
    try:
        return create_model(f"{name}_arguments", __config__=config, **fields)
    except Exception as error:
        raise TurnkeepError(
            f"tool {name}: a parameter's type cannot come from JSON: {str(error).splitlines()[0]}"
        ) from error


def json_schema(model: type[BaseModel], tool: str) -> dict[str, JsonValue]:
    """Give the JSON Schema of a model's fields, without titles. Raises TurnkeepError."""
    try:
        schema = model.model_json_schema(schema_generator=_Plain)
    except Exception as error:
        raise TurnkeepError(
            f"tool {tool}: a parameter's type cannot come from JSON: {str(error).splitlines()[0]}"
        ) from error
    schema.pop("title", None)
    schema.pop("description", None)  # the tool has its own
    schema.setdefault("properties", {})
    return schema


def descriptions(doc: str) -> tuple[str, dict[str, str]]:
    """Split a docstring: what it says at all, and what of each parameter.

    Understands the styles of Google, NumPy and Sphinx.
    """
    before: list[str] = []
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    inside, indent, numpy = False, 0, False
    lines = doc.splitlines()
    for place, line in enumerate(lines):
        text = line.strip()
        if sphinx := _SPHINX.match(text):
            current = found.setdefault(sphinx[1], [sphinx[2]])
            inside, indent = True, len(line) - len(line.lstrip())
            numpy = False
            continue
        if text.startswith(":") and inside:
            current = None
            continue
        under = lines[place + 1].strip() if place + 1 < len(lines) else ""
        ruled = bool(under) and not under.strip("-")
        if _SECTION.match(text):
            inside, numpy, current, indent = True, ruled, None, -1
            continue
        if _NEXT.match(text) and (not inside or ruled or not line.startswith((" ", "\t"))):
            break
        if not inside:
            before.append(line)
            continue
        if not text or not text.strip("-"):
            continue
        depth = len(line) - len(line.lstrip())
        if indent < 0:
            indent = depth
        match = (_NUMPY if numpy else _GOOGLE).match(text)
        if match and depth <= indent:
            current = found.setdefault(match[1], [])
            if not numpy and match[2]:
                current.append(match[2])
        elif current is not None:
            current.append(text)
    said = {name: " ".join(part for part in parts if part) for name, parts in found.items()}
    return "\n".join(before).strip(), said


def _is_described(hint: Any) -> bool:
    metadata = getattr(hint, "__metadata__", ())
    return any(isinstance(each, FieldInfo) and each.description for each in metadata)


def as_json(value: object) -> Any:
    """Give a tool's return value as JSON: models, dataclasses, dates and such become plain."""
    from pydantic_core import to_jsonable_python

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping | list | tuple | set | frozenset) or not isinstance(
        value, str | int | float | bool | None
    ):
        return to_jsonable_python(value, fallback=str)
    return value
