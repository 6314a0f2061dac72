"""What was learned about models' counts, kept for the next session in the user's data folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from turnkeep.tokens.correction import Correction

_logger = logging.getLogger("turnkeep")

FILE_NAME: Final = "corrections.json"
MAX_MODELS: Final = 200
LEAST: Final = 5
"""Reports without which a model's correction is not worth keeping."""


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the user's data folder for turnkeep (XDG Base Directory Specification)."""
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "turnkeep"


class Learned:
    """Corrections by model and way of counting. `path` None keeps them in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, Correction] = {} if path is None else _read(path)
        self._changed: set[str] = set()

    @classmethod
    def of_user(cls) -> Learned:
        """Give what this user's programs have learned; in memory only for a user without a home."""
        try:
            return cls(data_folder() / FILE_NAME)
        except RuntimeError:
            return cls()

    def correction(self, model: str, counter: str) -> Correction:
        """Give the prior for a model: a copy that a session may learn on with."""
        known = self._known.get(_key(model, counter))
        return Correction() if known is None else known.as_prior()

    def known(self, model: str, counter: str) -> Correction | None:
        """Give what has been learned of a model, None if nothing."""
        return self._known.get(_key(model, counter))

    def take(self, model: str, counter: str, correction: Correction) -> None:
        """Take what a session has learned, if it knows at least as much."""
        if correction.observations < LEAST:
            return
        key = _key(model, counter)
        known = self._known.get(key)
        if known is None or correction.observations >= min(known.observations, 50):
            self._known[key] = correction
            self._changed.add(key)

    def save(self) -> None:
        """Write what changed. A file that cannot be written is a line in the log, no more."""
        if self._path is None or not self._changed:
            return
        # Other programs may have written since: what is new here goes on top of theirs, and to
        # the end, as what was used last.
        merged = {key: each for key, each in _read(self._path).items() if key not in self._changed}
        merged |= {key: self._known[key] for key in self._known if key in self._changed}
        document = {key: merged[key].dump() for key in list(merged)[-MAX_MODELS:]}
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"v": 1, "models": document}), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            _logger.info("%s: what was learned of token counts is not kept: %s", self._path, error)
        else:
            self._changed.clear()


def _key(model: str, counter: str) -> str:
    return f"{model}|{counter}"


def _read(path: Path) -> dict[str, Correction]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, dict) or document.get("v") != 1:
        return {}
    found = {str(key): Correction.load(value) for key, value in models.items()}
    return {key: each for key, each in found.items() if each.observations}
