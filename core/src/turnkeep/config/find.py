"""Which file holds, and what it says."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from turnkeep.errors import ConfigError

FILE_NAME: Final = "turnkeep.toml"
PROJECT_FILE: Final = "pyproject.toml"


def find_file(start: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Find the configuration file that holds for a folder.

    In order: `TURNKEEP_CONFIG`; the nearest `turnkeep.toml` upward to the repository's root or the
    home folder, never beyond; the nearest `pyproject.toml` there with a `[tool.turnkeep]`; the
    user's config folder. Raises ConfigError for such a pyproject.toml that is not valid TOML.
    """
    if named := environ.get("TURNKEEP_CONFIG"):
        return start / Path(named).expanduser()
    home = _home()
    folders = _upward(start.resolve(), home)
    for folder in folders:
        if _is_file(found := folder / FILE_NAME):
            return found
    for folder in folders:
        if _is_file(found := folder / PROJECT_FILE) and _holds_our_table(found):
            return found
    base = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else None
    if base is None and home is not None:
        base = home / ".config"
    user = base / "turnkeep" / FILE_NAME if base is not None else None
    return user if user is not None and _is_file(user) else None


def read_text(path: Path) -> str:
    """Read a TOML file's text. Raises ConfigError where there is none or it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def parse(text: str, path: Path) -> dict[str, Any]:
    """Read TOML. Raises ConfigError with file, line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(
            r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error)
        )
        what = found[1] if found else str(error)
        line, column = found[2] if found else None, found[3] if found else None
        if line is None:
            lines = text.split("\n")
            line, column = str(len(lines)), str(len(lines[-1]) + 1)
        raise ConfigError(f"{path}:{line}:{column}: not valid TOML: {_sentence(what)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be read") from None


def tool_table(project: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Give `[tool.turnkeep]` of a pyproject.toml, empty where there is none."""
    tool = project.get("tool", {})
    table = tool.get("turnkeep", {}) if isinstance(tool, Mapping) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.turnkeep must be a table, as in [tool.turnkeep.session]")
    return table


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except RuntimeError:  # a user without a name and without HOME, as in some containers
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be looked into holds no configuration of ours
        return False


def _upward(start: Path, home: Path | None) -> list[Path]:
    folders = []
    for folder in (start, *start.parents):
        folders.append(folder)
        if (folder / ".git").exists() or folder == home:
            break
    return folders


def _holds_our_table(project: Path) -> bool:
    text = read_text(project)
    if "turnkeep" not in text:  # somebody else's: not even its faults are our business
        return False
    tool = parse(text, project).get("tool")
    return isinstance(tool, Mapping) and "turnkeep" in tool


def _sentence(what: str) -> str:
    """Say in TOML's terms what tomllib says in Python's."""
    what = what.replace("Cannot overwrite a value", "this key is given twice")
    return re.sub(r"\(((?:'[^']*'(?:, )?)+),?\)", _header, what)


def _header(key: re.Match[str]) -> str:
    parts = re.findall(r"'([^']*)'", key[1])
    return f"[{'.'.join(parts)}]"
