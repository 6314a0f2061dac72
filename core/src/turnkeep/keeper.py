"""Keeper: what `turnkeep.open()` gives; it owns the store and the counter, and opens turns."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from turnkeep.errors import ConfigError, TurnkeepError
from turnkeep.hookspecs import CounterSpec, Env
from turnkeep.lease import TurnRules
from turnkeep.log import ended, jittered
from turnkeep.meta import TURN_TIMEOUT
from turnkeep.store import SessionStore, Ttl, check_ttl
from turnkeep.stores.on_loop import OnLoop
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.learned import Learned
from turnkeep.tokens.memo import Memo, fallback
from turnkeep.turn import Turn

if TYPE_CHECKING:
    from pydantic import BaseModel

    from turnkeep.config import Config
    from turnkeep.fitting import Fitting
    from turnkeep.manager import SessionManager
    from turnkeep.model import ModelClient
    from turnkeep.optimize.engine import Engine
    from turnkeep.optimize.plan import Optimizer
    from turnkeep.optimize.rules import ContextRules

_logger = logging.getLogger("turnkeep")


class Keeper:
    """Keeps the turns of any number of sessions on one store.

    Made by `turnkeep.open()`, or from parts without files, plugins or globals:
    `Keeper(store=MyStore())`. Parts given here are used, not owned: closing them stays with you.

    Parameters: `ttl` in seconds for sessions begun here (None: they last); `turn_timeout` seconds
    of silence after which a turn counts as dead; `on_conflict` "error" or "wait" where a turn is
    running; `on_pending` "raise" or "reject" where calls wait for approval; `sweep` seconds between
    removals of expired sessions in the background (None: no such task); `learn` whether counts are
    corrected by what providers report; `context` the table `[context]` of the configuration, as
    rules or as a mapping, whose pipeline may be given as objects: `optimizers`; `model` what
    answers, for those who ask through this keeper: without `max_tokens` its window is the limit.
    """

    def __init__(
        self,
        *,
        store: SessionStore | None = None,
        counter: TokenCounter | None = None,
        ttl: Ttl = None,
        turn_timeout: float = TURN_TIMEOUT,
        on_conflict: Literal["error", "wait"] = "error",
        on_pending: Literal["raise", "reject"] = "raise",
        sweep: float | None = None,
        learn: bool = True,
        context: ContextRules | Mapping[str, Any] | None = None,
        optimizers: Sequence[Optimizer] | None = None,
        model: ModelClient | None = None,
    ) -> None:
        self._store = store
        if optimizers is not None and context is None:
            raise ConfigError("optimizers need a limit: give context={'max_tokens': ...}, too")
        self._context, self._optimizers = context, optimizers
        self._engine: Engine | None = None
        self._given_model = self._model = model
        self._learned = Learned() if learn else None
        self._sweep = check_ttl(sweep)
        self._given_counter = counter
        self._counter: TokenCounter | None = None
        self._ttl = check_ttl(ttl)
        self._rules = TurnRules(turn_timeout, on_conflict, on_pending).checked()
        self._config: Config | None = None
        self._resources = AsyncExitStack()
        self._opened: SessionStore | None = None
        self._wrappers: Mapping[str, SessionStore] = {}
        self._sessions: SessionManager | None = None

    @classmethod
    def from_config(cls, config: Config, *, model: ModelClient | None = None) -> Self:
        """Make a keeper that opens what the configuration names; `model` goes before its model."""
        chosen = config.session
        keeper = cls(
            ttl=chosen.ttl,
            turn_timeout=chosen.turn_timeout,
            on_conflict=chosen.on_conflict,
            on_pending=chosen.on_pending,
            sweep=chosen.sweep,
            learn=config.tokens.learn,
            model=model,
        )
        keeper._config = config
        if config.tokens.learn:
            keeper._learned = Learned.of_user()
        return keeper

    @property
    def sessions(self) -> SessionManager:
        """The manager of whole sessions over this keeper's store."""
        store = self._open_store()
        if self._sessions is None:
            from turnkeep.manager import SessionManager  # turns do without: import when used

            self._sessions = SessionManager(store, ttl=self._ttl, turn_timeout=self._rules.timeout)
        return self._sessions

    def wrapper(self, name: str) -> Any:
        """Give what `[session] wrap` put around the store under a name: for its own attributes.

        Such as `keep.wrapper("metrics").metrics`. Raises ConfigError where it names none.
        """
        self._open_store()
        if name not in self._wrappers:
            named = ", ".join(self._wrappers) or "none"
            raise ConfigError(f"[session] wrap names no {name!r}; it names: {named}")
        return self._wrappers[name]

    @property
    def counter(self) -> TokenCounter:
        """The token counter in use."""
        if self._counter is None:
            raise TurnkeepError("the keeper is not open; use it inside `async with`")
        return self._counter

    @property
    def model(self) -> ModelClient | None:
        """The model that the configuration names, or that was given; None if none was."""
        self._open_store()
        return self._model

    @property
    def limit(self) -> int | None:
        """Tokens that a request may have; None where there is no limit."""
        return None if self._engine is None else self._engine.rules.limit

    def turn(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        execution_id: str | None = None,
        on_conflict: Literal["error", "wait"] | None = None,
        on_pending: Literal["raise", "reject"] | None = None,
    ) -> Turn:
        """Prepare a turn of a session, begun if it does not exist; enter it with `async with`.

        `user_id` names the owner: somebody else's session is not found. `execution_id` marks the
        events of this turn (default: a new one).
        """
        return Turn(
            self._open_store(),
            session_id,
            rules=self._rules._replace(
                on_conflict=on_conflict or self._rules.on_conflict,
                on_pending=on_pending or self._rules.on_pending,
            ).checked(),
            counter=self.counter,
            ttl=self._ttl,
            user_id=user_id,
            execution_id=execution_id,
            learned=self._learned,
            fitting=self._fitting(session_id),
        )

    def _fitting(self, session_id: str) -> Fitting | None:
        if self._engine is None:
            return None
        from turnkeep.fitting import Fitting  # only where there is a limit

        return Fitting(self._engine, self._open_store(), session_id, self.counter)

    async def _open_engine(self, env: Env) -> None:
        """Open the steps that keep contexts within their limit, where there is one."""
        config = self._config
        if config is not None:
            rules, steps = config.context, list(config.steps)
        elif self._context is not None or self._model is not None:
            from turnkeep.config.context import chosen_steps, rules_of

            context = self._context or {}
            rules = rules_of(context)
            given = self._optimizers is not None
            steps = [] if given else chosen_steps(context, rules)
        else:
            return
        if self._model is not None:
            rules = rules.for_model(self._model.limits)
        if rules.max_tokens is None:
            return
        from turnkeep.optimize.pipeline import opened_engine

        opening = opened_engine(rules, steps, env, given=self._optimizers)
        self._engine = await self._resources.enter_async_context(opening)

    @asynccontextmanager
    async def _open_model(self, name: str | None) -> AsyncIterator[ModelClient]:
        """Open a model for a step of the pipeline; None: the conversation's own."""
        if name is not None:
            if self._config is None:
                raise ConfigError(
                    f"model {name!r} is opened by turnkeep.open(); to a Keeper made of parts give "
                    "optimizers that hold their model"
                )
            env = Env(data_dir=self._config.folder, logger=_logger)
            async with self._config.open_model(name, env) as client:
                yield client
        elif self._model is None:
            raise ConfigError(
                "the conversation's own model is not known: name it by [model] client and id, or "
                "give the step a model of its own"
            )
        else:
            yield self._model

    def _open_store(self) -> SessionStore:
        if self._opened is None:
            raise TurnkeepError("the keeper is not open; use it inside `async with`")
        return self._opened

    async def __aenter__(self) -> Self:
        config = self._config
        if self._opened is not None:
            raise TurnkeepError("the keeper is open already; make another one to open it twice")
        if config is None and self._store is None:
            raise TurnkeepError("Keeper needs a store: Keeper(store=...) or turnkeep.open()")
        folder = Path() if config is None else config.folder
        env = Env(data_dir=folder, logger=_logger, open_model=self._open_model)
        try:
            if config is not None:
                for note in config.notes:
                    _logger.warning("%s", note)
                opening = config.open_store(env)
                self._store, self._wrappers = await self._resources.enter_async_context(opening)
                counting = opened_counter(config.counter, config.counter_options, env)
                self._given_counter = await self._resources.enter_async_context(counting)
                if config.client is not None and self._model is None:
                    asked = config.client.open(config.model.id, config.client_options, env)
                    self._model = await self._resources.enter_async_context(asked)
            await self._open_engine(env)
        except BaseException:
            self._forget()
            await self._resources.aclose()
            raise
        self._counter = Memo(self._given_counter or EstimateCounter())
        assert self._store is not None
        self._opened = OnLoop(self._store)
        if self._sweep is not None:
            sweeping = asyncio.create_task(_sweep(self._opened, self._sweep))
            # Entered last, so it ends before the store that it works on is closed.
            self._resources.push_async_callback(ended, sweeping)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._forget()
        try:
            if self._learned is not None:
                self._learned.save()
        finally:
            await self._resources.__aexit__(kind, error, traceback)

    def _forget(self) -> None:
        """Let go of what is closed with the keeper: it may be entered again."""
        self._opened = self._sessions = self._engine = None
        self._model = self._given_model


@asynccontextmanager
async def opened_counter(
    spec: CounterSpec[Any], options: BaseModel, env: Env
) -> AsyncIterator[TokenCounter]:
    """Open a counter; one that cannot be opened never ends a run: the estimate takes its place."""
    async with AsyncExitStack() as stack:
        try:
            counter = await stack.enter_async_context(spec.open(options, env))
        except Exception as error:  # noqa: BLE001  # whatever a stranger's counter raises
            counter = fallback(spec.name, f"{type(error).__name__}: {error}")
        yield counter


async def _sweep(store: SessionStore, interval: float) -> None:
    """Remove expired sessions now and then; many keepers on one store do not do it at once."""
    while True:
        await asyncio.sleep(jittered(interval))
        try:
            from turnkeep.manager import SessionManager

            removed = await SessionManager(store).purge()
        except Exception as error:  # noqa: BLE001  # a store may raise anything; sweeping goes on
            _logger.warning("expired sessions were not removed, tried again later: %s", error)
        else:
            if removed:
                _logger.info("removed %d expired sessions", removed)


def open_keeper(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    model: ModelClient | None = None,
) -> Keeper:
    """Read the configuration and prepare a keeper; `async with` opens it.

    `source` is a path, a mapping with the tables of a `turnkeep.toml`, or None: the file that holds
    for the current folder. `model` is asked in place of the one that it names. Exported as
    `turnkeep.open`. Raises ConfigError with every fault found.
    """
    from turnkeep.config import load_config  # TOML and plugins: not for who gives a store

    return Keeper.from_config(load_config(source), model=model)
