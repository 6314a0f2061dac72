"""turnkeep JSONL: sessions as lines of JSON, one line an item, with every key and value kept.

`docs/formats.md` has the format. A session line begins a session; each other line is an item or a
whole event. Fields of ours stand beside an item's own and are named there; a line without them is
an event of its own, so plain transcripts can be read as they are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, TypeAlias

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from turnkeep.codec import content_error, parse_event
from turnkeep.content import Item, Model
from turnkeep.errors import ContentError
from turnkeep.events import Event, author_of

FORMAT: Final = 1
SESSION_FIELDS: Final[Mapping[str, type]] = {
    "format": int,
    "user_id": str,
    "created": str,
    "updated": str,
    "state": dict,
}
FIRST_LINE_FIELDS: Final[Mapping[str, type]] = {
    "execution_id": str,
    "author": str,
    "timestamp": str,
    "usage": dict,
    "state": dict,
    "partial": bool,
    "event_extra": dict,
}
LINE_FIELDS: Final[Mapping[str, type]] = {
    "event": str,
    "seq": int,
    "index": int,
    **FIRST_LINE_FIELDS,
    "item_extra": dict,
}
WHOLE_FIELDS: Final = ("event", "seq", *FIRST_LINE_FIELDS)
EVENT_TYPES: Final = ("event", "decision", "retract", "checkpoint", "tombstone")
ITEM_TYPES: Final = ("message", "tool_call", "tool_result", "reasoning", "opaque")

_TIMES: Final = frozenset({"timestamp", "created", "updated", "erased_at"})
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")

_ITEM: Final[TypeAdapter[Item]] = TypeAdapter(Item)
_MOMENT: Final[TypeAdapter[datetime]] = TypeAdapter(AwareDatetime)

Line: TypeAlias = dict[str, Any]


@dataclass
class SessionFile:
    """A session as a file has it; `header` is what else the session line says, in its order."""

    session_id: str
    user_id: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    state: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


def read_sessions(lines: Iterable[str], source: str) -> Iterator[SessionFile]:
    r"""Read sessions one by one, each when its last line is read.

    Args:
        lines: lines split on "\n" only (`open(…, newline="\n")`); blank ones are skipped.
        source: the file's name, for messages.

    Raises:
        ContentError: naming file, line and path, for whatever cannot be kept.
    """
    session: SessionFile | None = None
    reader = _Events()
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        where = f"{source}:{number}"
        line = _parse(text, where)
        kind = line.get("type")
        if kind == "session":
            if session is not None:
                session.events = reader.finish()
                yield session
            session, reader = _session(line, where), _Events()
        elif kind not in EVENT_TYPES and kind not in ITEM_TYPES:
            known = ", ".join(("session", *ITEM_TYPES, *EVENT_TYPES))
            _refuse(where, "type", f"{kind!r} is no type of line; there are: {known}")
        elif session is None:
            _refuse(where, "type", "a file begins with the line of its session")
        else:
            reader.add(line, where)
    if session is not None:
        session.events = reader.finish()
        yield session


def write_session(session: SessionFile) -> Iterator[str]:
    r"""Write a session as lines that end in "\n".

    Raises ContentError for a value that is no JSON.
    """
    where = f"session {session.session_id!r}"
    for name in ("type", "id", *SESSION_FIELDS):
        if name in session.header:
            _refuse(where, f"header.{name}", "this name is taken by a field of the session line")
    first: Line = {"type": "session", "id": session.session_id, "format": FORMAT}
    if session.user_id is not None:
        first["user_id"] = session.user_id
    for name, moment in (("created", session.created), ("updated", session.updated)):
        if moment is not None:
            first[name] = _MOMENT.dump_python(moment, mode="json")
    if session.state:
        first["state"] = session.state
    yield _line({**first, **session.header}, where)
    for event in session.events:
        for line in _event_lines(event):
            yield _line(line, f"{where}, event {event.id}")


class _Events:
    """Gathers item lines into events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seq = 0
        self.ids: set[str] = set()
        self.items: list[Item] = []
        """Those of the event at hand, whose lines share one id and stand together."""
        self.first: Line = {}
        self.where = ""

    def add(self, line: Line, where: str) -> None:
        whole = line["type"] in EVENT_TYPES
        _check_fields(line, WHOLE_FIELDS if whole else LINE_FIELDS, where)
        event_id = line.get("event")
        if (
            not whole
            and self.items
            and event_id is not None
            and event_id == self.first.get("event")
        ):
            self.add_to_event(line, where)
            return
        self.end_event()
        if event_id is not None:
            if event_id in self.ids:
                _refuse(where, "event", "an event with this id is above; its lines stand together")
            self.ids.add(event_id)
        if whole:
            self.whole_event(line, where)
            return
        self.first, self.where = _take_fields(line), where
        if self.first.get("index", 0) != 0:
            _refuse(where, "index", "the first item of an event has index 0")
        self.put_item(line, self.first, where)

    def add_to_event(self, line: Line, where: str) -> None:
        about = _take_fields(line)
        for name in FIRST_LINE_FIELDS:
            if name in about:
                _refuse(where, name, "only the first line of an event has this field")
        if about.get("index", len(self.items)) != len(self.items):
            _refuse(where, "index", f"the next item of this event has index {len(self.items)}")
        if about.get("seq", self.first.get("seq")) != self.first.get("seq"):
            _refuse(where, "seq", "not the seq of the line before, which is of the same event")
        self.put_item(line, about, where)

    def put_item(self, line: Line, about: Line, where: str) -> None:
        extra = about.get("item_extra", {})
        for name in extra.keys() & line.keys():
            _refuse(where, f"item_extra.{name}", "the line has this field itself")
        item = {**line, **extra}
        try:
            self.items.append(_ITEM.validate_python(item))
        except ValidationError as error:
            raise _located(content_error(error, item), where) from None

    def end_event(self) -> None:
        if not self.items:
            return
        first = self.first
        document: Line = {"type": "event", "author": author_of(self.items[0])}
        for name in ("execution_id", "author", "timestamp", "usage", "state", "partial"):
            if name in first:
                document[name] = first[name]
        document["content"], self.items = self.items, []
        self.put_event(document, first, self.where)

    def whole_event(self, line: Line, where: str) -> None:
        if "id" in line:
            _refuse(where, "id", "the id of an event stands in `event`")
        about: Line = {}
        for name in ("event", "seq", "event_extra"):
            if (value := line.pop(name, None)) is not None:
                about[name] = value
        self.put_event(line, about, where)

    def put_event(self, document: Line, about: Line, where: str) -> None:
        extra = about.get("event_extra", {})
        for name in extra.keys() & (document.keys() | Event.model_fields.keys()):
            _refuse(where, f"event_extra.{name}", "this is no extra field of an event")
        if "event" in about:
            document["id"] = about["event"]
        try:
            event = parse_event({**document, **extra})
        except ContentError as error:
            raise _located(error, where) from None
        seq = about.get("seq")
        if seq is not None:
            if seq <= self.seq:
                _refuse(where, "seq", f"seqs rise, and {self.seq} is above")
            self.seq = seq
            event.stored_as(seq)
        self.events.append(event)

    def finish(self) -> list[Event]:
        self.end_event()
        return self.events


def _session(line: Line, where: str) -> SessionFile:
    _check_fields(line, SESSION_FIELDS, where)
    session_id = line.get("id")
    if not isinstance(session_id, str) or not session_id:
        _refuse(where, "id", "a session has an id, a text that is not empty")
    version = line.get("format")
    if version is not None and version != FORMAT:
        _refuse(where, "format", f"format {version} is not {FORMAT}: upgrade turnkeep to read it")
    return SessionFile(
        session_id=session_id,
        user_id=line.get("user_id"),
        state=line.get("state") or {},
        header={
            name: value
            for name, value in line.items()
            if name not in {"type", "id", *SESSION_FIELDS}
        },
        created=_moment(line, "created", where),
        updated=_moment(line, "updated", where),
    )


def _moment(line: Line, name: str, where: str) -> datetime | None:
    if line.get(name) is None:
        return None
    try:
        return _MOMENT.validate_python(line[name])
    except ValidationError:
        _refuse(where, name, "not a time with its zone, as in 2025-01-31T12:00:00Z")


def _event_lines(event: Event) -> Iterator[Line]:
    place: Line = {"event": event.id}
    if event.seq is not None:
        place["seq"] = event.seq
    extra = event.__pydantic_extra__ or {}
    if event.type != "event" or not event.content:
        line = _dump(event, extra=False)
        line = {"type": line.pop("type"), **place, **line}
        del line["id"]
        if not event.content:
            line.pop("content", None)
        taken = {"id", "event_extra", *line, *type(event).model_fields}
        hidden = {name: below for name, below in extra.items() if name in taken}
        line |= {name: below for name, below in extra.items() if name not in taken}
        yield {**line, "event_extra": hidden} if hidden else line
        return
    about: Line = {}
    for name in ("execution_id", "author", "timestamp", "usage", "state"):
        value = getattr(event, name)
        if value is not None:
            about[name] = _plain(value)
    if event.partial:
        about["partial"] = True
    if extra:
        about["event_extra"] = extra
    for index, item in enumerate(event.content):
        line = _dump(item)
        hidden = {name: line.pop(name) for name in LINE_FIELDS if name in line}
        line |= {**place, "index": index}
        if hidden:
            line["item_extra"] = hidden
        if index == 0:
            line |= about
        yield line


def _dump(model: Model, *, extra: bool = True) -> Line:
    """Give a model's own fields and the unknown ones; a None or False nobody set is left out."""
    values = model.__dict__
    fields = {name: about for name, about in type(model).model_fields.items() if not about.exclude}
    said = model.__pydantic_fields_set__
    # What a store gave back names every field, so that there these say nothing.
    silent = said.issuperset(fields)
    made: Line = {"type": values["type"]} if "type" in values else {}
    for name, about in fields.items():
        value = values[name]
        absent = (value is None or value is False) and value is about.default
        if not absent or (name in said and not silent):
            made[name] = _plain(value)
    if extra and model.__pydantic_extra__:
        made |= model.__pydantic_extra__
    return made


def _plain(value: object) -> object:
    if isinstance(value, Model):
        return _dump(value)
    if isinstance(value, list | tuple):  # a Ref is written as its two numbers
        return [_plain(below) for below in value]
    if isinstance(value, datetime):
        return _MOMENT.dump_python(value, mode="json")
    return value


def _take_fields(line: Line) -> Line:
    """Take our own fields off an item's line; null is the same as absence."""
    taken = {name: line.pop(name) for name in LINE_FIELDS if name in line}
    return {name: value for name, value in taken.items() if value is not None}


def _check_fields(line: Line, names: Iterable[str], where: str) -> None:
    for name in names:
        value = line.get(name)
        if value is None:
            continue
        kind = SESSION_FIELDS.get(name) or LINE_FIELDS[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {str: "a text", int: "a whole number", dict: "an object", bool: "true or false"}
            _refuse(where, name, f"{words[kind]} is needed, not {type(value).__name__}")
        if name in _TIMES and not _TIME.match(str(value)):
            _refuse(where, name, "not a time with its zone, as in 2025-01-31T12:00:00Z")
        if isinstance(value, int) and value < (1 if name == "seq" else 0):
            _refuse(where, name, f"{value} is too small")


def _parse(text: str, where: str) -> Line:
    try:
        line = json.loads(
            text.removeprefix("\ufeff"), parse_constant=_no_constant, parse_float=_finite
        )
        text.encode()
        if "\\ud" in text or "\\uD" in text:
            # Half of a surrogate pair may be escaped, but can be kept by nothing.
            json.dumps(line, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        fault = "half of a surrogate pair" if isinstance(error, UnicodeError) else str(error)
        raise ContentError(f"{where}: the line is not JSON: {fault}") from None
    if not isinstance(line, dict):
        raise ContentError(f"{where}: a line is a JSON object, not {type(line).__name__}")
    return line


def _line(line: Line, where: str) -> str:
    try:
        return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ContentError(f"{where}: a value is not JSON: {error}") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse(where: str, path: str, message: str) -> NoReturn:
    raise ContentError(f"{where}: {path}: {message}", path=path)


def _located(error: ContentError, where: str) -> ContentError:
    return ContentError(f"{where}: {error}", path=error.path)
