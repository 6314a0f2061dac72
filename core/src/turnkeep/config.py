"""`turnkeep.toml`: finding it, reading it, and saying what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from turnkeep.errors import ConfigError
from turnkeep.hookspecs import CounterSpec, StoreSpec
from turnkeep.meta import TURN_TIMEOUT
from turnkeep.plugins import Plugins
from turnkeep.store import MAX_TTL

FILE_NAME: Final = "turnkeep.toml"
ENV_PREFIX: Final = "TURNKEEP__"
_NOTHING_FOUND: Final = (
    f"no {FILE_NAME} here: sessions are kept in memory and end with this process; "
    'to keep them, write [session] store = "sqlite" into one'
)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class SessionOptions(BaseModel):
    """The keys of `[session]` that are core's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = "memory"
    ttl: float | None = Field(default=None, gt=0, le=MAX_TTL, allow_inf_nan=False, strict=True)
    turn_timeout: float = Field(default=TURN_TIMEOUT, ge=0.05, le=MAX_TTL, strict=True)
    on_conflict: Literal["error", "wait"] = "error"
    on_pending: Literal["raise", "reject"] = "raise"
    sweep: float | None = Field(default=None, gt=0, le=MAX_TTL, allow_inf_nan=False, strict=True)

    @field_validator("ttl", "turn_timeout", "sweep", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        return seconds(value) if isinstance(value, str) else value


class TokenOptions(BaseModel):
    """The keys of `[tokens]` that are core's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counter: str = "estimate"


@dataclass(frozen=True)
class Config:
    """A configuration that holds: every name resolved, every option checked."""

    session: SessionOptions
    tokens: TokenOptions
    store: StoreSpec[Any]
    store_options: BaseModel
    counter: CounterSpec[Any]
    counter_options: BaseModel
    plugins: Plugins
    source: str
    """Where it came from, for messages."""
    folder: Path
    """What relative paths start from."""
    notes: tuple[str, ...] = field(default=())


def seconds(text: str) -> float:
    """Read a duration such as "24h", "10m", "1.5s" or "250ms"; a bare number is seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", text)
    if match is None:
        raise ValueError('a duration is a number with a unit, such as "90s", "10m", "24h" or "7d"')
    return float(match[1]) * _SECONDS.get(match[2], 1.0)


def find_file(start: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Find the configuration file that holds for a folder.

    In order: `TURNKEEP_CONFIG`; upward to the repository's root or the home folder, never beyond
    (`turnkeep.toml`, else a `[tool.turnkeep]` in pyproject.toml); the user's config folder.
    """
    if named := environ.get("TURNKEEP_CONFIG"):
        return Path(named)
    start = start.resolve()
    home = Path.home()
    for folder in (start, *start.parents):
        if (found := folder / FILE_NAME).is_file():
            return found
        project = folder / "pyproject.toml"
        if project.is_file() and _tool_table(_read_toml(project), project):
            return project
        if (folder / ".git").exists() or folder == home:
            break
    base = environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    user = Path(base) / "turnkeep" / FILE_NAME
    return user if user.is_file() else None


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Config:
    """Read and check a configuration: a path, a mapping, or what `find_file` finds.

    Variables such as `TURNKEEP__SESSION__SQLITE__PATH` go on top of a file. Raises ConfigError with
    every fault found.
    """
    folder = cwd or Path.cwd()
    notes: tuple[str, ...] = ()
    if isinstance(source, Mapping):
        tables, origin = dict(source), "the mapping given to turnkeep.open"
    else:
        path = Path(source) if source is not None else find_file(folder, environ)
        if path is None:
            tables, origin = {}, "no configuration file"
        else:
            tables, origin, folder = _read_toml(path), str(path), path.resolve().parent
            if path.name == "pyproject.toml":
                tables = _tool_table(tables, path)
        tables = _with_environment(tables, environ)
        session = tables.get("session", {})
        if path is None and isinstance(session, Mapping) and "store" not in session:
            notes = (_NOTHING_FOUND,)
    return _check(_resolve_env(tables, environ, ""), origin, folder, notes)


def _check(tables: Mapping[str, Any], origin: str, folder: Path, notes: tuple[str, ...]) -> Config:
    plugins = Plugins()
    problems: list[str] = []
    _unknown_keys(tables, ("session", "tokens"), "", problems)
    session, store, store_options = _section(
        tables,
        "session",
        "store",
        SessionOptions,
        choose=plugins.store,
        known=plugins.store_names(),
        problems=problems,
    )
    tokens, counter, counter_options = _section(
        tables,
        "tokens",
        "counter",
        TokenOptions,
        choose=plugins.counter,
        known=plugins.counter_names(),
        problems=problems,
    )
    if problems:
        raise ConfigError(*(f"{origin}: {problem}" for problem in problems))
    return Config(
        session, tokens, store, store_options, counter, counter_options, plugins, origin, folder,
        notes,
    )  # fmt: skip


def _section(
    tables: Mapping[str, Any],
    name: str,
    chooser: str,
    model: type[Any],
    *,
    choose: Callable[[str], StoreSpec[Any] | CounterSpec[Any]],
    known: Collection[str],
    problems: list[str],
) -> tuple[Any, Any, Any]:
    """Check one core table: its own keys, the plugin it names, and that plugin's table."""
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        problems.append(f"{name} must be a table")
        return None, None, None
    # A table below is for a plugin: the chosen one's is checked, another's waits for its turn.
    own = {
        key: value for key, value in table.items() if key in model.model_fields or key not in known
    }
    core = _validated(model, own, name, problems, known)
    chosen = own.get(chooser, model.model_fields[chooser].default)
    if not isinstance(chosen, str):
        return core, None, None
    try:
        spec = choose(chosen)
    except ConfigError as error:
        problems.extend(f"[{name}] {chooser}: {problem}" for problem in error.problems)
        return core, None, None
    below = table.get(spec.name, {})
    if not isinstance(below, Mapping):
        problems.append(f"[{name}] {spec.name}: must be a table, as in [{name}.{spec.name}]")
        return core, spec, None
    options = _validated(spec.options, below, f"{name}.{spec.name}", problems)
    return core, spec, options


def _validated(
    model: type[BaseModel],
    table: Mapping[str, Any],
    where: str,
    problems: list[str],
    tables_below: Collection[str] = (),
) -> BaseModel | None:
    own = tuple(model.model_fields)
    before = len(problems)
    if model.model_config.get("extra") == "forbid":
        _unknown_keys(table, (*own, *tables_below), where, problems)
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            if fault["type"] != "extra_forbidden":
                key = ".".join(map(str, fault["loc"]))
                problems.append(f"[{where}] {key}: {fault['msg'].removeprefix('Value error, ')}")
        assert len(problems) > before
        return None


def _unknown_keys(
    table: Mapping[str, Any], known: tuple[str, ...], where: str, problems: list[str]
) -> None:
    for key in map(str, table):
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or '-'}"
            place = f"[{where}] {key}: unknown option" if where else f"[{key}]: unknown table"
            problems.append(f"{place}; {hint}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _with_environment(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX):
            continue
        *tables_above, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        place = tables
        for step in tables_above:
            below = place.get(step, {})
            if not isinstance(below, dict):
                raise ConfigError(f"{name}: {step!r} is a value in the file, not a table")
            place[step] = dict(below)
            place = place[step]
        place[key] = _toml_value(environ[name])
    return tables


def _toml_value(text: str) -> Any:
    """Read a variable as a TOML value, as a text if it is none."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def _tool_table(project: Mapping[str, Any], path: Path) -> dict[str, Any]:
    tool = project.get("tool", {})
    table = tool.get("turnkeep", {}) if isinstance(tool, Mapping) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.turnkeep must be a table")
    return table


def _resolve_env(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """Replace each `{ env = "VAR" }` by the variable's value."""
    if isinstance(value, Mapping):
        if set(value) == {"env"} and isinstance(value["env"], str):
            if value["env"] not in environ:
                raise ConfigError(f"{where}: the environment variable {value['env']} is not set")
            return environ[value["env"]]
        return {
            key: _resolve_env(below, environ, f"{where}.{key}".removeprefix("."))
            for key, below in value.items()
        }
    return value
