"""Finding plugins and what they offer. The only place that touches pluggy's untyped calls.

Each entry point is loaded on its own: one that fails is a warning and a row in `turnkeep plugins`,
and an error only where the configuration names it.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Generic, TypeVar

import pluggy

from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import API, PROJECT, CounterSpec, Hooks, StoreSpec

_logger = logging.getLogger("turnkeep.plugins")

CATALOGUE: Final[Mapping[str, Mapping[str, str]]] = {
    "session store": {"sqlite": "turnkeep-session-sqlite"},
    "token counter": {"tiktoken": "turnkeep-tokens-tiktoken"},
}
"""Kind → name in TOML → the distribution to install, for what we publish ourselves."""


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
    }
)
"""Keys of the tables that plugins' own tables stand in: no plugin may take one as its name."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin as found: what it offers, or why it cannot be used."""

    name: str
    distribution: str
    version: str
    offers: tuple[str, ...] = ()
    problem: str | None = None
    error: BaseException | None = field(default=None, repr=False)


S = TypeVar("S", StoreSpec[Any], CounterSpec[Any])


@dataclass(frozen=True)
class _Offer(Generic[S]):
    distribution: str
    spec: S


class Plugins:
    """All plugins of this environment, and a typed way to choose from what they offer."""

    def __init__(self) -> None:
        self.found: list[Plugin] = []
        self._stores: list[_Offer[StoreSpec[Any]]] = []
        self._counters: list[_Offer[CounterSpec[Any]]] = []
        self._load()

    def store_names(self) -> set[str]:
        """Give the names of all session stores, those included that are not installed."""
        return {offer.spec.name for offer in self._stores} | CATALOGUE["session store"].keys()

    def counter_names(self) -> set[str]:
        """Give the names of all token counters, likewise."""
        return {offer.spec.name for offer in self._counters} | CATALOGUE["token counter"].keys()

    def store(self, name: str) -> StoreSpec[Any]:
        """Choose a kind of session store by its name, or by `distribution:name`.

        Raises ConfigError for an unknown or ambiguous name, PluginError for a broken plugin.
        """
        return self._choose("session store", name, self._stores)

    def counter(self, name: str) -> CounterSpec[Any]:
        """Choose a kind of token counter, likewise."""
        return self._choose("token counter", name, self._counters)

    def _load(self) -> None:
        from turnkeep import builtin

        disabled = {
            name.strip() for name in os.environ.get("TURNKEEP_DISABLED_PLUGINS", "").split(",")
        }
        self._register("core", "turnkeep", "", builtin)
        for point in sorted(entry_points(group=PROJECT), key=lambda point: point.name):
            if point.name in disabled:
                self.found.append(_row(point, problem="disabled by TURNKEEP_DISABLED_PLUGINS"))
                continue
            try:
                self._register(point.name, *_origin(point), point.load())
            except (Exception, SystemExit) as error:  # whatever a stranger's module raises
                if os.environ.get("TURNKEEP_STRICT_PLUGINS") == "1":
                    raise
                problem = f"{type(error).__name__}: {error}"
                _logger.warning("plugin %s cannot be used: %s", point.name, problem)
                self.found.append(_row(point, problem=problem, error=error))

    def _register(self, name: str, distribution: str, version: str, module: object) -> None:
        """Ask one plugin, in a manager of its own, so that its faults stay its own."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(Hooks)
        manager.register(module, name=name)
        manager.check_pending()
        stores = _flat(manager.hook.session_stores(), StoreSpec)
        counters = _flat(manager.hook.token_counters(), CounterSpec)
        offers = (
            *(f"session store {spec.name}" for spec in stores),
            *(f"token counter {spec.name}" for spec in counters),
        )
        self.found.append(
            Plugin(name=name, distribution=distribution, version=version, offers=offers)
        )
        self._stores += [_Offer(distribution, spec) for spec in stores]
        self._counters += [_Offer(distribution, spec) for spec in counters]

    def _choose(self, kind: str, name: str, offers: Sequence[_Offer[S]]) -> S:
        wanted_distribution, _, short = name.rpartition(":")
        fitting = [
            offer
            for offer in offers
            if offer.spec.name == short and wanted_distribution in ("", offer.distribution)
        ]
        if len(fitting) == 1:
            return fitting[0].spec
        if fitting:
            choices = " or ".join(f"{offer.distribution}:{short}" for offer in fitting)
            raise ConfigError(f"{kind} {short!r} is offered by two plugins; write {choices}")
        for plugin in self.found:
            if plugin.error is not None and plugin.name.endswith(f"_{short}"):
                raise PluginError(
                    f"{kind} {name!r} comes from {plugin.distribution} {plugin.version}, "
                    f"which cannot be used: {plugin.problem}"
                ) from plugin.error
        names = sorted({offer.spec.name for offer in offers})
        message = f"unknown {kind} {name!r}; installed: {', '.join(names)}."
        if (distribution := CATALOGUE[kind].get(short)) is not None:
            message += f" Run: pip install {distribution}"
        elif close := difflib.get_close_matches(short, names, 1):
            message += f" Did you mean {close[0]!r}?"
        raise ConfigError(message)


T = TypeVar("T", StoreSpec[Any], CounterSpec[Any])


def _flat(answers: Iterable[Iterable[T]], kind: type[T]) -> list[T]:
    specs = [spec for answer in answers for spec in answer]
    for spec in specs:
        if not isinstance(spec, kind):
            raise TypeError(
                f"a hook must return {kind.__name__} objects, not {type(spec).__name__}"
            )
        if not _NAME.fullmatch(spec.name) or spec.name in CORE_KEYS:
            raise ValueError(
                f"{spec.name!r} cannot be a name: it is a key of the configuration, or not made of "
                "small letters, digits and _"
            )
        if spec.api != API:
            raise RuntimeError(
                f"{spec.name!r} was made for plugin api {spec.api}, this turnkeep has {API}: "
                "install versions that match"
            )
    return specs


def _origin(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("unknown", "")


def _row(point: EntryPoint, *, problem: str, error: BaseException | None = None) -> Plugin:
    distribution, version = _origin(point)
    return Plugin(
        name=point.name,
        distribution=distribution,
        version=version,
        problem=problem,
        error=error,
    )
