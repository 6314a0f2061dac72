"""The stored form: versioned JSON, the same in every store, read forever.

A record is one event as a JSON object that begins with its schema version: `{"v":1,"type":"event",
…}`. The version rises only when older code could misread a record: a new field does not raise it,
since unknown fields are kept; a new type of item or event, or a changed meaning, does. Records of
an older version pass through `UPCASTS`, one step a version; a newer one is refused.

`docs/design/stored-form.md` has the format, and the measurements behind the choice of encoder.
"""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from turnkeep.content import Message, Model, Ref, ToolResult
from turnkeep.errors import ContentError, CorruptSession
from turnkeep.events import AnyEvent, Event

SCHEMA_VERSION: Final = 1
Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[Mapping[int, Upcast]] = {}
"""Version → the step that turns a document of this version into one of the next."""

_HEADER: Final = b'{"v":%d,' % SCHEMA_VERSION
_EVENTS: Final[TypeAdapter[AnyEvent]] = TypeAdapter(AnyEvent)
MAX_DEPTH: Final = 100
"""Levels of nesting in a record; readers of JSON stop at about 200."""
MAX_DIGITS: Final = 4000
"""Digits of a whole number; Python reads no more than 4,300."""

_MANY: Final = 50
"""Records that come to stay at once, from which the collector is let wait."""
_TOO_DEEP: Final = object()
_TOO_LONG: Final = 10**MAX_DIGITS
_LONG_NUMBER: Final = re.compile(rb"[0-9]{%d}" % MAX_DIGITS)
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_JSON_OBJECT: Final[TypeAdapter[dict[str, JsonValue]]] = TypeAdapter(dict[str, JsonValue])


def encode_event(event: Event) -> bytes:
    """Encode an event into a record.

    Raises ContentError, with the path, for NaN, an infinity or a lone surrogate.
    """
    # Half the time of the model's own serializer, which tries the members of each union; the items
    # below are written by theirs.
    fields = event.__dict__ | (event.__pydantic_extra__ or {})
    del fields["seq"]
    if "v" in fields:
        raise ContentError(f"event {event.id}: a field named v would hide the schema version")
    try:
        body = to_json(fields, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise _refusal(event, f"event {event.id}", error) from None
    if not _only_texts(event) and _suspicious(body):
        _refuse_what_json_lacks(event, f"event {event.id}")
    return _HEADER + body[1:]


def decode_events(records: Sequence[bytes], first: int, *, session_id: str) -> list[Event]:
    """Decode records that follow one another; `first` is the seq of the first. See `decode_event`.

    Python's collector of cycles waits meanwhile: thousands of objects come to stay and none is
    garbage, but each of its rounds would walk all of them, for a third of the time.
    """
    pause = len(records) > _MANY and gc.isenabled()
    if pause:
        gc.disable()
    try:
        return [
            decode_event(record, seq, session_id=session_id)
            for seq, record in enumerate(records, first)
        ]
    finally:
        if pause:
            gc.enable()


def decode_event(
    record: bytes, seq: int, *, session_id: str, upcasts: Mapping[int, Upcast] = UPCASTS
) -> Event:
    """Decode a record; `seq` and `session_id` are those it was stored under.

    Raises CorruptSession where the bytes are no record that this version can read.
    """
    try:
        if record.startswith(_HEADER):
            event = _EVENTS.validator.validate_json(b"{" + record[len(_HEADER) :])
        else:
            event = _EVENTS.validate_python(_upcast(from_json(record), upcasts))
    except (ValidationError, ValueError) as error:
        raise CorruptSession(session_id, seq, _first_fault(error)) from error
    event.__dict__["seq"] = seq
    return event  # type: ignore[no-any-return]  # the validator is untyped


def encode_object(value: Mapping[str, Any], what: str) -> bytes:
    """Encode a session's state or meta; `what` names it in a refusal."""
    try:
        body = to_json(_JSON_OBJECT.validate_python(value), inf_nan_mode="constants")
    except (ValidationError, PydanticSerializationError, RecursionError) as error:
        raise _refusal(value, what, error) from None
    if _suspicious(body):
        _refuse_what_json_lacks(value, what)
    return body


def decode_object(data: bytes, *, session_id: str, what: str) -> dict[str, Any]:
    """Decode what `encode_object` made; empty bytes are an empty object."""
    try:
        value = from_json(data) if data else {}
    except ValueError as error:
        raise CorruptSession(session_id, 0, f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise CorruptSession(session_id, 0, f"{what} is not a JSON object")
    return value


def parse_event(document: Mapping[str, Any]) -> Event:
    """Build an event of any kind from plain data. Raises ContentError with the path."""
    try:
        return _EVENTS.validate_python(document)
    except ValidationError as error:
        raise content_error(error, document) from None


def content_error(error: ValidationError, document: object) -> ContentError:
    """Say a validation error as the path into the document and a sentence, without the value."""
    faults = error.errors(include_input=False, include_url=False)
    # Of the members of a union, the one that got furthest is the one that was meant.
    fault = max(faults, key=lambda fault: len(fault["loc"]))
    path = _path(fault["loc"], document)
    return ContentError(f"{path or 'value'}: {fault['msg']}", path=path)


def _upcast(found: Any, upcasts: Mapping[int, Upcast]) -> dict[str, Any]:
    version = found.pop("v", None) if isinstance(found, dict) else None
    if type(version) is not int:  # True would pass for 1
        raise ValueError("not a record of turnkeep (no schema version)")
    document: dict[str, Any] = found
    if version > SCHEMA_VERSION:
        raise ValueError(f"written with schema {version}, newer than {SCHEMA_VERSION}: upgrade")
    while version < SCHEMA_VERSION:
        if version not in upcasts:
            raise ValueError(f"schema {version} is unknown")
        document = upcasts[version](document)
        version += 1
    return document


def _path(location: tuple[int | str, ...], document: object) -> str:
    """Write a location as a path, without the names of union members that pydantic puts in."""
    path = ""
    for place, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step}]"
            document = document[step] if isinstance(document, list | tuple) else None
        elif isinstance(document, Mapping) and step in document:
            path += f".{step}"
            document = document[step]
        elif place == len(location) - 1 and isinstance(document, Mapping):
            path += f".{step}"  # a required key that is missing
    return path.removeprefix(".")


def _first_fault(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return str(error)


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    """Yield every key and every leaf below a value with its path; a level too deep is a leaf."""
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting:
        path, here, depth = waiting.pop()
        below: list[tuple[str, object]]
        if isinstance(here, Model):
            fields = {name: here.__dict__[name] for name in type(here).model_fields}
            below = [(f"{path}.{k}", v) for k, v in (fields | (here.model_extra or {})).items()]
        elif isinstance(here, Mapping):
            yield from ((f"{path}.{key!r}", key) for key in here)
            below = [(f"{path}.{key}", v) for key, v in here.items()]
        elif isinstance(here, list | Ref):
            below = [(f"{path}[{index}]", v) for index, v in enumerate(here)]
        else:
            yield path, here
            continue
        if depth == MAX_DEPTH:
            yield path, _TOO_DEEP
            continue
        waiting += [(where, v, depth + 1) for where, v in reversed(below)]


def _only_texts(event: Event) -> bool:
    """Say whether an event holds no JSON of free form, in which what JSON lacks could hide."""
    if event.state is not None or event.__pydantic_extra__ or type(event) is not Event:
        return False
    for item in event.content:
        if item.__pydantic_extra__:
            return False
        kind = type(item)
        if kind is not Message and kind is not ToolResult:
            return False
        content: object = item.content  # type: ignore[union-attr]  # these two have one
        if type(content) is list and (kind is Message or any(type(p) is not str for p in content)):
            return False
    usage = event.usage
    if usage is None:
        return True
    return not usage.__pydantic_extra__ and max(map(abs, usage.__dict__.values())) < _TOO_LONG


def _suspicious(body: bytes) -> bool:
    """Say whether JSON text may hold what the encoder lets through although it cannot be read back.

    Numbers that are not finite come out as names; half of a surrogate pair in a *key* comes out as
    U+FFFD (in a value it is an error); and readers stop at some depth and length of numbers. Only a
    look at the values themselves can tell.
    """
    return (
        b"NaN" in body
        or b"Infinity" in body
        or b"\xef\xbf\xbd" in body
        or body.count(b"[") + body.count(b"{") > MAX_DEPTH
        or (len(body) > MAX_DIGITS and _LONG_NUMBER.search(body) is not None)
    )


def _refuse_what_json_lacks(value: object, what: str) -> None:
    for dotted, leaf in _leaves(value):
        path = dotted.removeprefix(".")
        if leaf is _TOO_DEEP:
            raise ContentError(
                f"{what}: it is nested more than {MAX_DEPTH} levels deep at {path[:80]}…; "
                "keep such a value as a text",
                path=path,
            )
        if isinstance(leaf, int) and abs(leaf) >= _TOO_LONG:
            raise ContentError(
                f"{what}: {path} is a number of more than {MAX_DIGITS} digits; keep it as a text",
                path=path,
            )
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ContentError(
                f"{what}: {path} is {leaf}, which JSON does not have; use null or a string",
                path=path,
            )
        if isinstance(leaf, str) and not leaf.isascii() and _LONE_SURROGATE.search(leaf):
            raise ContentError(
                f"{what}: {path} holds half of a surrogate pair, which no JSON text can carry; "
                "decode the text with errors='replace'",
                path=path,
            )


def _refusal(value: object, what: str, error: Exception) -> ContentError:
    """Find the leaf that cannot be written."""
    try:
        _refuse_what_json_lacks(value, what)
    except ContentError as refusal:
        return refusal
    for dotted, leaf in _leaves(value):
        path = dotted.removeprefix(".")
        if path == "timestamp" and isinstance(leaf, datetime):
            continue
        if leaf is not None and not isinstance(leaf, str | bool | int | float):
            return ContentError(f"{what}: {path} is {type(leaf).__name__}, not JSON", path=path)
    return ContentError(f"{what} cannot be written as JSON ({type(error).__name__})")
