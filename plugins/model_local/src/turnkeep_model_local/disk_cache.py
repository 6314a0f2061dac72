"""Computed prompts on disk, so that another process can go on where one stopped.

A file is named by what it is of (model, version of llama.cpp, conversation) and by the digest of
its bytes. llama.cpp trusts what it restores, so a file that is not whole is never given to it; and
as it compares the tokens with those of the next prompt itself, an old file only helps less.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{32}\.kv")
_UNFINISHED: Final = "unfinished-"
_ABANDONED: Final = 3600
"""Seconds after which a file that is still being written has lost its writer."""
_SAMPLE: Final = 1 << 20


class DiskCache:
    """The files of one model in a folder of at most `limit` bytes, shared by any processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._limit = limit
        self._model = b""

    def prepare(self, weights: Path, version: str) -> None:
        """Make the folder, for its owner alone, and tell this model's files from others'."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = weights.stat().st_size
        with weights.open("rb") as file:  # a sample: the whole may be many gigabytes
            sample = file.read(_SAMPLE)
            file.seek(max(0, size - _SAMPLE))
            sample += file.read(_SAMPLE)
        self._model = _digest(sample + f"{size} {version}".encode()).encode()

    def find(self, conversation: str) -> str | None:
        """Give the name of the newest file of a conversation."""
        found = self._of(conversation)
        return found[-1].name if found else None

    def hold(self, name: str) -> str | None:
        """Give another name of a file, under which it stays until dropped, whoever replaces it.

        None if it is not there any more, or not as it was written; then it is removed.
        """
        path, held = self.folder / name, self.folder / self.begin()
        try:
            os.link(path, held)
            if _digest(held.read_bytes()) == name.split(".")[1]:
                path.touch()  # used: others go first
                return held.name
            path.unlink(missing_ok=True)
        except OSError:
            pass
        self.drop(held.name)
        return None

    def begin(self) -> str:
        """Give the name of a new file to write."""
        return f"{_UNFINISHED}{uuid.uuid4().hex}"

    def finish(self, unfinished: str, conversation: str) -> str | None:
        """Put a written file in its place, and make room; its name, or None if it did not last."""
        path = self.folder / unfinished
        older = self._of(conversation)
        path.chmod(0o600)
        name = f"{self._key(conversation)}.{_digest(path.read_bytes())}.kv"
        path.replace(self.folder / name)
        for each in older:
            if each.name != name:
                each.unlink(missing_ok=True)
        self._make_room()
        return name if (self.folder / name).exists() else None

    def drop(self, unfinished: str) -> None:
        """Remove what was begun and will not be finished, or is not held any longer."""
        with contextlib.suppress(OSError):
            (self.folder / unfinished).unlink()

    def _make_room(self) -> None:
        sizes: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            try:
                stat = path.stat()
            except OSError:  # another process was quicker
                continue
            if _NAME.fullmatch(path.name):
                sizes.append((stat.st_mtime, stat.st_size, path))
            elif path.name.startswith(_UNFINISHED) and stat.st_mtime < time.time() - _ABANDONED:
                path.unlink(missing_ok=True)
        room = self._limit
        for _, size, path in sorted(sizes, reverse=True):
            room -= size
            if room < 0:
                path.unlink(missing_ok=True)

    def _of(self, conversation: str) -> list[Path]:
        """Give the files of a conversation, the newest last."""
        found: list[tuple[int, Path]] = []
        for path in self.folder.glob(f"{self._key(conversation)}.*.kv"):
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def _key(self, conversation: str) -> str:
        return _digest(self._model + conversation.encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
