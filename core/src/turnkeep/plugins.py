"""Finding plugins and choosing from what they offer.

Each entry point is loaded on its own: one that fails is a warning and a row in `turnkeep plugins`,
and an error only where the configuration names it.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Generic, TypeAlias, TypeVar

from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import (
    PROJECT,
    CounterSpec,
    ModelSpec,
    OptimizerSpec,
    StoreSpec,
    WrapperSpec,
)
from turnkeep.plugin_faults import Refusal, canonical, explain
from turnkeep.plugin_load import CORE_KEYS, Offered, ask, watched

__all__ = ["CATALOGUE", "CORE_KEYS", "Offer", "Plugin", "Plugins"]

_logger = logging.getLogger("turnkeep.plugins")

CATALOGUE: Final[Mapping[str, Mapping[str, str]]] = {
    "session store": {
        "postgres": "turnkeep-session-postgres",
        "redis": "turnkeep-session-redis",
        "sqlite": "turnkeep-session-sqlite",
    },
    "store wrapper": {"encrypt": "turnkeep-wrap-encrypt"},
    "token counter": {"tiktoken": "turnkeep-tokens-tiktoken"},
    "context step": {"summarize": "turnkeep-memory-summarize"},
    "model client": {
        "litellm": "turnkeep-model-litellm",
        "local": "turnkeep-model-local",
    },
}
"""Kind → name in TOML → the distribution to install, for what we publish ourselves."""
_PREFIX: Final = {
    "session store": "session_",
    "store wrapper": "wrap_",
    "token counter": "tokens_",
    "context step": "memory_",
    "model client": "model_",
}
"""Kind → how the entry points of its plugins begin, by convention."""

DEFAULT_CLIENT: Final = "litellm"
"""What speaks to a model whose name says no client."""
_warned: set[str] = set()
"""What this process has been told: a program may open many keepers, one warning is enough."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin as found: what it offers, or why it cannot be used."""

    name: str
    distribution: str
    version: str
    offers: tuple[str, ...] = ()
    problem: str | None = None
    """Why it cannot be used, and what to do."""
    note: str | None = None
    """What else there is to know: it prints, or another plugin offers the same name."""
    error: BaseException | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Name it with its distribution and version."""
        return f"{self.name} of {self.distribution} {self.version}".rstrip()


S = TypeVar(
    "S", StoreSpec[Any], WrapperSpec[Any], CounterSpec[Any], OptimizerSpec[Any], ModelSpec[Any]
)
AnySpec: TypeAlias = (
    StoreSpec[Any] | WrapperSpec[Any] | CounterSpec[Any] | OptimizerSpec[Any] | ModelSpec[Any]
)


@dataclass(frozen=True)
class Offer(Generic[S]):
    """A spec, and the plugin that offers it."""

    plugin: Plugin
    spec: S


class Plugins:
    """All plugins of this environment, and a typed way to choose from what they offer.

    `warn` logs a warning for each plugin that cannot be used, once in a process. With `strict`
    (default: whether TURNKEEP_STRICT_PLUGINS is 1) such a plugin is a PluginError instead.
    """

    def __init__(self, *, warn: bool = True, strict: bool | None = None) -> None:
        self.found: list[Plugin] = []
        self.stores: list[Offer[StoreSpec[Any]]] = []
        """Every session store on offer, core's first."""
        self.wrappers: list[Offer[WrapperSpec[Any]]] = []
        """Every store wrapper on offer, likewise."""
        self.counters: list[Offer[CounterSpec[Any]]] = []
        """Every token counter on offer, likewise."""
        self.optimizers: list[Offer[OptimizerSpec[Any]]] = []
        """Every step for contexts on offer, likewise."""
        self.models: list[Offer[ModelSpec[Any]]] = []
        """Every model client on offer."""
        self._warn = warn
        self._strict = is_strict() if strict is None else strict
        self._load()

    def store_names(self) -> set[str]:
        """Give the names of all session stores, those included that are not installed."""
        return {offer.spec.name for offer in self.stores} | CATALOGUE["session store"].keys()

    def wrapper_names(self) -> set[str]:
        """Give the names of all store wrappers, likewise."""
        return {offer.spec.name for offer in self.wrappers} | CATALOGUE["store wrapper"].keys()

    def counter_names(self) -> set[str]:
        """Give the names of all token counters, likewise."""
        return {offer.spec.name for offer in self.counters} | CATALOGUE["token counter"].keys()

    def optimizer_names(self) -> set[str]:
        """Give the names of all steps for contexts, likewise."""
        return {offer.spec.name for offer in self.optimizers} | CATALOGUE["context step"].keys()

    def model_names(self) -> set[str]:
        """Give the names of all model clients, likewise."""
        return {offer.spec.name for offer in self.models} | CATALOGUE["model client"].keys()

    def store(self, name: str) -> StoreSpec[Any]:
        """Choose a kind of session store by its name, or by `distribution:name`.

        Raises ConfigError for an unknown or ambiguous name, PluginError for a broken plugin.
        """
        return self._choose("session store", name, self.stores)

    def wrapper(self, name: str) -> WrapperSpec[Any]:
        """Choose a store wrapper, likewise."""
        return self._choose("store wrapper", name, self.wrappers)

    def counter(self, name: str) -> CounterSpec[Any]:
        """Choose a kind of token counter, likewise."""
        return self._choose("token counter", name, self.counters)

    def optimizer(self, name: str) -> OptimizerSpec[Any]:
        """Choose a step for contexts, likewise."""
        return self._choose("context step", name, self.optimizers)

    def model(self, name: str) -> ModelSpec[Any]:
        """Choose a kind of model client, likewise."""
        return self._choose("model client", name, self.models)

    def model_named(self, name: str) -> tuple[ModelSpec[Any], str]:
        """Give what opens a model named as "openai/gpt-4o-mini" or "local:smollm2", and its id.

        Without a client in front of it, it is LiteLLM's. Raises like `model`.
        """
        client, colon, rest = name.partition(":")
        known = bool(colon) and client in self.model_names()
        return self.model(client if known else DEFAULT_CLIENT), rest if known else name

    def plugin_of(self, spec: AnySpec) -> Plugin:
        """Give the plugin that offers a spec."""
        every = (offer for offers in self._kinds().values() for offer in offers)
        return next(offer.plugin for offer in every if offer.spec is spec)

    def _kinds(self) -> dict[str, list[Offer[Any]]]:
        return {
            "session store": list(self.stores),
            "store wrapper": list(self.wrappers),
            "token counter": list(self.counters),
            "context step": list(self.optimizers),
            "model client": list(self.models),
        }

    def _load(self) -> None:
        from turnkeep import __version__, builtin

        core = Plugin(name="core", distribution="turnkeep", version=__version__)
        self._add(core, ask(builtin, "turnkeep"))
        disabled = {
            canonical(name.strip())
            for name in os.environ.get("TURNKEEP_DISABLED_PLUGINS", "").split(",")
        }
        for point in sorted(entry_points(group=PROJECT), key=_order):
            plugin = _row(point)
            if not disabled.isdisjoint({canonical(plugin.name), canonical(plugin.distribution)}):
                problem = "disabled by TURNKEEP_DISABLED_PLUGINS"
                self.found.append(replace(plugin, problem=problem))
                continue
            try:
                with watched(plugin.label, plugin.name) as watch:
                    offered = ask(point.load(), plugin.distribution)
                self._add(replace(plugin, note=_PRINTS if watch.printed else None), offered)
            except KeyboardInterrupt:
                raise  # the user's, not the plugin's
            except BaseException as error:  # noqa: BLE001  # whatever a stranger's module raises
                self._broken(plugin, explain(error, point), error)
        for plugin in self.found:
            if plugin.note is not None:
                self._say(f"plugin {plugin.label}: {plugin.note}")
        self._tell_clashes()

    def _broken(self, plugin: Plugin, problem: str, error: BaseException) -> None:
        if self._strict:
            raise PluginError(f"plugin {plugin.label} cannot be used: {problem}") from error
        self._say(f"plugin {plugin.label} cannot be used: {problem}")
        self.found.append(replace(plugin, problem=problem, error=error))

    def _add(self, plugin: Plugin, offered: Offered) -> None:
        new: dict[str, tuple[Any, ...]] = {
            "session store": offered.stores,
            "store wrapper": offered.wrappers,
            "token counter": offered.counters,
            "context step": offered.optimizers,
            "model client": offered.models,
        }
        for kind, others in self._kinds().items():
            for spec in new[kind]:
                for other in others:
                    if other.spec.name == spec.name and _same(other.plugin, plugin.distribution):
                        raise Refusal(
                            f"it offers the {kind} {spec.name!r}, which {other.plugin.name} of the "
                            "same distribution offers already; give each its own name"
                        )
        offers = tuple(f"{kind} {spec.name}" for kind, specs in new.items() for spec in specs)
        plugin = replace(plugin, offers=offers)
        self.found.append(plugin)
        self.stores += [Offer(plugin, spec) for spec in offered.stores]
        self.wrappers += [Offer(plugin, spec) for spec in offered.wrappers]
        self.counters += [Offer(plugin, spec) for spec in offered.counters]
        self.optimizers += [Offer(plugin, spec) for spec in offered.optimizers]
        self.models += [Offer(plugin, spec) for spec in offered.models]

    def _tell_clashes(self) -> None:
        """Tell of each name that several plugins offer: none wins it in silence."""
        for kind, offers in self._kinds().items():
            for name in dict.fromkeys(offer.spec.name for offer in offers):
                plugins = [offer.plugin for offer in offers if offer.spec.name == name]
                if len(plugins) == 1:
                    continue
                labels = " and ".join(plugin.label for plugin in plugins)
                plain = "core's" if plugins[0].name == "core" else "none of them"
                choices = " or ".join(
                    f'"{plugin.distribution}:{name}"' for plugin in plugins if plugin.name != "core"
                )
                what = f"{labels} offer the {kind} {name!r}"
                self._say(f'{what}; "{name}" alone means {plain}, {choices} chooses')
                self._note(plugins, f'{what}; "{name}" alone means {plain}', name)

    def _note(self, plugins: Sequence[Plugin], what: str, name: str) -> None:
        mine = {(plugin.name, plugin.distribution) for plugin in plugins if plugin.name != "core"}
        for place, plugin in enumerate(self.found):
            if (plugin.name, plugin.distribution) in mine:
                choice = f'{what}; "{plugin.distribution}:{name}" chooses this one'
                note = choice if plugin.note is None else f"{plugin.note}; {choice}"
                self.found[place] = replace(plugin, note=note)

    def _say(self, text: str) -> None:
        if self._warn and text not in _warned:
            _warned.add(text)
            _logger.warning("%s", text)

    def _choose(self, kind: str, name: str, offers: Sequence[Offer[S]]) -> S:
        wanted, _, short = name.rpartition(":")
        fitting = [
            offer
            for offer in offers
            if offer.spec.name == short and (not wanted or _same(offer.plugin, wanted))
        ]
        if not wanted:  # nobody takes a built-in's name by being installed
            fitting = [offer for offer in fitting if offer.plugin.name == "core"] or fitting
        if len(fitting) == 1:
            return fitting[0].spec
        if fitting:
            choices = " or ".join(f'"{offer.plugin.distribution}:{short}"' for offer in fitting)
            raise ConfigError(
                f"{kind} {name!r} is offered by {_count(len(fitting))} plugins; write {choices}"
            )
        for plugin in self._unusable(kind, wanted, short):
            raise PluginError(
                f"{kind} {name!r} comes from plugin {plugin.label}, which cannot be used: "
                f"{plugin.problem}"
            ) from plugin.error
        raise ConfigError(self._unknown(kind, name, offers))

    def _unusable(self, kind: str, wanted: str, short: str) -> Iterable[Plugin]:
        """Give the plugins that would offer a name if they could be used, by convention."""
        names = {short, f"{_PREFIX[kind]}{short}"}
        for plugin in self.found:
            if plugin.problem is not None and (
                _same(plugin, wanted) if wanted else plugin.name in names
            ):
                yield plugin

    def _unknown(self, kind: str, name: str, offers: Sequence[Offer[S]]) -> str:
        wanted, _, short = name.rpartition(":")
        names = sorted({offer.spec.name for offer in offers})
        message = f"unknown {kind} {name!r}; installed: {', '.join(names) or 'none'}."
        from_others = [o.plugin.distribution for o in offers if o.spec.name == short]
        broken = [plugin.label for plugin in self.found if plugin.problem is not None]
        if wanted and from_others:
            message += f" Did you mean {f'{from_others[0]}:{short}'!r}?"
        elif (distribution := CATALOGUE[kind].get(short)) is not None:
            message += f" Run: pip install {distribution}"
        elif close := difflib.get_close_matches(short, names, 1):
            message += f" Did you mean {close[0]!r}?"
        elif broken:
            message += f" Not usable (see turnkeep plugins): {', '.join(broken)}"
        return message


_PRINTS: Final = "it prints while it is loaded; that went to standard error: tell its author"


def is_strict() -> bool:
    """Tell whether a plugin that cannot be used is an error for every program."""
    return os.environ.get("TURNKEEP_STRICT_PLUGINS") == "1"


def _row(point: EntryPoint) -> Plugin:
    dist = point.dist
    name, version = (dist.name, dist.version) if dist is not None else ("unknown", "")
    return Plugin(name=point.name, distribution=name, version=version)


def _order(point: EntryPoint) -> tuple[str, str]:
    return point.name, _row(point).distribution


def _same(plugin: Plugin, distribution: str) -> bool:
    return canonical(plugin.distribution) == canonical(distribution)


def _count(number: int) -> str:
    return {2: "two", 3: "three"}.get(number, str(number))
