"""LiteLLM itself: imported once, late, offline and in silence.

By name, and as what no type checker looks into: its 3,000 modules would be checked with ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Lock
from typing import Any

_OFFLINE = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS")
_RESTORED = (*_OFFLINE, "TIKTOKEN_CACHE_DIR")
"""LiteLLM points the last one to its own folder, for all of the program."""
_LOADED = ("litellm", "litellm.litellm_core_utils.default_encoding")
_LOCK = Lock()


def library(part: str = "litellm") -> Any:
    """Give LiteLLM, or a module that comes with it, importing it if nobody has: it takes seconds.

    Imported here it uses the lists that it brings, of prices and of Anthropic's features, instead
    of fetching the newest, and prints no hints. A program that imported it before keeps the
    settings it chose.
    """
    with _LOCK:
        first = "litellm" not in sys.modules
        with _offline():
            litellm = import_module("litellm")
            # It would be loaded later, and change the environment then.
            with suppress(ImportError):
                import_module("litellm.litellm_core_utils.default_encoding")
            if first:
                features = import_module("litellm.anthropic_beta_headers_manager")
                features.get_unsupported_headers("bedrock")  # reads the list, which is kept
        if first:
            litellm.suppress_debug_info = True  # type: ignore[attr-defined]  # a module's setting
    return litellm if part == "litellm" else import_module(part)


@contextmanager
def _offline() -> Iterator[None]:
    """Ask for the lists in the package; they are read once."""
    if all(name in sys.modules for name in _LOADED):
        yield
        return
    before = {name: os.environ.get(name) for name in _RESTORED}
    for name in _OFFLINE:
        os.environ.setdefault(name, "True")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
