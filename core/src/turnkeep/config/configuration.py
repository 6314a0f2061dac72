"""A configuration that was read and holds: what it opens, and what it lists for a person."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from turnkeep.config.faults import Fault, check_table
from turnkeep.config.layers import Layers, has
from turnkeep.config.options import ModelOptions, SessionOptions, TokenOptions
from turnkeep.config.toml_lines import KeyPath
from turnkeep.config.wrappers import ChosenWrapper, OpenedStore, opened_store
from turnkeep.errors import ConfigError
from turnkeep.hookspecs import CounterSpec, Env, ModelSpec, StoreSpec
from turnkeep.model import ModelClient
from turnkeep.optimize.pipeline import ChosenStep
from turnkeep.optimize.rules import ContextRules
from turnkeep.plugins import Plugins

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
            path = next((p for key in keys if has(self.layers.tables, p := (*table, key))), None)
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
        if has(layers.base, path) or layers.variable(path) is not None:
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


def _named(setting: Setting) -> Setting:
    """Show wrappers by their names alone: options beside a name may be secrets."""
    if setting.path != ("session", "wrap") or not isinstance(setting.value, list):
        return setting
    names = [use if isinstance(use, str) else use.use for use in setting.value]
    return replace(setting, value=names)


def _is_plain(annotation: Any) -> bool:
    """Tell whether values of a type can be shown: choices, numbers, paths, and lists of such."""
    if get_origin(annotation) is Literal or annotation is type(None):
        return True
    if inner := get_args(annotation):
        return all(_is_plain(part) for part in inner)
    return isinstance(annotation, type) and issubclass(annotation, _PLAIN)
