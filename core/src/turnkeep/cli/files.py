"""Files that commands read and write, and the streams they print to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from turnkeep.errors import TurnkeepError


def tell(sentence: str) -> None:
    """Say on standard error what was made of a file that is read; it may name what it holds."""
    from turnkeep.cli.table import printable

    print(f"turnkeep: {printable(sentence)}", file=sys.stderr)


@contextmanager
def whole_file(name: str) -> Iterator[TextIO]:
    """Give a file to write that takes its name only once it is whole ("-": standard output).

    Raises TurnkeepError where it cannot be written.
    """
    if name == "-":
        yield sys.stdout
        return
    partial = Path(f"{name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as out:
            yield out
        if Path(name).exists() and not Path(name).is_file():
            with partial.open("rb") as whole, Path(name).open("wb") as target:
                target.writelines(whole)  # a pipe or a device keeps its name
        else:
            partial.replace(name)
    except OSError as error:
        raise TurnkeepError(f"{name}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
