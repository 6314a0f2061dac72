"""Presets: sets of rules that were chosen by replaying recorded sessions (docs/optimization.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "coding": {},
    "chat": {"target": 0.3, "arrival_cap": 0.25, "notes": {"quote": 400}},
    "cheap": {"arrival_cap": 0.025},
}
"""Name → what it sets of the table `[context]`, tables of steps included."""


def with_preset(table: Mapping[str, Any]) -> dict[str, Any]:
    """Put what a table says on top of the preset that it names."""
    name = table.get("preset")
    merged = dict(PRESETS.get(name, {})) if isinstance(name, str) else {}
    for key, value in table.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = {**below, **value}
        else:
            merged[key] = value
    return merged
