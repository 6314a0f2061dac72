"""The lines of a file: a JSON text for each record, and behind those of a write its head.

The head line is what makes a write count: records without one behind them were cut off by a crash.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from turnkeep.errors import CorruptSession
from turnkeep.store import Head, Revision

Line = dict[str, Any]
"""A head line: the fields of a head, `state`, and `commit`, the id of the write."""

_HEAD = b'{"id":'
_CHUNK = 65536


def now_ms() -> int:
    """Give this machine's time in milliseconds since 1970 UTC: the clock of the store."""
    return time.time_ns() // 1_000_000


def moment(milliseconds: float) -> datetime:
    """Give a time as the contract wants it: aware and in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _expires(line: Line) -> float | None:
    return None if line["ttl"] is None else line["updated"] + line["ttl"] * 1000


def expired(line: Line, now: int) -> bool:
    """Say whether the session with this last line is gone."""
    expires = _expires(line)
    return expires is not None and expires <= now


def head_of(line: Line) -> Head:
    """Give what the contract calls the head."""
    expires = _expires(line)
    return Head(
        line["id"],
        line["user"],
        Revision(bytes.fromhex(line["incarnation"]), line["version"]),
        line["seq"],
        line["base"],
        as_bytes(line["meta"]),
        moment(line["created"]),
        moment(line["updated"]),
        None if expires is None else moment(expires),
        line["ttl"],
    )


def as_text(data: bytes) -> str:
    """Write any bytes as a text that JSON can hold; what is text stays readable."""
    return data.decode("utf-8", "surrogateescape")


def as_bytes(text: str) -> bytes:
    """Give back what `as_text` was given."""
    return text.encode("utf-8", "surrogateescape")


def written(records: list[bytes], line: Line) -> bytes:
    """Write the lines of one write."""
    texts = [json.dumps(as_text(record)) for record in records]
    head = json.dumps(line, separators=(",", ":"))
    return "".join(f"{text}\n" for text in [*texts, head]).encode()


def last_head(file: BinaryIO, session_id: str) -> tuple[Line, int] | None:
    """Find the newest head line and where it ends, from the end of the file; None if there is none.

    What a crash has left behind it is passed over.
    """
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end > 0:
        start = max(end - _CHUNK - len(tail), 0)  # twice as far each time: linear in the end
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
        place = len(tail)
        while (place := tail.rfind(_HEAD, 0, place)) >= 0:
            stop = tail.find(b"\n", place)
            if (start + place == 0 or tail[place - 1 : place] == b"\n") and stop >= 0:
                return parsed_head(tail[place:stop], session_id), start + stop + 1
    return None


def read_all(file: BinaryIO, session_id: str) -> tuple[Line, list[bytes]] | None:
    """Read the head and the lines of all records; None where there is no whole write.

    Only up to the newest head: what is written while this reads is none of it.
    """
    if (found := last_head(file, session_id)) is None:
        return None
    line, end = found
    file.seek(0)
    lines = file.read(end).split(b"\n")[:-1]
    records = [raw for raw in lines if not raw.startswith(_HEAD)]
    if len(records) != line["seq"]:
        seq = len(records)
        raise CorruptSession(session_id, seq, f"{line['seq']} records were written, {seq} are left")
    return line, records


def record(raw: bytes, session_id: str, seq: int) -> bytes:
    """Read the line of a record. Raises CorruptSession."""
    try:
        text = json.loads(raw)
    except ValueError as error:
        raise CorruptSession(session_id, seq, f"its line is damaged ({error})") from error
    if not isinstance(text, str):
        raise CorruptSession(session_id, seq, "its line holds no text")
    return as_bytes(text)


def parsed_head(raw: bytes, session_id: str) -> Line:
    """Read a head line. Raises CorruptSession."""
    try:
        line: Line = json.loads(raw)
    except ValueError as error:
        raise CorruptSession(session_id, 0, f"its head is damaged ({error})") from error
    return line


def list_key(head: Head) -> tuple[float, str]:
    """Order heads: newest created first, then by id."""
    return -head.created.timestamp(), head.session_id


def parsed_cursor(cursor: str) -> tuple[float, str]:
    """Read a cursor, which is the key of the last head of a page."""
    try:
        created, session_id = json.loads(cursor)
        return float(created), str(session_id)
    except (ValueError, TypeError):
        raise ValueError(f"{cursor!r} is no cursor of this store") from None


def sync(folder: Path) -> None:
    """Make the names in a folder durable, which takes an fsync of the folder itself.

    See https://man7.org/linux/man-pages/man2/fsync.2.html.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
