"""Input schemas, which the protocol wants to be of objects and some servers get wrong."""

from __future__ import annotations

from typing import Any


def object_schema(schema: object) -> dict[str, Any]:
    """Give the schema as it is if it is of an object, else the nearest one that is.

    Arguments are objects whatever a schema says. So a schema that names no type gets this one, and
    one of another type, which no arguments could fit, becomes that of any object.
    """
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {}}
    kind = schema.get("type")
    if kind == "object":
        return schema if "properties" in schema else {**schema, "properties": {}}
    if kind is None or (isinstance(kind, list) and "object" in kind):
        return {"properties": {}, **schema, "type": "object"}
    return {"type": "object", "properties": {}}


def mend_tools(result: object) -> None:
    """Mend the schemas in a server's answer to tools/list, in place.

    The client refuses an answer whole for one schema that is not of an object; the other tools of
    such a server are still good.
    """
    tools = result.get("tools") if isinstance(result, dict) else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and "name" in tool:
            tool["inputSchema"] = object_schema(tool.get("inputSchema"))
