"""Wire formats: how items become a provider's requests, and what providers say becomes items.

`get_profile` gives one provider's profile; `jsonl` reads and writes turnkeep's own files.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from turnkeep.errors import ContentError
from turnkeep.formats.foreign import detect
from turnkeep.formats.profile import Profile

__all__ = ["PROFILE_NAMES", "detect", "get_profile", "profile_of"]

PROFILE_NAMES: Final = ("openai-chat", "anthropic", "openai-responses", "gemini")


def get_profile(name: str) -> Profile:
    """Give the profile of this name. Raises ContentError, with the names there are."""
    if name not in PROFILE_NAMES:
        import difflib

        near = difflib.get_close_matches(name, PROFILE_NAMES, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        names = ", ".join(PROFILE_NAMES)
        raise ContentError(f"there is no profile {name!r}{hint}; there are: {names}")
    # Most programs speak to one provider: the others are not even loaded.
    profile: Profile = import_module(f"turnkeep.formats.{name.replace('-', '_')}").PROFILE
    return profile


def profile_of(model: str) -> str | None:
    """Tell whose form of requests a model's name calls for; None where it does not tell."""
    name = model.lower().rpartition("/")[2]
    if name.startswith("claude"):
        return "anthropic"
    return "gemini" if name.startswith("gemini") else None
