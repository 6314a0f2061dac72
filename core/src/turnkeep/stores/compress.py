"""The wrapper `compress`: records, state and meta that are long enough are kept smaller.

What is kept is one of three forms. Data as it is, also what was stored before the wrapper stood
there. `MAGIC` `z`, its length in eight bytes, and a zlib stream. `MAGIC` `=` and data that happens
to begin with the magic itself, which no text does. So nothing is ever kept larger than it is by
more than these few bytes.
"""

from __future__ import annotations

import zlib
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.store import SessionStore
from turnkeep.stores.coded import CodedStore, Place

MAGIC: Final = b"\xfftk"
"""Begins what is not kept as it is. A byte 255 stands in no UTF-8, and so in no JSON."""
_PACKED: Final = MAGIC + b"z"
_PLAIN: Final = MAGIC + b"="
_LENGTH: Final = 8


class CompressOptions(BaseModel):
    """The table `[session.compress]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    above: int = Field(
        default=512, ge=0, description="bytes from which a record, a state or a meta is compressed"
    )
    level: int = Field(
        default=6, ge=1, le=9, description="of zlib: 1 is the fastest, 9 the smallest"
    )
    limit: int = Field(
        default=256 * 1024 * 1024,
        gt=0,
        description="bytes that one of them may have: larger ones are kept as they are, and what "
        "claims to be larger is refused",
    )


class CompressedStore(CodedStore):
    """A store that keeps what it is given compressed; for parameters see `CompressOptions`."""

    def __init__(self, inner: SessionStore, options: CompressOptions | None = None) -> None:
        super().__init__(inner)
        self._options = options or CompressOptions()

    def encode(self, place: Place, data: bytes) -> bytes:
        """Compress, where that makes it smaller."""
        del place
        if self._options.above <= len(data) <= self._options.limit:
            packed = zlib.compress(data, self._options.level)
            if len(_PACKED) + _LENGTH + len(packed) < len(data):
                return _PACKED + len(data).to_bytes(_LENGTH, "big") + packed
        return _PLAIN + data if data.startswith(MAGIC) else data

    def decode(self, place: Place, data: bytes) -> bytes:
        """Give back what was compressed. Raises ValueError for what is damaged or too large."""
        del place
        if not data.startswith(MAGIC):
            return data
        if data.startswith(_PLAIN):
            return data[len(_PLAIN) :]
        start = len(_PACKED) + _LENGTH
        if not data.startswith(_PACKED) or len(data) < start:
            raise ValueError(
                "it is compressed in a form that this version does not know; upgrade turnkeep"
            )
        size = int.from_bytes(data[len(_PACKED) : start], "big")
        if size > self._options.limit:
            raise ValueError(
                f"it says that it has {size} bytes uncompressed, and [session.compress] limit "
                f"allows {self._options.limit}; raise the limit if that can be"
            )
        unpacking = zlib.decompressobj()
        try:
            # One byte more than it should have tells a stream that does not end there.
            unpacked = unpacking.decompress(data[start:], size + 1)
        except zlib.error:
            raise ValueError("it is damaged: its compressed bytes are not as written") from None
        if len(unpacked) != size or not unpacking.eof or unpacking.unused_data:
            raise ValueError("it is damaged: its compressed bytes are not as many as written")
        return unpacked
