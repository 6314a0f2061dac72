"""The size in pixels of inline pictures, read from the first bytes of their base64.

Headers are read as the formats' specifications lay them out: PNG (W3C PNG, IHDR), JPEG (ITU T.81,
frame header), GIF (GIF89a, logical screen) and WebP (RFC 9649). Nothing is decompressed.
"""

from __future__ import annotations

import binascii
from typing import Final, NamedTuple

MARKERS: Final = 1_000
"""JPEG segments to look through at most; cameras write fewer than a hundred."""
_NO_FRAME: Final = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of frames that are none: tables and an extension [T.81, table B.1]."""
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})


class Size(NamedTuple):
    """Width and height in pixels, as stored: an EXIF rotation is not applied."""

    width: int
    height: int


def dimensions(data: object) -> Size | None:
    """Give the size of the picture that this base64 holds; None if it cannot be told.

    A data URL may stand in its place. Takes a bounded number of short reads, whatever the length,
    and raises nothing, whatever the value.
    """
    if not isinstance(data, str):
        return None
    if data.startswith("data:"):
        data = data[data.find(",", 0, 256) + 1 :]
    try:
        size = _read(_Bytes(data))
    except (ValueError, IndexError):  # not base64, or cut off
        return None
    return size if size is not None and min(size) > 0 else None


class _Bytes:
    """Bytes of a base64 text by their position, of which only those asked for are decoded."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, start: int, size: int) -> bytes:
        """Give exactly these bytes. Raises IndexError past the end, ValueError if not base64."""
        first = start // 3
        piece = self._text[first * 4 : ((start + size + 2) // 3) * 4]
        found = binascii.a2b_base64(piece + "=" * (-len(piece) % 4), strict_mode=True)
        found = found[start - first * 3 :][:size]
        if len(found) < size:
            raise IndexError(start)
        return found


def _read(data: _Bytes) -> Size | None:
    start = data.read(0, 12)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return Size(int.from_bytes(start[6:8], "little"), int.from_bytes(start[8:10], "little"))
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return _webp(data.read(12, 18))
    return None


def _png(data: _Bytes) -> Size | None:
    header = data.read(12, 12)
    if not header.startswith(b"IHDR"):
        return None
    return Size(int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:], "big"))


def _jpeg(data: _Bytes) -> Size | None:
    at = 2
    for _ in range(MARKERS):
        mark, code = data.read(at, 2)
        if mark != 0xFF:
            return None
        if code == 0xFF:  # a fill byte before a marker
            at += 1
        elif code in _NO_LENGTH:
            at += 2
        elif 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            frame = data.read(at + 5, 4)
            return Size(int.from_bytes(frame[2:], "big"), int.from_bytes(frame[:2], "big"))
        else:
            at += 2 + int.from_bytes(data.read(at + 2, 2), "big")
    return None


def _webp(chunk: bytes) -> Size | None:
    kind = chunk[:4]
    if kind == b"VP8 " and chunk[11:14] == b"\x9d\x01\x2a":
        width, height = chunk[14:16], chunk[16:18]
        return Size(
            int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
        )
    if kind == b"VP8L" and chunk[8] == 0x2F:
        bits = int.from_bytes(chunk[9:13], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return Size(
            int.from_bytes(chunk[12:15], "little") + 1, int.from_bytes(chunk[15:18], "little") + 1
        )
    return None
