"""References: how a text in a request names the item of the log that it stands for."""

from __future__ import annotations

import re
from typing import Final

from turnkeep.content import Ref

REFERENCE: Final = r"#[1-9]\d{0,17}\.\d{1,9}(?![\w.]*\d)"
"""A reference as a regular expression, for those who have to pass over it."""

_REFERENCE: Final = re.compile(r"#([1-9]\d{0,17})\.(\d{1,9})(?![\w.]*\d)")


def mark(ref: Ref) -> str:
    """Write a reference, as in `#12.0`: the seq of an event and the index of an item in it."""
    return f"#{ref.seq}.{ref.index}"


def references(text: str) -> list[Ref]:
    """Find the references in a text, in order, each as often as it stands there."""
    return [Ref(int(seq), int(index)) for seq, index in _REFERENCE.findall(text)]


def parse_reference(text: str) -> Ref | None:
    """Read one reference, with or without its sign; None for anything else."""
    found = _REFERENCE.fullmatch(f"#{text.strip().lstrip('#')}")
    return None if found is None else Ref(int(found[1]), int(found[2]))
