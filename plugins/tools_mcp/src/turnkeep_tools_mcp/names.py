"""Names that every provider allows: letters, digits, `_` and `-`, 64 at most.

OpenAI takes `[a-zA-Z0-9_-]{1,64}`, Anthropic the same up to 128, Gemini wants a letter or `_`
first; servers may use dots, slashes and any length.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

LONGEST: Final = 64
_DIGEST: Final = 8


def allowed(name: str) -> str:
    """Give a name with what no provider allows replaced by `_`, cut to 64 characters.

    What had to be cut ends in a digest of the whole, so that its end still tells it apart.
    """
    made = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not made or not re.match("[A-Za-z_]", made):
        made = f"_{made}"
    return made if len(made) <= LONGEST else _marked(made, name)


def unique(names: Sequence[str]) -> list[str]:
    """Give an allowed name for each, all different, the same in every run.

    Names that are allowed as they are stay. Of others that would become the same, or one that is
    there already, each gets a digest of what it was; this does not depend on their order.
    """
    made = [allowed(name) for name in names]
    often = Counter(made)
    return [
        after if after == before or often[after] == 1 else _marked(after, before)
        for before, after in zip(names, made, strict=True)
    ]


def _marked(made: str, name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{made[: LONGEST - _DIGEST - 1]}_{digest}"
