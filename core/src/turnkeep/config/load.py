"""Reading a configuration and checking all of it, so that every fault is told at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel

from turnkeep.config.faults import Fault, check_table, keys_of, unknown_tables
from turnkeep.config.find import FILE_NAME, find_file, read_text
from turnkeep.config.layers import Layers, from_file, from_mapping, label, without_file
from turnkeep.config.options import ModelOptions, SessionOptions, TokenOptions
from turnkeep.config.toml_lines import KeyPath
from turnkeep.config.wrappers import ChosenWrapper, OpenedStore, chosen_wrappers, opened_store
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import (
    CounterSpec,
    Env,
    ModelSpec,
    OptimizerSpec,
    StoreSpec,
    WrapperSpec,
)
from turnkeep.model import ModelClient
from turnkeep.optimize.pipeline import ChosenStep
from turnkeep.optimize.presets import with_preset
from turnkeep.optimize.rules import ContextRules, Use
from turnkeep.plugins import Offer, Plugins
from turnkeep.prices import price_row

_NOTHING_FOUND: Final = (
    f"no {FILE_NAME} here: sessions are kept in memory and end with this process; "
    'to keep them, write [session] store = "sqlite" into one, or run `turnkeep init`'
)
_PLAIN: Final = (bool, int, float, Path, Enum)


@dataclass(frozen=True)
class Setting:
    """One value of a configuration, for a person: what it is and where it comes from."""

    path: KeyPath
    source: str
    """File and line, variables, or "default"."""
    value: object | None
    """None where it is not shown: texts of a plugin's options and variables may be secrets."""


@dataclass(frozen=True)
class Config:
    """A configuration that holds: every name resolved, every option checked."""

    session: SessionOptions
    tokens: TokenOptions
    store: StoreSpec[Any]
    store_options: BaseModel = field(repr=False)
    wrappers: tuple[ChosenWrapper, ...] = field(repr=False)
    counter: CounterSpec[Any]
    counter_options: BaseModel = field(repr=False)
    model: ModelOptions
    client: ModelSpec[Any] | None
    """What opens the model; None: the configuration names none."""
    client_options: BaseModel | None = field(repr=False)
    context: ContextRules
    steps: tuple[ChosenStep, ...] = field(repr=False)
    plugins: Plugins = field(repr=False)
    source: str
    """Where it came from, for messages."""
    folder: Path
    """What relative paths start from."""
    notes: tuple[str, ...] = ()
    layers: Layers = field(kw_only=True, repr=False)

    def settings(self) -> list[Setting]:
        """List every value with its source: core's tables, and those of what they name."""
        return [
            *map(_named, self._settings(self.session, ("session",), shown=True)),
            *self._settings(self.store_options, ("session", self.store.name)),
            *self._wrapper_settings(),
            *self._model_settings(),
            *self._settings(self.tokens, ("tokens",), shown=True),
            *self._settings(self.counter_options, ("tokens", self.counter.name)),
            *self._context_settings(),
        ]

    def open_store(self, env: Env) -> AbstractAsyncContextManager[OpenedStore]:
        """Open the store and what stands around it."""
        return opened_store(self.store, self.store_options, self.wrappers, env)

    def open_model(self, name: str, env: Env) -> AbstractAsyncContextManager[ModelClient]:
        """Open a model by its name, with the options of its client's table here.

        Raises ConfigError, PluginError for a client that is not there, or whose options are wrong.
        """
        spec, model_id = self.plugins.model_named(name)
        table = self.layers.tables.get("model", {})
        below = table.get(spec.name, {}) if isinstance(table, Mapping) else {}
        faults: list[Fault] = []
        path: KeyPath = ("model", spec.name)
        options = check_table(spec.options, below, path, self.layers, faults)
        if options is None or faults:
            raise ConfigError(*(fault.sentence(self.layers) for fault in faults))
        return spec.open(model_id, options, env)

    def _wrapper_settings(self) -> list[Setting]:
        chosen = {wrapper.spec.name: wrapper for wrapper in self.wrappers}
        return [
            setting
            for name, wrapper in chosen.items()
            for setting in self._settings(wrapper.options, ("session", name))
        ]

    def _model_settings(self) -> list[Setting]:
        found = self._settings(self.model, ("model",), shown=True)
        if self.client is None or self.client_options is None:
            return [each for each in found if each.source != "default"]
        return [*found, *self._settings(self.client_options, ("model", self.client.name))]

    def _context_settings(self) -> list[Setting]:
        """List those of contexts; without a limit nothing of them holds but what is written."""
        found = self._settings(self.context, ("context",), shown=True)
        for name, step in {step.spec.name: step for step in self.steps}.items():
            found += self._settings(step.options, ("context", name))
        if self.context.max_tokens is not None:
            return found
        limit = ("context", "max_tokens")
        return [each for each in found if each.path == limit or each.source != "default"]

    def _settings(
        self, options: BaseModel, table: KeyPath, *, shown: bool = False
    ) -> list[Setting]:
        found = []
        for name, info in type(options).model_fields.items():
            keys = [key for key in (info.alias, name) if key is not None]
            path = next((p for key in keys if _has(self.layers.tables, p := (*table, key))), None)
            value = getattr(options, name, None)
            if path is None:
                found.append(Setting((*table, keys[0]), "default", value))
                continue
            sources = dict.fromkeys(self._sources(path))
            plain = shown or _is_plain(info.annotation)
            visible = plain and not self.layers.from_variable(path)
            found.append(Setting(path, ", ".join(sources), value if visible else None))
        return found

    def _sources(self, path: KeyPath) -> list[str]:
        layers = self.layers
        above = [layers.where(path)]
        if _has(layers.base, path) or layers.variable(path) is not None:
            below = [v.name for at, v in layers.variables.items() if at[: len(path)] == path]
        else:  # only variables below it
            above, below = (
                [],
                [v.name for at, v in layers.variables.items() if at[: len(path)] == path],
            )
        named = [
            f"the variable {name}"
            for at, name in layers.references.items()
            if at[: len(path)] == path and layers.variable(at) is None
        ]
        return [*above, *below, *named]


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
        covered = [path for path in self.layers.variables if _has(self.layers.base, path)]
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


def _named(setting: Setting) -> Setting:
    """Show wrappers by their names alone: options beside a name may be secrets."""
    if setting.path != ("session", "wrap") or not isinstance(setting.value, list):
        return setting
    names = [use if isinstance(use, str) else use.use for use in setting.value]
    return replace(setting, value=names)


def _has(tables: Any, path: KeyPath) -> bool:
    for part in path:
        if not isinstance(tables, Mapping) or part not in tables:
            return False
        tables = tables[part]
    return True


def _is_plain(annotation: Any) -> bool:
    """Tell whether values of a type can be shown: choices, numbers, paths, and lists of such."""
    if get_origin(annotation) is Literal or annotation is type(None):
        return True
    if inner := get_args(annotation):
        return all(_is_plain(part) for part in inner)
    return isinstance(annotation, type) and issubclass(annotation, _PLAIN)
