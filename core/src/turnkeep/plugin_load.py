"""Loading one plugin: its import, its hooks, and whether what they return can be used."""

from __future__ import annotations

import inspect
import io
import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TextIO, TypeVar

import pluggy

from turnkeep.hookspecs import (
    API,
    PROJECT,
    CounterSpec,
    Hooks,
    ModelSpec,
    OptimizerSpec,
    StoreSpec,
    WrapperSpec,
)
from turnkeep.plugin_faults import Refusal, unknown_hook, wrong_api

_logger = logging.getLogger("turnkeep.plugins")

CORE_KEYS: Final = frozenset(
    {
        "store",
        "ttl",
        "turn_timeout",
        "on_conflict",
        "on_pending",
        "wrap",
        "sweep",
        "counter",
        "learn",
        "client",
        "id",
        "preset",
        "max_tokens",
        "reserve",
        "trigger",
        "target",
        "pipeline",
        "arrival_cap",
        "arrival_caps",
        "recall",
        "prices",
        "profile",
        "step_timeout",
        "fit",
        "engine",
    }
)
"""Keys of the tables that plugins' own tables stand in: no plugin may take one as its name."""
SLOW: float = 10.0
"""Seconds after which a plugin that is still loading is named in a warning."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_MOST: Final = 1000
"""No plugin offers more: a hook that never ends would stop every program."""
_HOOKS: Final = frozenset(name for name in vars(Hooks) if not name.startswith("_"))

T = TypeVar(
    "T", StoreSpec[Any], WrapperSpec[Any], CounterSpec[Any], OptimizerSpec[Any], ModelSpec[Any]
)


@dataclass(frozen=True)
class Offered:
    """What one plugin offers."""

    stores: tuple[StoreSpec[Any], ...]
    wrappers: tuple[WrapperSpec[Any], ...]
    counters: tuple[CounterSpec[Any], ...]
    optimizers: tuple[OptimizerSpec[Any], ...]
    models: tuple[ModelSpec[Any], ...]


def ask(module: object, dist_name: str) -> Offered:
    """Ask a plugin for its specs, in a manager of its own, so that its faults stay its own.

    Raises Refusal for what breaks the contract, and whatever the plugin's own code raises.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(module, name="plugin")
    except pluggy.PluginValidationError as error:
        raise Refusal(f"a hook does not fit: {str(error).strip().splitlines()[-1]}") from error
    callers = manager.get_hookcallers(module) or []
    for caller in callers:
        if not caller.has_spec() and not all(i.optionalhook for i in caller.get_hookimpls()):
            raise unknown_hook(caller.name, _HOOKS)
    if not callers:
        plain = [name for name in sorted(_HOOKS) if callable(getattr(module, name, None))]
        raise Refusal(
            f"none of its functions is marked with @hookimpl; mark {', '.join(plain)}"
            if plain
            else "it offers nothing: none of its functions is marked with @hookimpl; upgrade it"
        )
    return Offered(
        _specs("session_stores", manager.hook.session_stores(), StoreSpec, dist_name),
        _specs("store_wrappers", manager.hook.store_wrappers(), WrapperSpec, dist_name),
        _specs("token_counters", manager.hook.token_counters(), CounterSpec, dist_name),
        _specs("request_optimizers", manager.hook.request_optimizers(), OptimizerSpec, dist_name),
        _specs("model_clients", manager.hook.model_clients(), ModelSpec, dist_name),
    )


def _specs(hook: str, answers: Iterable[Any], kind: type[T], dist_name: str) -> tuple[T, ...]:
    found: list[T] = []
    for answer in answers:
        if inspect.iscoroutine(answer):
            answer.close()
            raise Refusal(f"its hook {hook} is async; hooks are plain functions")
        if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
            raise Refusal(
                f"its hook {hook} returns {_a(answer)}; it must return a list of {kind.__name__}"
            )
        for spec in islice(answer, _MOST + 1):
            _check(spec, hook, kind, dist_name)
            if spec.name in {other.name for other in found}:
                raise Refusal(f"its hook {hook} offers {spec.name!r} twice; give each its own name")
            found.append(spec)
            if len(found) > _MOST:
                raise Refusal(f"its hook {hook} offers more than {_MOST} things; return a list")
    return tuple(found)


def _check(spec: Any, hook: str, kind: type[T], dist_name: str) -> None:
    from pydantic import BaseModel

    if not isinstance(spec, kind):
        raise Refusal(
            f"its hook {hook} returns a list that holds {_a(spec)}; it must hold {kind.__name__} "
            "objects"
        )
    if spec.api != API:
        raise wrong_api(spec.api, str(spec.name), dist_name)
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise Refusal(
            f"{spec.name!r} cannot be a name; names are made of small letters, digits and _"
        )
    if spec.name in CORE_KEYS:
        raise Refusal(
            f"{spec.name!r} cannot be a name: it is a key of the configuration; choose another"
        )
    if not isinstance(spec.options, type) or not issubclass(spec.options, BaseModel):
        raise Refusal(
            f"the options of {spec.name!r} must be a pydantic model, not {_a(spec.options)}"
        )
    if not callable(spec.open):
        raise Refusal(f"`open` of {spec.name!r} must be a function, not {_a(spec.open)}")


def _a(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


@dataclass
class Watch:
    """What was seen while a plugin was loaded."""

    printed: bool = False


@contextmanager
def watched(label: str, name: str) -> Iterator[Watch]:
    """Keep a plugin that is loaded from the program's output, and name one that does not end.

    What this thread prints goes to standard error meanwhile: a command's output may be read by
    another program. A plugin that waits for ever (for a lock, a server, an answer) cannot be
    stopped from outside, but it can be named.
    """
    watch = Watch()
    timer = threading.Timer(SLOW, _tell_slow, (label, name))
    timer.daemon = True
    timer.start()
    before = sys.stdout
    aside = _Aside(before) if before is not None else None
    if aside is not None:
        sys.stdout = aside
    try:
        yield watch
    finally:
        timer.cancel()
        sys.stdout = before
        if aside is not None:
            watch.printed = aside.printed
            aside.active = False


def _tell_slow(label: str, name: str) -> None:
    _logger.warning(
        "plugin %s is still loading; if it does not end, leave it out with "
        "TURNKEEP_DISABLED_PLUGINS=%s",
        label,
        name,
    )


class _Aside(io.TextIOBase):
    """Standard output that sends what one thread prints to standard error, until it is done."""

    def __init__(self, real: TextIO) -> None:
        self.real = real
        self.thread = threading.get_ident()
        self.active = True
        self.printed = False

    def write(self, text: str) -> int:
        if self.active and threading.get_ident() == self.thread:
            self.printed = self.printed or bool(text)
            return sys.stderr.write(text) if sys.stderr is not None else len(text)
        return self.real.write(text)

    def flush(self) -> None:
        self.real.flush()

    def close(self) -> None:
        """Stay open: the real output is not ours to close."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
