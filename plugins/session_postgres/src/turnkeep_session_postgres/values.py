"""Values as PostgreSQL's binary format has them, and statements that name their types.

By hand, since a statement of constant text with a handful of types needs no adaptation: that is
two thirds of what a driver's own `execute` costs (docs/design/postgres.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, TypeAlias

TEXT: Final = 25
INT8: Final = 20
BYTEA: Final = 17
TEXTS: Final = 1009
INT8S: Final = 1016
BYTEAS: Final = 1001
"""Numbers of types, which are the same in every server."""

Value: TypeAlias = bytes | None
"""A parameter in binary form; None is NULL."""

int8: Final = struct.Struct("!q").pack
_header: Final = struct.Struct("!iiiii").pack
_length: Final = struct.Struct("!i").pack
_NULL: Final = _length(-1)


class Statement:
    """A statement as it goes to a server: its text, and the types of its parameters.

    The name is for those who prepare it. It is a hash of the text: behind a pooler, a statement
    that somebody else has prepared under it would be the same one.
    """

    __slots__ = ("formats", "name", "text", "types")

    def __init__(self, text: str, *types: int) -> None:
        self.text = text.encode()
        self.types = types
        self.formats = [1] * len(types)
        self.name = b"turnkeep_" + sha256(self.text).hexdigest()[:24].encode()


def text(value: str | None) -> Value:
    """Give a text."""
    return None if value is None else value.encode()


def number(value: int | None) -> Value:
    """Give a bigint."""
    return None if value is None else int8(value)


def array(kind: int, items: Sequence[Value]) -> bytes:
    """Give an array of one dimension; `kind` is the type of its items."""
    if not items:
        return _header(0, 0, kind, 0, 0)[:12]
    parts = [_header(1, 1, kind, len(items), 1)]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            parts += _length(len(item)), item
    return b"".join(parts)


def to_int(value: bytes) -> int:
    """Read a whole number of any size."""
    return int.from_bytes(value, "big", signed=True)
