"""What a conversation is made of: items, their parts, tool definitions and requests.

An item is one piece of a conversation, told apart by its `type`. Items are frozen and keep fields
they do not know, so what a newer version stored survives a round trip through an older one.
Every value is plain JSON: anything else is refused when the item is made, and NaN, infinities and
lone surrogates when it is encoded (see `turnkeep.codec`), each with its path.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import no_info_plain_validator_function

Role: TypeAlias = Literal["system", "developer", "user", "assistant"]


_JSON: Final[TypeAdapter[JsonValue]] = TypeAdapter(JsonValue)


def _json(value: object) -> JsonValue:
    try:
        return _JSON.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = "".join(f".{step}" for step in fault["loc"])
        said = {"fault": fault["msg"], "where": f" (at {where[1:]})" if where else ""}
        raise PydanticCustomError("invalid-json-value", "{fault}{where}", said) from None


class _Unknown:
    """Says how unknown fields are validated: for all models by one validator.

    Pydantic would work out the schema of JsonValue for each model: a sixth of the import.
    """

    schema: Final = no_info_plain_validator_function(_json)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return self.schema

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {}


class Model(BaseModel):
    """Base of all stored values: frozen, keeping unknown fields that are JSON."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")
    __pydantic_extra__: dict[str, Annotated[Any, _Unknown()]]


class Ref(NamedTuple):
    """The identity of an item: the seq of its event and its index within it.

    Provider call ids are no identity: real logs reuse them within one session.
    """

    seq: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    return text


Base64Text: TypeAlias = Annotated[str, AfterValidator(_base64)]


class TextPart(Model):
    """A run of text beside other parts."""

    type: Literal["text"] = "text"
    text: str


class _Media(Model):
    url: str | None = None
    data: Base64Text | None = None
    media_type: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.data is None):
            raise ValueError("give either url or data (base64)")
        return self

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str, **fields: Any) -> Self:
        """Make the part from raw bytes; they are kept inline, as base64."""
        text = base64.b64encode(data).decode("ascii")
        return cls(data=text, media_type=media_type, **fields)


class ImagePart(_Media):
    """A picture by URL or inline; `detail` is OpenAI's "low", "high" or "auto"."""

    type: Literal["image"] = "image"
    detail: str | None = None


class FilePart(_Media):
    """A document by URL or inline."""

    type: Literal["file"] = "file"
    name: str | None = None


class BlobPart(Model):
    """Stands in a checkpoint for an inline part of more than 64 kB, which its event keeps.

    `part` is the position of the original within its item's content.
    """

    type: Literal["blob"] = "blob"
    seq: int
    index: int
    part: int
    size: int
    media_type: str | None = None


Part: TypeAlias = Annotated[TextPart | ImagePart | FilePart | BlobPart, Discriminator("type")]


class Message(Model):
    """A text, or a list of parts, by one role."""

    type: Literal["message"] = "message"
    role: Role
    content: StrictStr | list[Part]


class ToolCall(Model):
    """The model asks for a tool. `tool_call_id` is what the provider said, not an identity.

    `needs_approval` marks a call that may not run before a person's `Decision` on it.
    """

    type: Literal["tool_call"] = "tool_call"
    tool_call_id: str
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    needs_approval: bool = False


ResultPiece: TypeAlias = Annotated[StrictStr | Part | JsonValue, Field(union_mode="left_to_right")]
"""A text, a part, or any other JSON."""


class ToolResult(Model):
    """What a tool gave back; it answers the latest open call with its id."""

    type: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    name: str
    status: Literal["success", "error"] = "success"
    content: list[ResultPiece] = Field(default_factory=list)


class Reasoning(Model):
    """A provider's reasoning, kept exactly and never shown; it stays with its tool call."""

    type: Literal["reasoning"] = "reasoning"
    provider: str
    data: JsonValue


class Opaque(Model):
    """A provider's item of a kind we do not know, kept exactly."""

    type: Literal["opaque"] = "opaque"
    provider: str
    kind: str
    data: JsonValue


Item: TypeAlias = Annotated[
    Message | ToolCall | ToolResult | Reasoning | Opaque, Discriminator("type")
]


ITEM_TYPES: Final = (Message, ToolCall, ToolResult, Reasoning, Opaque)
"""The types of items. Where it matters, code asks for `type(item)`: a model's `isinstance` that is
false costs a microsecond, a hundred times as much."""


class Usage(Model):
    """Tokens of one model call as the provider reported them.

    `input_tokens` counts the whole prompt, with what was read from and written to a cache;
    `output_tokens` counts reasoning too.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


def sum_usage(reports: Iterable[Usage | None]) -> Usage | None:
    """Sum up reports of tokens, those that are missing left out; None where all are."""
    known = [each for each in reports if each is not None]
    if not known:
        return None
    names = Usage.model_fields
    return Usage(**{name: sum(getattr(each, name) for each in known) for name in names})


def _any_arguments() -> dict[str, JsonValue]:
    return {"type": "object", "properties": {}}


class ToolDefinition(Model):
    """A tool as the model is told of it; `parameters` is a JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=_any_arguments)


class Request(Model):
    """What one model call gets, in no provider's shape yet."""

    instructions: str = ""
    contents: list[Item] = Field(default_factory=list)
    tools: list[ToolDefinition] = Field(default_factory=list)
    tool_choice: JsonValue = None
    model_id: str | None = None


def compact_json(value: object) -> str:
    """Render a value as the shortest JSON text, characters unescaped, keys in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def message_text(message: Message) -> str:
    """Give the text of a message, its text parts joined by line ends, media left out."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def result_text(result: ToolResult) -> str:
    """Give the text of a tool result: strings and text parts as they are, other JSON compact."""
    texts = []
    for piece in result.content:
        if isinstance(piece, str):
            texts.append(piece)
        elif isinstance(piece, TextPart):
            texts.append(piece.text)
        elif not isinstance(piece, Model):
            texts.append(compact_json(piece))
    return "\n".join(texts)
