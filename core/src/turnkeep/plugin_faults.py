"""What can be wrong with a plugin, each in a sentence that ends with what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from typing import Final

from turnkeep.errors import TurnkeepError
from turnkeep.hookspecs import API

_LONGEST: Final = 300
"""So many characters of a stranger's message are shown."""


class Refusal(Exception):
    """A plugin breaks the contract; the message is the whole sentence."""


def explain(error: BaseException, point: EntryPoint) -> str:
    """Say why an entry point cannot be used, and what to do."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, ImportError):
        return _explain_import(error, point)
    if not re.fullmatch(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?", point.value):
        return f"its entry point names {point.value!r}, which is no module; tell its author"
    leave = f"tell its author, or leave it out with TURNKEEP_DISABLED_PLUGINS={point.name}"
    if isinstance(error, SystemExit):
        return f"it ends the program while it is loaded (SystemExit: {_said(error)}); {leave}"
    return f"it fails while it is loaded: {type(error).__name__}: {_said(error)}; {leave}"


def explain_open(error: BaseException, dist_name: str) -> str:
    """Say why something cannot be opened, with the pip line where a module is missing."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        try:
            dist: Distribution | None = distribution(dist_name)
        except PackageNotFoundError:
            dist = None
        module = error.name.partition(".")[0]
        return f"the module {module} is not installed; run: pip install {_wanted(dist, module)}"
    if isinstance(error, TurnkeepError):
        return _said(error)  # a whole sentence
    return f"{type(error).__name__}: {_said(error)}"


def wrong_api(api: object, name: str, dist_name: str) -> Refusal:
    """Say that a spec was made for another version of the contract."""
    upgrade = "turnkeep" if isinstance(api, int) and api > API else dist_name
    return Refusal(
        f"{name!r} was made for plugin api {api}, this turnkeep has {API}; install versions that "
        f"match: pip install --upgrade {upgrade}"
    )


def unknown_hook(name: str, known: Collection[str]) -> Refusal:
    """Say that a function is marked as a hook that there is not."""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"hooks are: {', '.join(sorted(known))}"
    return Refusal(f"its function {name} is marked as a hook, and there is no such hook; {hint}")


def canonical(dist_name: str) -> str:
    """Write a distribution's name as registries compare them."""
    return re.sub(r"[-_.]+", "-", dist_name).lower()


def _explain_import(error: ImportError, point: EntryPoint) -> str:
    dist_name = point.dist.name if point.dist is not None else point.name
    missing = error.name or ""
    top = missing.partition(".")[0]
    if top == "turnkeep":
        return (
            f"it needs another turnkeep ({_said(error)}); install versions that match: "
            f"pip install --upgrade turnkeep {dist_name}"
        )
    if not isinstance(error, ModuleNotFoundError) or not missing:
        return f"an import fails: {_said(error)}; try: pip install --upgrade {dist_name}"
    if top == point.value.partition(":")[0].partition(".")[0]:
        return (
            f"its own module {missing} is not there; install it again: "
            f"pip install --force-reinstall {dist_name}"
        )
    return (
        f"it needs the module {missing}, which is not installed; run: "
        f"pip install {_wanted(point.dist, top)}"
    )


def _wanted(dist: Distribution | None, module: str) -> str:
    """Tell what to install for a module: what the distribution itself asks for, if it does."""
    requirements = list(_requirements(dist)) if dist is not None else []
    assert dist is not None or not requirements
    for name, written, extra in requirements:
        if canonical(name) == canonical(module):
            return f'"{dist.name}[{extra}]"' if extra and dist is not None else _quoted(written)
    # A module may be called otherwise than what brings it: then it comes with what is not there.
    absent = [_quoted(text) for name, text, extra in requirements if not extra and _absent(name)]
    return " ".join(absent) or module


def _requirements(dist: Distribution) -> Iterator[tuple[str, str, str]]:
    """Give name, requirement and extra of each; those bound to other conditions are left out."""
    for text in dist.requires or ():
        written, _, marker = (part.strip() for part in text.partition(";"))
        extra = re.fullmatch(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        name = re.match(r"[A-Za-z0-9._-]+", written)
        if name is not None and (extra is not None or not marker):
            yield name[0], written, extra[1] if extra is not None else ""


def _absent(dist_name: str) -> bool:
    try:
        distribution(dist_name)
    except PackageNotFoundError:
        return True
    return False


def _quoted(requirement: str) -> str:
    return requirement if re.fullmatch(r"[A-Za-z0-9._-]+", requirement) else f'"{requirement}"'


def _said(error: BaseException) -> str:
    """Give an error's message as one printable line, whatever its author made of it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a message may be code of a stranger's too
        text = "its message cannot be read"
    line = " ".join(text.split()) or "no message"
    line = "".join(c if c.isprintable() else "·" for c in line)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
