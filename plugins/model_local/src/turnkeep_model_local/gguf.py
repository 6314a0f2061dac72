"""What the head of a GGUF file says of its model: enough to refuse a broken file with a sentence.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

MAGIC: Final = b"GGUF"
CONTROL: Final = 3
"""The type of tokens that are no text, as the head numbers them."""
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_TOKENS: Final = "tokenizer.ggml.tokens"
_TYPES: Final = "tokenizer.ggml.token_type"
_LOOKS_LIKE_CONTROL: Final = re.compile(
    rb"<\|[^<>|\s]+\|>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
)
"""llama.cpp takes tokens that look like the end of a turn for that, whatever the file says."""


class BrokenFile(ValueError):
    """The file is no GGUF file, or its head is damaged."""


class ModelHead(NamedTuple):
    """The texts of the tokens that are no text, and the longest window the model was made for."""

    control_tokens: tuple[str, ...]
    trained_window: int | None


def read_head(path: Path) -> ModelHead:
    """Read the head of a file. Raises BrokenFile, OSError."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise BrokenFile("it does not begin as a GGUF file does")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(data)
            except (struct.error, IndexError, KeyError, OverflowError) as error:
                raise BrokenFile("its head is damaged or cut off") from error


def _read(data: mmap.mmap) -> ModelHead:
    reader = _Reader(data)
    reader.at = 4
    version = reader.scalar("<I")
    if version not in (2, 3):
        raise BrokenFile(f"it is of GGUF version {version}, and 2 and 3 can be read")
    reader.scalar("<Q")  # tensors
    tokens: list[bytes] = []
    types: list[int] = []
    window = None
    for _ in range(reader.scalar("<Q")):
        key = reader.string()
        kind = reader.scalar("<I")
        value = reader.value(kind, keep=key.decode("utf-8", "replace") in (_TOKENS, _TYPES))
        if key == _TOKENS.encode():
            tokens = value
        elif key == _TYPES.encode():
            types = value
        elif key.endswith(b".context_length"):
            window = int(value)
    found = [
        token.decode("utf-8", "replace")
        for place, token in enumerate(tokens)
        if (place < len(types) and types[place] == CONTROL) or _LOOKS_LIKE_CONTROL.fullmatch(token)
    ]
    return ModelHead(tuple(token for token in found if token), window)


class _Reader:
    """Reads values one after the other; what lies behind the end of the file raises."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def scalar(self, form: str) -> Any:
        [value] = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> bytes:
        length = self.scalar("<Q")
        if length > len(self.data) - self.at:
            raise IndexError
        found = self.data[self.at : self.at + length]
        self.at += length
        return found

    def value(self, kind: int, *, keep: bool) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        inner, length = self.scalar("<I"), self.scalar("<Q")
        if length > len(self.data):
            raise IndexError
        if inner in _SCALARS:
            form = f"<{length}{_SCALARS[inner][1]}"
            start = self.at
            self.at += struct.calcsize(form)
            if self.at > len(self.data):
                raise IndexError
            return list(struct.unpack_from(form, self.data, start)) if keep else None
        return [self.value(inner, keep=keep) for _ in range(length)]
