"""Reading a configuration and checking all of it, so that every fault is told at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from turnkeep.config.configuration import Config
from turnkeep.config.faults import Fault, check_table, keys_of, unknown_tables
from turnkeep.config.find import FILE_NAME, find_file, read_text
from turnkeep.config.layers import Layers, from_file, from_mapping, has, label, without_file
from turnkeep.config.options import ModelOptions, SessionOptions, TokenOptions
from turnkeep.config.toml_lines import KeyPath
from turnkeep.config.wrappers import ChosenWrapper, chosen_wrappers
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import CounterSpec, ModelSpec, OptimizerSpec, StoreSpec, WrapperSpec
from turnkeep.optimize.pipeline import ChosenStep
from turnkeep.optimize.presets import with_preset
from turnkeep.optimize.rules import ContextRules, Use
from turnkeep.plugins import Offer, Plugins
from turnkeep.prices import price_row

_NOTHING_FOUND: Final = (
    f"no {FILE_NAME} here: sessions are kept in memory and end with this process; "
    'to keep them, write [session] store = "sqlite" into one, or run `turnkeep init`'
)


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    plugins: Plugins | None = None,
) -> Config:
    """Read and check a configuration: a path, a mapping, or what `find_file` finds.

    Variables such as `TURNKEEP__SESSION__SQLITE__PATH` go on top of a file. `plugins` is what may
    be named (default: what is installed). Raises ConfigError with every fault found, PluginError
    where all that is wrong is a plugin that the configuration names.
    """
    folder = cwd or Path.cwd()
    notes: tuple[str, ...] = ()
    if isinstance(source, Mapping):
        layers = from_mapping(source, environ)
    else:
        path = Path(source) if source is not None else find_file(folder, environ)
        if path is None:
            layers = without_file(environ)
            session = layers.tables.get("session", {})
            if isinstance(session, Mapping) and "store" not in session:
                notes = (_NOTHING_FOUND,)
        else:
            layers = from_file(path, read_text(path), environ)
            folder = path.resolve().parent
    return _Checker(layers, plugins or Plugins()).config(folder, notes)


S = TypeVar(
    "S", StoreSpec[Any], WrapperSpec[Any], CounterSpec[Any], OptimizerSpec[Any], ModelSpec[Any]
)
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class _Section(Generic[M, S]):
    """One of core's tables: its keys, and the plugin that one of them names."""

    kind: str
    name: str
    chooser: str
    model: type[M]
    choose: Callable[[str], S]
    known: Collection[str]
    offers: Sequence[Offer[Any]]


class _Checker:
    def __init__(self, layers: Layers, plugins: Plugins) -> None:
        self.layers = layers
        self.plugins = plugins
        self.faults: list[Fault] = []
        self.broken: list[PluginError] = []
        self.session = _Section(
            "session store",
            "session",
            "store",
            SessionOptions,
            plugins.store,
            plugins.store_names() | plugins.wrapper_names(),
            [*plugins.wrappers, *plugins.stores],
        )  # fmt: skip
        self.tokens = _Section(
            "token counter", "tokens", "counter", TokenOptions, plugins.counter,
            plugins.counter_names(), plugins.counters,
        )  # fmt: skip
        self.model = _Section(
            "model client", "model", "client", ModelOptions, plugins.model,
            plugins.model_names(), plugins.models,
        )  # fmt: skip

    def config(self, folder: Path, notes: tuple[str, ...]) -> Config:
        """Check everything; raise all faults together."""
        layers = self.layers
        known = {
            section.name: (*section.model.model_fields, *section.known)
            for section in (self.session, self.model, self.tokens)
        }
        known["context"] = (*ContextRules.model_fields, *self.plugins.optimizer_names())
        unknown_tables(layers.tables, known, self.faults)
        session, store, store_options = self._section(self.session)
        wrappers = self._wrappers(session, store)
        model, client, client_options = self._section(self.model)
        tokens, counter, counter_options = self._section(self.tokens)
        context, steps = self._context()
        problems = [f"{where}: {what}" for where, what in layers.faults]
        ordered = sorted(self.faults, key=self._position)
        problems += [fault.sentence(layers) for fault in ordered]
        problems += self._hidden()
        if problems:
            cause = self.broken[0] if self.broken else None
            if len(problems) == len(self.broken):
                raise PluginError("\n".join(problems)) from (cause and cause.__cause__)
            raise ConfigError(*problems) from cause
        assert session is not None
        assert tokens is not None
        assert store is not None
        assert counter is not None
        assert store_options is not None
        assert counter_options is not None
        assert model is not None
        assert context is not None
        return Config(
            session, tokens, store, store_options, tuple(wrappers), counter, counter_options,
            model, client, client_options, context, tuple(steps), self.plugins, layers.source,
            folder, notes, layers=layers,
        )  # fmt: skip

    def _wrappers(
        self, session: SessionOptions | None, store: StoreSpec[Any] | None
    ) -> list[ChosenWrapper]:
        table = self.layers.tables.get("session", {})
        if session is None or not isinstance(table, Mapping):
            return []
        return chosen_wrappers(
            self.plugins,
            session,
            table,
            store=store,
            options=self._options,
            faults=self.faults,
            broken=self.broken,
        )

    def _context(self) -> tuple[ContextRules | None, list[ChosenStep]]:
        """Check the table of contexts: its own keys, and the steps of its pipeline."""
        layers, path, names = self.layers, ("context",), self.plugins.optimizer_names()
        table = layers.tables.get("context", {})
        if not isinstance(table, Mapping):
            self.faults.append(Fault(path, (), "must be a table, as in [context]"))
            return None, []
        table = with_preset(table)
        fields = ContextRules.model_fields
        own = {key: below for key, below in table.items() if key in fields or key not in names}
        belongs = {
            key: (*path, offer.spec.name)
            for offer in self.plugins.optimizers
            for key in keys_of(offer.spec.options)
        }
        rules = check_table(
            ContextRules, own, path, layers, self.faults, tables_below=names, belongs=belongs
        )
        if rules is None:
            return None, []
        try:
            if rules.prices != "auto":
                price_row(rules.prices)
        except ConfigError as error:
            self.faults.append(Fault(path, ("prices",), str(error)))
        steps: list[ChosenStep] = []
        for place, use in enumerate(rules.pipeline):
            step = self._step(table, ("pipeline", place), use)
            if step is not None:
                often = sum(other.spec is step.spec for other in steps)
                steps.append(step._replace(name=f"{step.name}#{often + 1}") if often else step)
        return rules, steps

    def _step(self, table: Mapping[str, Any], key: KeyPath, use: str | Use) -> ChosenStep | None:
        name, inline = (use, {}) if isinstance(use, str) else (use.use, use.options)
        try:
            spec = self.plugins.optimizer(name)
        except (ConfigError, PluginError) as error:
            if isinstance(error, PluginError):
                self.broken.append(error)
            self.faults.append(Fault(("context",), key, str(error), "choice"))
            return None
        below = table.get(spec.name, {})
        path: KeyPath = ("context", spec.name)
        if not isinstance(below, Mapping):
            self.faults.append(Fault(path, (), f"must be a table, as in [{label(path)}]"))
            return None
        if inline:
            below, path = {**below, **inline}, ("context", *key)
        options = self._options("context step", spec, below, path)
        return None if options is None else ChosenStep(spec.name, spec, options)

    def _position(self, fault: Fault) -> tuple[bool, int]:
        if self.layers.variable(fault.path) is not None:
            return (True, 0)
        return (False, self.layers.line(fault.path) or 0)

    def _hidden(self) -> list[str]:
        """Tell of faults in a file's values that a variable has covered up, once each.

        What is only missing there, or a plugin that is not installed here, may be just why the
        variable was set.
        """
        covered = [path for path in self.layers.variables if has(self.layers.base, path)]
        if not covered:
            return []
        told = [fault.path for fault in self.faults]
        beneath = self.layers.below()
        again = _Checker(beneath, self.plugins)
        chosen = {}
        for section in (self.session, self.model, self.tokens):
            table = self.layers.tables.get(section.name)
            chosen[section.name] = (
                table.get(section.chooser) if isinstance(table, Mapping) else None
            )
        again._section(again.session, chosen["session"])
        again._section(again.model, chosen["model"])
        again._section(again.tokens, chosen["tokens"])
        return [
            fault.sentence(beneath)
            for fault in again.faults
            if fault.kind in ("value", "unknown")
            and fault.path not in told
            and any(fault.path[: len(path)] == path for path in covered)
        ]

    def _section(
        self, section: _Section[M, S], instead: object = None
    ) -> tuple[M | None, S | None, BaseModel | None]:
        """Check one core table: its own keys, the plugin it names, and that plugin's table."""
        layers = self.layers
        table = layers.tables.get(section.name, {})
        path: KeyPath = (section.name,)
        if not isinstance(table, Mapping):
            self.faults.append(Fault(path, (), f"must be a table, as in [{section.name}]"))
            return None, None, None
        fields = section.model.model_fields
        # A table below is for a plugin: the chosen one's is checked, another's waits for its turn.
        own = {k: v for k, v in table.items() if k in fields or k not in section.known}
        chosen = instead or self._chosen(own, section)
        spec = self._choose(section, chosen)
        offers = section.offers
        belongs = {key: (*path, o.spec.name) for o in offers for key in keys_of(o.spec.options)}
        if spec is not None:
            belongs |= dict.fromkeys(keys_of(spec.options), (*path, spec.name))
        core = check_table(
            section.model, own, path, layers, self.faults, tables_below=section.known,
            belongs=belongs,
        )  # fmt: skip
        if spec is None:
            return core, None, None
        below = table.get(spec.name, {})
        path = (*path, spec.name)
        if not isinstance(below, Mapping):
            self.faults.append(Fault(path, (), f"must be a table, as in [{label(path)}]"))
            return core, spec, None
        return core, spec, self._options(section.kind, spec, below, path)

    def _options(
        self, kind: str, spec: S, table: Mapping[str, Any], path: KeyPath
    ) -> BaseModel | None:
        """Check a plugin's table by the plugin's model, which may itself be at fault."""
        options: type[BaseModel] = spec.options
        try:
            return check_table(options, table, path, self.layers, self.faults)
        except Exception as error:  # noqa: BLE001  # a stranger's model and validators
            what = f"the options of {kind} {spec.name!r} cannot be checked: "
            what += f"{type(error).__name__} in the plugin; tell its author"
            self.faults.append(Fault(path, (), what, "choice"))
            return None

    def _chosen(self, own: Mapping[str, Any], section: _Section[M, S]) -> object:
        given = own.get(section.chooser, section.model.model_fields[section.chooser].default)
        return self.layers.resolve(given, (section.name, section.chooser), [])

    def _choose(self, section: _Section[M, S], chosen: object) -> S | None:
        if not isinstance(chosen, str):
            return None
        place: KeyPath = (section.name, section.chooser)
        try:
            return section.choose(chosen)
        except (ConfigError, PluginError) as error:
            what = str(error)
            if self.layers.from_variable(place):
                what = what.replace(f" {chosen!r}", "")
            if isinstance(error, PluginError):
                self.broken.append(error)
            self.faults.append(Fault(place[:1], place[1:], what, "choice"))
            return None
