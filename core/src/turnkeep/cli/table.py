"""Plain text tables and times for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a head; numbers stand to the right, the last column is not padded."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(len(line[column]) for line in [list(head), *cells]) for column in range(len(head))
    ]
    numeric = [
        bool(rows)
        and all(isinstance(row[column], int | float) or _number(str(row[column])) for row in rows)
        for column in range(len(head))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [list(head), *cells]
    ]
    return "\n".join(lines)


def printable(text: str, *, keep: str = "") -> str:
    """Put a dot for each character that could drive the terminal, but for those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else "·" for c in text)


def local_time(moment: datetime) -> str:
    """Write a time for a person, in the zone of the machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("%", "").strip().isdigit()
