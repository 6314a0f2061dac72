"""Typed output: what a final answer must be, how the model is told, and reading it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from turnkeep.content import compact_json
from turnkeep.errors import ModelError

RETRIES: Final = 2
"""How often a model is told what is wrong with its answer before the run ends with an error."""
_FENCE: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)


class OutputError(ModelError):
    """A model's final answer is not what `output_type` asks for, however often it was told."""


class Output:
    """A type that final answers are read as: anything that pydantic understands."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        schema = self._adapter.json_schema()
        self._wrapped = schema.get("type") != "object" and "properties" not in schema
        if self._wrapped:  # providers want an object
            definitions = schema.pop("$defs", None)
            schema = {
                "type": "object",
                "properties": {"value": schema},
                "required": ["value"],
                "additionalProperties": False,
            }
            if definitions:
                schema["$defs"] = definitions
        self.schema = cast("Mapping[str, JsonValue]", schema)

    @property
    def instruction(self) -> str:
        """What the model is told beside its instructions: always the same, so it is cached."""
        return (
            "When you give your final answer, answer with nothing but one JSON value that matches "
            f"this JSON Schema: {compact_json(self.schema)}"
        )

    def read(self, text: str) -> Any:
        """Read an answer. Raises ValueError with a sentence that tells the model what is wrong."""
        found = _FENCE.search(text)
        candidate = (found[1] if found else text).strip()
        try:
            value = json.loads(candidate)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        if self._wrapped:
            if not isinstance(value, dict) or "value" not in value:
                raise ValueError('it is not an object with the key "value"')
            value = value["value"]
        try:
            return self._adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'the value'}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_input=False)
            )
            raise ValueError(faults) from None

    def correction(self, fault: str) -> str:
        """Say to the model what is wrong with its answer."""
        return (
            f"That answer does not match the schema: {fault}. Answer again, with only the JSON "
            "value."
        )


def plain(value: Any) -> Any:
    """Give a typed output as JSON, for showing it."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
