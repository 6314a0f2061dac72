"""The JSON Schema of `turnkeep.toml`, over core's tables and those of the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from turnkeep.config.options import ModelOptions, SessionOptions, TokenOptions
from turnkeep.optimize.rules import ContextRules
from turnkeep.plugins import CATALOGUE, Offer, Plugins

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ENV: Final = {"$ref": "#/$defs/env"}
_NESTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")


def schema(plugins: Plugins) -> tuple[dict[str, Any], list[str]]:
    """Make the schema, the same for the same plugins; and say which options have none.

    A value may always be `{ env = "VAR" }`. No key is required: a variable may supply it.
    """
    made = _Maker()
    tables = {
        "session": made.table(
            SessionOptions,
            "store",
            "session store",
            plugins.stores,
            others=("store wrapper", plugins.wrappers),
        ),
        "model": made.table(ModelOptions, "client", "model client", plugins.models),
        "tokens": made.table(TokenOptions, "counter", "token counter", plugins.counters),
        "context": made.table(ContextRules, None, "context step", plugins.optimizers),
    }
    return {
        "$schema": DIALECT,
        "title": "turnkeep.toml",
        "description": "The configuration of turnkeep.",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
        "$defs": {
            "env": {
                "title": "a variable's value",
                "description": "The value is that of an environment variable.",
                "type": "object",
                "additionalProperties": False,
                "required": ["env"],
                "properties": {"env": {"type": "string", "description": "the variable's name"}},
            },
            **dict(sorted(made.definitions.items())),
        },
    }, made.problems


class _Maker:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.problems: list[str] = []

    def table(
        self,
        model: type[BaseModel],
        chooser: str | None,
        kind: str,
        offers: Sequence[Offer[Any]],
        others: tuple[str, Sequence[Offer[Any]]] | None = None,
    ) -> dict[str, Any]:
        """Make one of core's tables, with the tables of its plugins in it.

        `others` are a further kind of plugins that have their tables there.
        """
        name = model.__name__
        made = self.options(model, name)
        names = sorted(
            {offer.spec.name for offer in offers}
            | {f"{offer.plugin.distribution}:{offer.spec.name}" for offer in offers}
        )
        properties = made["properties"]
        if chooser is not None and names:
            properties[chooser]["anyOf"] = [{"type": "string", "enum": names}, _ENV]
        self.below(properties, kind, offers)
        if others is not None:
            self.below(properties, *others)
        return made

    def below(self, properties: dict[str, Any], kind: str, offers: Sequence[Offer[Any]]) -> None:
        """Put the tables of the plugins of one kind into the table that they stand in."""
        for short in sorted({offer.spec.name for offer in offers}):
            tables = [
                self.options(offer.spec.options, f"{offer.plugin.distribution}:{short}")
                for offer in offers
                if offer.spec.name == short
            ]
            summary = next(offer.spec.summary for offer in offers if offer.spec.name == short)
            properties[short] = tables[0] if len(tables) == 1 else {"anyOf": tables}
            properties[short]["description"] = _described(properties[short], summary)
        for short, distribution in sorted(CATALOGUE[kind].items()):
            about = f"for {distribution}, which is not installed here"
            properties.setdefault(short, {"type": "object", "description": about})

    def options(self, model: type[BaseModel], place: str) -> dict[str, Any]:
        """Make the table of a model; a model that has no schema allows everything."""
        try:
            made = model.model_json_schema(by_alias=True)
        except Exception as error:  # noqa: BLE001  # a stranger's model
            self.problems.append(f"{place}: its options have no schema: {type(error).__name__}")
            return {"type": "object"}
        # Two models of one name are different ones: definitions are kept by table.
        prefix = f"{place}."
        for key, below in made.pop("$defs", {}).items():
            self.definitions[prefix + key] = self._converted(below, prefix)
        made = self._converted(made, prefix)
        made.setdefault("properties", {})
        made.pop("title", None)
        return made

    def _converted(self, node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """Put a schema of pydantic's in the terms of TOML, and allow variables for values."""
        node = dict(node)
        node.pop("required", None)
        if node.get("default", 0) is None:
            del node["default"]
        if "$ref" in node:
            node["$ref"] = f"#/$defs/{prefix}{node['$ref'].removeprefix('#/$defs/')}"
        for key in _NESTED:
            if key in node:  # TOML has no null
                node[key] = [
                    self._converted(below, prefix)
                    for below in node[key]
                    if below.get("type") != "null"
                ]
        if isinstance(node.get("items"), Mapping):
            node["items"] = _or_variable(self._converted(node["items"], prefix))
        if isinstance(node.get("additionalProperties"), Mapping):
            values = self._converted(node["additionalProperties"], prefix)
            node["additionalProperties"] = _or_variable(values)
        if "properties" in node:
            node["properties"] = {
                key: _or_variable(self._converted(below, prefix))
                for key, below in node["properties"].items()
            }
        return node


def _or_variable(node: dict[str, Any]) -> dict[str, Any]:
    """Allow `{ env = "VAR" }` beside what a value may be; tables are spelt out, not named."""
    about = {
        key: node.pop(key) for key in ("title", "description", "default", "examples") if key in node
    }
    about.pop("title", None)
    if not node or node.get("type") == "object":
        return about | node
    choices = node.pop("anyOf") if set(node) == {"anyOf"} else [node]
    return about | {"anyOf": [*choices, _ENV]}


def _described(table: Mapping[str, Any], summary: str) -> str:
    if not table.get("properties"):
        return summary
    about = " ".join(str(table.get("description", "")).split())
    return f"{summary}. {about}".strip() if about and about != summary else summary
