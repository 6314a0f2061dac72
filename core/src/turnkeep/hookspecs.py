"""What a plugin may offer: hooks that return declarative specs, called once, never per request.

A plugin is a light module of functions marked with `hookimpl`, named by an entry point of the group
`turnkeep`. Each hook returns an iterable of specs: pure data, so that a plugin can be listed,
checked and documented without running it. Heavy imports belong inside a spec's `open`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import pluggy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from turnkeep.model import ModelClient
    from turnkeep.optimize.plan import Optimizer
    from turnkeep.store import Capability, SessionStore
    from turnkeep.tokens.counter import TokenCounter

PROJECT: Final = "turnkeep"
"""Name of the entry-point group and of the pluggy project."""
API: Final = 1
"""Version of this contract; a spec made for another one is refused with a sentence."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

O = TypeVar("O", bound="BaseModel")  # noqa: E741  # the options of a spec


OpenModel: TypeAlias = "Callable[[str | None], AbstractAsyncContextManager[ModelClient]]"


def _no_model(name: str | None) -> AbstractAsyncContextManager[ModelClient]:
    from turnkeep.errors import ConfigError

    which = "the conversation's own model" if name is None else f"model {name!r}"
    raise ConfigError(f"{which} cannot be opened here; use turnkeep.open(), or Keeper(model=...)")


@dataclass(frozen=True, kw_only=True)
class Env:
    """What core hands to a spec's `open` beside its options."""

    data_dir: Path
    """Folder that relative paths of the configuration start from: that of its file, else the
    current one. Open what is below it, making folders where they are missing."""
    logger: logging.Logger
    open_model: OpenModel = _no_model
    """Opens a model by its name, such as "litellm:openai/gpt-4o-mini"; None: the conversation's
    own. Raises ConfigError where there is none."""


@dataclass(frozen=True, kw_only=True)
class StoreSpec(Generic[O]):
    """A kind of session store: its name in TOML, its options and how to open one.

    `capabilities` are for lists; what an opened store says of itself is what counts. `open` raises
    StoreError for a place that cannot be used as it is (a newer schema, another program's file),
    StoreUnavailable for one that cannot be reached.
    """

    name: str
    summary: str
    options: type[O]
    open: Callable[[O, Env], AbstractAsyncContextManager[SessionStore]]
    capabilities: frozenset[Capability] = field(default_factory=frozenset)
    api: int = API


@dataclass(frozen=True, kw_only=True)
class WrapperSpec(Generic[O]):
    """A kind of store wrapper: something that stands around a store, and is a store itself.

    Its name is its name in TOML: in `[session] wrap`, and of its table `[session.NAME]`. `open`
    gets the store that it stands around, and closes what it gives, as the `open` of a store does:
    that closes the one inside, too, which may be closed twice.
    """

    name: str
    summary: str
    options: type[O]
    open: Callable[[SessionStore, O, Env], AbstractAsyncContextManager[SessionStore]]
    before: tuple[str, ...] = ()
    """Names of wrappers that come after this one in the list, where both are used: one that works
    on what this one gives would be of no use on its other side."""
    api: int = API


@dataclass(frozen=True, kw_only=True)
class CounterSpec(Generic[O]):
    """A kind of token counter."""

    name: str
    summary: str
    options: type[O]
    open: Callable[[O, Env], AbstractAsyncContextManager[TokenCounter]]
    api: int = API


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Generic[O]):
    """A step of the pipeline that makes contexts smaller, opened once for all sessions.

    Its name is its name in TOML: in `[context] pipeline`, and of its table `[context.NAME]`.
    """

    name: str
    summary: str
    options: type[O]
    open: Callable[[O, Env], AbstractAsyncContextManager[Optimizer]]
    api: int = API


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Generic[O]):
    """A kind of model client; `open` gives one for one model.

    It gets the model's id as the configuration has it (`[model] id`, "" where there is none: a
    client may have a model of its own to fall back on), the options, and the environment.
    Raises ModelError for a model that cannot be opened, such as a file that is not there.
    """

    name: str
    summary: str
    options: type[O]
    open: Callable[[str, O, Env], AbstractAsyncContextManager[ModelClient]]
    api: int = API


class Hooks:
    """The hooks. Each is optional."""

    @hookspec
    def session_stores(self) -> Iterable[StoreSpec[Any]]:
        """Offer kinds of session stores, chosen by `[session] store = "NAME"`."""
        raise AssertionError("a specification, never called")

    @hookspec
    def store_wrappers(self) -> Iterable[WrapperSpec[Any]]:
        """Offer what stands around a store, chosen by `[session] wrap = ["NAME", …]`."""
        raise AssertionError("a specification, never called")

    @hookspec
    def token_counters(self) -> Iterable[CounterSpec[Any]]:
        """Offer kinds of token counters, chosen by `[tokens] counter = "NAME"`."""
        raise AssertionError("a specification, never called")

    @hookspec
    def request_optimizers(self) -> Iterable[OptimizerSpec[Any]]:
        """Offer steps that make contexts smaller, chosen by `[context] pipeline = ["NAME", …]`."""
        raise AssertionError("a specification, never called")

    @hookspec
    def model_clients(self) -> Iterable[ModelSpec[Any]]:
        """Offer kinds of model clients, chosen by `[model] client = "NAME"`."""
        raise AssertionError("a specification, never called")
