"""What stands around the configured store: the list `[session] wrap`, checked and opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from pydantic import BaseModel

from turnkeep.config.faults import Fault
from turnkeep.config.layers import label
from turnkeep.config.options import SessionOptions
from turnkeep.config.toml_lines import KeyPath
from turnkeep.errors import ConfigError, PluginError
from turnkeep.hookspecs import Env, StoreSpec, WrapperSpec
from turnkeep.plugins import Plugins
from turnkeep.store import SessionStore


class ChosenWrapper(NamedTuple):
    """A wrapper with its options."""

    spec: WrapperSpec[Any]
    options: BaseModel


class OpenedStore(NamedTuple):
    """A store as it is used, and what stands around it, by name, from the store outwards."""

    store: SessionStore
    wrappers: Mapping[str, SessionStore]


Options = Callable[[str, Any, Mapping[str, Any], KeyPath], BaseModel | None]
"""Checks the options of a plugin: its kind, its spec, the table, and where that stands."""


def chosen_wrappers(
    plugins: Plugins,
    session: SessionOptions,
    table: Mapping[str, Any],
    *,
    store: StoreSpec[Any] | None,
    options: Options,
    faults: list[Fault],
    broken: list[PluginError],
) -> list[ChosenWrapper]:
    """Check the wrappers that a table names, and their own tables; faults are added to `faults`."""
    path: KeyPath = ("session",)
    found: list[ChosenWrapper] = []
    for place, use in enumerate(session.wrap):
        key: KeyPath = ("wrap", place)
        name, inline = (use, {}) if isinstance(use, str) else (use.use, use.options)
        try:
            spec = plugins.wrapper(name)
        except (ConfigError, PluginError) as error:
            if isinstance(error, PluginError):
                broken.append(error)
            faults.append(Fault(path, key, str(error), "choice"))
            continue
        if store is not None and store.name == spec.name:
            what = f"store and wrapper are both named {spec.name!r}, and would share a table"
            faults.append(Fault(path, key, what, "choice"))
            continue
        for other in found:
            if other.spec.name in spec.before:
                what = (
                    f"{spec.name!r} stands before {other.spec.name!r}: the list goes from the "
                    f'store outwards; write ["{spec.name}", "{other.spec.name}"]'
                )
                faults.append(Fault(path, key, what, "choice"))
        below = table.get(spec.name, {})
        where: KeyPath = (*path, spec.name)
        if not isinstance(below, Mapping):
            faults.append(Fault(where, (), f"must be a table, as in [{label(where)}]"))
            continue
        if inline:
            below, where = {**below, **inline}, (*path, *key)
        checked = options("store wrapper", spec, below, where)
        if checked is not None:
            found.append(ChosenWrapper(spec, checked))
    return found


@asynccontextmanager
async def opened_store(
    spec: StoreSpec[Any], options: BaseModel, wrappers: Sequence[ChosenWrapper], env: Env
) -> AsyncIterator[OpenedStore]:
    """Open a store and what stands around it; closed in reverse, the outermost first."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(spec.open(options, env))
        opened: dict[str, SessionStore] = {}
        for wrapper in wrappers:
            opening = wrapper.spec.open(store, wrapper.options, env)
            store = await stack.enter_async_context(opening)
            opened[wrapper.spec.name] = store
        yield OpenedStore(store, opened)
