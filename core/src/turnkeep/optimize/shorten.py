"""Shorter texts: a head and a tail of the original, and between them what is left out and where.

The pieces are the original's own characters, so what still stands can be quoted. What is told of
the rest is counted in characters: it is the same whatever counts the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from turnkeep.content import BlobPart, FilePart, ImagePart, Ref
from turnkeep.optimize.reference import mark

Count = Callable[[Sequence[str]], Sequence[int]]

HEAD_SHARE: Final = 0.6
"""Of what is kept of a text, the part from its beginning."""
_TRIES: Final = 8


def gap(left_out: int, ref: Ref, note: str = "") -> str:
    """Say what is left out, and how it is read back."""
    about = f"{note}; " if note else ""
    return f"[{about}{left_out:,} characters left out: {mark(ref)}]"


def ends(text: str, head: int, tail: int, ref: Ref, note: str = "") -> str:
    """Keep so many characters of both ends, cut at line ends where these are near."""
    if head + tail >= len(text):
        return text
    front, back = text[:head], text[len(text) - tail :] if tail else ""
    near = front.rfind("\n", head // 2)
    if near >= 0:
        front = front[: near + 1]
    near = back.find("\n", 0, len(back) // 2)
    if near >= 0:
        back = back[near + 1 :]
    said = gap(len(text) - len(front) - len(back), ref, note)
    between = "" if not front or front.endswith("\n") else "\n"
    return f"{front}{between}{said}\n{back}" if back else f"{front}{between}{said}"


def to_tokens(text: str, cap: int, ref: Ref, count: Count, note: str = "") -> str:
    """Keep both ends of a text so that the whole has at most `cap` tokens.

    Where even the sentence about the rest is longer than that, the sentence is what comes back.
    """
    size = count([text])[0]
    if size <= cap:
        return text
    keep = cap - count([gap(len(text), ref, note)])[0]
    characters = len(text) * max(keep, 0) // size
    for _ in range(_TRIES):
        if characters < 2:  # nothing is left of both ends
            break
        head = round(characters * HEAD_SHARE)
        shorter = ends(text, head, characters - head, ref, note)
        now = count([shorter])[0]
        if now <= cap:
            return shorter
        # Some parts of a text hold more tokens than others.
        characters = min(characters * cap // now, characters - 1) - 1
    return gap(len(text), ref, note)


def strings(value: Any, longest: int, keep: int, ref: Ref) -> Any:
    """Shorten each long string within a JSON value, keeping its form."""
    if isinstance(value, str):
        if len(value) <= longest:
            return value
        return f"{value[:keep]} {gap(len(value) - keep, ref)}"
    if isinstance(value, Mapping):
        return {key: strings(below, longest, keep, ref) for key, below in value.items()}
    if isinstance(value, list):
        return [strings(below, longest, keep, ref) for below in value]
    return value


def is_media(piece: object) -> bool:
    """Say whether a piece of a result or message is a picture or a file."""
    return isinstance(piece, ImagePart | FilePart | BlobPart)


def media_note(pieces: str | Sequence[Any]) -> str:
    """Say how many pictures and files stand among the pieces of an item; "" if none do."""
    media = sum(map(is_media, pieces))
    return f"{media} pictures or files" if media else ""
