"""Which JSON Schemas Gemini takes as `parameters`, and which go into `parametersJsonSchema`.

`Schema` is a subset of OpenAPI (ai.google.dev/api/caching#Schema); the API answers "Unknown name
"additionalProperties"" and "enum: only allowed for STRING type" to what is not in it. Whatever is
more goes out unchanged in the field for JSON Schema, which excludes the other
(ai.google.dev/api/caching#FunctionDeclaration).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

FIELDS: Final = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "items", "properties"),
        *("required", "anyOf", "propertyOrdering", "default", "example", "pattern"),
        *("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"),
        *("minimum", "maximum"),
    }
)
FORMATS: Final = {
    "string": frozenset({"enum", "date-time"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}
"""What the API takes: "only 'enum' and 'date-time' are supported for STRING type"."""
TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object"})
DEEPEST: Final = 32


def parameters_of(schema: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Give the field of a declaration that holds this schema of arguments."""
    whole = dict(schema) if "type" in schema else {"type": "object", **schema}
    return {"parameters": whole} if _fits(whole, 0) else {"parametersJsonSchema": whole}


def plain_types(schema: Any, depth: int = 0) -> Any:
    """Write the type names of a schema in small letters, as JSON Schema and other providers do."""
    if depth > DEEPEST or not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            made[key] = value.lower()
        elif key == "properties" and isinstance(value, dict):
            made[key] = {name: plain_types(below, depth + 1) for name, below in value.items()}
        elif key == "items":
            made[key] = plain_types(value, depth + 1)
        elif key == "anyOf" and isinstance(value, list):
            made[key] = [plain_types(below, depth + 1) for below in value]
        else:
            made[key] = value
    return made


def _fits(schema: object, depth: int) -> bool:
    """Say whether a schema is within the subset."""
    if depth > DEEPEST or not isinstance(schema, Mapping) or not FIELDS.issuperset(schema):
        return False
    kind = schema.get("type")
    if kind is None and "anyOf" in schema:
        kind = ""
    elif not isinstance(kind, str) or kind not in TYPES:
        return False
    if "format" in schema and str(schema["format"]) not in FORMATS.get(kind, ()):
        return False
    if "enum" in schema:
        values = schema["enum"]
        if kind != "string" or not isinstance(values, list):
            return False
        if not all(isinstance(value, str) and value for value in values):
            return False
    if kind == "array" and "items" not in schema:
        return False
    below = schema.get("properties", {})
    if not isinstance(below, Mapping) or (kind == "object" and not below):
        return False  # "should be non-empty for OBJECT type"
    several = schema.get("anyOf", [])
    inner = [*below.values(), *(several if isinstance(several, list) else [several])]
    inner += [schema["items"]] if "items" in schema else []
    return all(_fits(one, depth + 1) for one in inner)
