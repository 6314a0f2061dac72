"""On which line of a TOML text each key stands: read only when there is a fault to place.

tomllib keeps no positions, and the libraries that do are larger than what is needed here (the
choice is explained in docs/design/configuration.md). The text has been accepted by tomllib, so this
reader only finds its way; it checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys that lead to a value; whole numbers are places in arrays."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_KEY_PART: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[^\s.=\]"\']+')
_PLAIN: Final = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Give the line, from 1, of every key, table and array element of a valid TOML text.

    A table that is only implied (`a` in `[a.b]`) stands where it is first implied, until a header
    or key of its own is found.
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.counted = 0
        """Up to where line ends have been counted: the whole walk counts each once."""
        self.lines: dict[KeyPath, int] = {}
        self.implied: set[KeyPath] = set()
        self.lengths: dict[KeyPath, int] = {}
        """How many tables each array of tables has so far."""

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            if self.text.startswith("[[", self.at):
                self.at += 2
                place = self._in_arrays(self._key())
                index = self.lengths.get(place, 0)
                self.lengths[place] = index + 1
                table = (*place, index)
                self.lines.setdefault(place, self._line())
                self.lines[table] = self._line()
                self.at += 2
            elif self.text.startswith("[", self.at):
                self.at += 1
                table = self._in_arrays(self._key())
                self._note(table)
                self.at += 1
            else:
                self._pair(table)
        return self.lines

    def _in_arrays(self, key: KeyPath) -> KeyPath:
        """Complete a header's key: below an array of tables it means the newest of them."""
        path: KeyPath = ()
        for place, part in enumerate(key):
            path = (*path, part)
            if place < len(key) - 1:
                if path in self.lengths:
                    path = (*path, self.lengths[path] - 1)
                else:
                    self._note(path, implied=True)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, implied=True, line=start)
        self._note(path, line=start)
        self._skip_blank()
        self.at += 1  # =
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        if found := _STRING.match(self.text, self.at):
            self.at = found.end()
        elif self.text.startswith("[", self.at):
            for index in self._members("]"):
                self._note((*path, index))
                self._value((*path, index))
        elif self.text.startswith("{", self.at):
            for _ in self._members("}"):
                self._pair(path)
        else:
            found = _PLAIN.match(self.text, self.at)
            assert found is not None
            self.at = found.end()

    def _members(self, end: str) -> Iterator[int]:
        """Step through what stands between brackets; the caller reads each member."""
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != end:
            if self.text[self.at] == ",":
                self.at += 1
                continue
            yield index
            index += 1
        self.at += 1

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip_blank()
            found = _KEY_PART.match(self.text, self.at)
            assert found is not None
            raw = found[0]
            # tomllib knows how to read the escapes of a quoted key.
            parts.append(next(iter(tomllib.loads(f"{raw} = 0"))) if raw[0] in "\"'" else raw)
            self.at = found.end()
            self._skip_blank()
            if not self.text.startswith(".", self.at):
                return tuple(parts)
            self.at += 1

    def _note(self, path: KeyPath, *, implied: bool = False, line: int | None = None) -> None:
        if path not in self.lines or (path in self.implied and not implied):
            self.lines[path] = line or self._line()
            (self.implied.add if implied else self.implied.discard)(path)

    def _line(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def _skip_blank(self) -> bool:
        """Pass over blanks, line ends and comments; tells whether anything follows."""
        found = _BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.at < len(self.text)
