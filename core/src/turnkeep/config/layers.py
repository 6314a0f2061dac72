"""What a configuration says, layer by layer, and where each of its values comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from turnkeep.config.find import parse
from turnkeep.config.toml_lines import KeyPath, key_lines

ENV_PREFIX: Final = "TURNKEEP__"
MAPPING: Final = "the mapping given to turnkeep.open"
NO_FILE: Final = "no configuration file"


@dataclass(frozen=True)
class Variable:
    """A variable such as TURNKEEP__SESSION__TTL, put on top of a file."""

    name: str
    text: str = field(repr=False)


@dataclass
class Layers:
    """Tables from a file or a mapping, and the variables on top of them."""

    tables: dict[str, Any]
    """All layers, one on top of the other."""
    base: Mapping[str, Any]
    """The file, or the mapping, alone."""
    source: str
    path: Path | None = None
    text: str = field(default="", repr=False)
    prefix: KeyPath = ()
    """Where our tables stand in the file: below `tool.turnkeep` in a pyproject.toml."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: dict[KeyPath, Variable] = field(default_factory=dict)
    references: dict[KeyPath, str] = field(default_factory=dict)
    """The variable that each `{ env = "VAR" }` met so far names."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Where and what: variables that cannot be laid on top."""

    def add_variables(self) -> None:
        """Put the variables that begin with TURNKEEP__ on top."""
        for name in sorted(self.environ):
            if not name.startswith(ENV_PREFIX):
                continue
            keys = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
            place = self.tables
            for depth, step in enumerate(keys[:-1], start=1):
                below = place.get(step, {})
                if not isinstance(below, Mapping):
                    value = f"{label(keys[:depth])} is a value, not a table"
                    self.faults.append((name, f"{value} ({self.where(keys[:depth])})"))
                    break
                place[step] = dict(below)
                place = place[step]
            else:
                place[keys[-1]] = toml_value(self.environ[name])
                self.variables[keys] = Variable(name, self.environ[name])

    def below(self) -> Layers:
        """Give the file alone, without the variables on top of it."""
        return replace(self, tables=dict(self.base), variables={}, references={}, faults=[])

    def variable(self, path: KeyPath) -> Variable | None:
        """Give the variable that a value comes from, if one was put on top."""
        for length in range(len(path), 0, -1):
            if (found := self.variables.get(path[:length])) is not None:
                return found
        return None

    def where(self, path: KeyPath) -> str:
        """Say where a value stands: a variable, or file and line."""
        if (variable := self.variable(path)) is not None:
            return variable.name
        line = self.line(path)
        return self.source if line is None else f"{self.source}:{line}"

    def line(self, path: KeyPath) -> int | None:
        """Give the line of a key in the file, or of the nearest table above it."""
        for length in range(len(path), 0, -1):
            if (found := self._lines.get(self.prefix + path[:length])) is not None:
                return found
        return None

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        try:
            return key_lines(self.text)
        except RecursionError:  # nested almost too deeply for tomllib: told without lines
            return {}

    def resolve(self, value: Any, path: KeyPath, unset: list[KeyPath]) -> Any:
        """Replace each `{ env = "VAR" }` by the variable's text.

        A table's value whose variable is not set is left out, and its path noted in `unset`.
        """
        if (name := reference(value)) is not None:
            self.references[path] = name
            if name not in self.environ:
                unset.append(path)
                return None
            return self.environ[name]
        if isinstance(value, Mapping):
            found = {}
            for key, below in value.items():
                before = len(unset)
                resolved = self.resolve(below, (*path, key), unset)
                if len(unset) == before or (
                    isinstance(below, Mapping) and reference(below) is None
                ):
                    found[key] = resolved
            return found
        if isinstance(value, list):
            return [self.resolve(below, (*path, place), unset) for place, below in enumerate(value)]
        return value

    def secrets(self) -> Iterator[str]:
        """Give the texts that came from variables: no message may hold one."""
        yield from (variable.text for variable in self.variables.values())
        yield from (self.environ[name] for name in self.references.values() if name in self.environ)

    def from_variable(self, path: KeyPath) -> bool:
        """Tell whether a value, or a part of it, comes from a variable."""
        return self.variable(path) is not None or any(
            found[: len(path)] == path or path[: len(found)] == found
            for found in (*self.references, *self.variables)
        )


def from_file(path: Path, text: str, environ: Mapping[str, str]) -> Layers:
    """Read a file and put the variables on top. Raises ConfigError where it is not valid TOML."""
    from turnkeep.config.find import PROJECT_FILE, tool_table

    tables = parse(text, path)
    prefix: KeyPath = ()
    if path.name == PROJECT_FILE:
        tables, prefix = tool_table(tables, path), ("tool", "turnkeep")
    layers = Layers(dict(tables), tables, str(path), path, text, prefix, environ)
    layers.add_variables()
    return layers


def without_file(environ: Mapping[str, str]) -> Layers:
    """Give what variables alone say."""
    layers = Layers({}, {}, NO_FILE, environ=environ)
    layers.add_variables()
    return layers


def from_mapping(tables: Mapping[str, Any], environ: Mapping[str, str]) -> Layers:
    """Take tables from code as they are; only what they name themselves is read from `environ`."""
    return Layers(dict(tables), tables, MAPPING, environ=environ)


def reference(value: object) -> str | None:
    """Give the name of the variable if a value is `{ env = "VAR" }`."""
    if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
        return value["env"]
    return None


def toml_value(text: str) -> Any:
    """Read a variable as a TOML value, as a text if it is none."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def has(tables: Any, path: KeyPath) -> bool:
    """Tell whether tables hold something at a path."""
    for part in path:
        if not isinstance(tables, Mapping) or part not in tables:
            return False
        tables = tables[part]
    return True


def label(path: KeyPath) -> str:
    """Write a path of keys as TOML would."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_text(part)
    return text


def key_text(key: object) -> str:
    """Write a key, quoted where TOML would ask for it, and printable."""
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else ascii(text)
