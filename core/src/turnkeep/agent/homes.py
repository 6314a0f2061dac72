"""Homes: where an agent's runs are kept — a manager's store, a keeper's, or only their context."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from typing import Any, Final, Literal, TypeGuard

from turnkeep.agent.context import PENDING, ExecutionContext
from turnkeep.agent.foreign import ForeignStore
from turnkeep.events import Event, new_id
from turnkeep.keeper import Keeper
from turnkeep.log import stream_events
from turnkeep.manager import InMemorySessionManager, SessionManager
from turnkeep.model import ModelClient
from turnkeep.optimize.rules import ContextRules
from turnkeep.session import BaseSessionManager, Session
from turnkeep.store import SessionStore
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.memo import Memo
from turnkeep.turn import Turn


class Homes:
    """Opens the turn of each run where it is kept."""

    def __init__(
        self,
        manager: BaseSessionManager | None,
        keeper: Keeper | None,
        *,
        limits: ContextRules | Mapping[str, Any] | None,
        counter: TokenCounter | None,
        on_conflict: Literal["error", "wait"] | None,
        on_pending: Literal["raise", "reject"] | None,
    ) -> None:
        self.keeper = keeper
        self._manager = manager
        self._limits = limits
        self._counter = Memo(counter or EstimateCounter())
        self._rules: dict[str, Any] = {"on_conflict": on_conflict, "on_pending": on_pending}
        self._store: SessionStore | None = None

    @property
    def manager(self) -> BaseSessionManager:
        """Where sessions are kept."""
        if self.keeper is not None:
            return self.keeper.sessions
        if self._manager is None:
            self._manager = InMemorySessionManager()
        return self._manager

    @asynccontextmanager
    async def turn(
        self,
        context: ExecutionContext | None,
        session_id: str | None,
        user_id: str | None,
        client: ModelClient,
    ) -> AsyncIterator[tuple[Turn, ExecutionContext]]:
        """Open the turn of a run, and give it with its context as the session stands.

        It is of the session, or of one that lives as long as the context.
        """
        name = session_id or (None if context is None else context.session_id)
        rules = dict(self._rules)
        if name is not None:
            if context is None or context._of not in (None, name):
                shown, context = context, context or ExecutionContext()
                context.execution_id = name if shown is None else new_id()
            context.session_id = name
            rules["user_id"] = user_id
            keeper = self.keeper or self._made(self._of_manager(), client)
        else:
            context = context or ExecutionContext()
            context._home = context._home or await _seeded(context)
            store, name = context._home
            keeper = self._made(store, client)
        async with AsyncExitStack() as stack:
            if keeper is not self.keeper:
                await stack.enter_async_context(keeper)
            turn = keeper.turn(name, execution_id=context.execution_id, **rules)
            await stack.enter_async_context(turn)
            _begin(context, turn, keeper.sessions.store)
            yield turn, context

    def _of_manager(self) -> SessionStore:
        if self._store is None:
            manager = self.manager
            self._store = manager.store if _is_ours(manager) else _foreign(manager)
        return self._store

    def _made(self, store: SessionStore, client: ModelClient) -> Keeper:
        """Make the keeper of one run: it belongs to the loop that runs now; counts are shared."""
        own = self._manager
        rules: dict[str, Any] = {}
        if own is not None and _is_ours(own):
            rules = {"ttl": own.ttl, "turn_timeout": own._turn_timeout}
        return Keeper(
            store=store, counter=self._counter, context=self._limits, model=client, **rules
        )


def _is_ours(manager: BaseSessionManager) -> TypeGuard[SessionManager]:
    """Say whether a manager does nothing of its own, so that its store can be used directly."""
    return isinstance(manager, SessionManager) and all(
        getattr(type(manager), name) is getattr(SessionManager, name)
        for name in ("create", "get", "save", "get_or_create")
    )


_MAKING = threading.Lock()
_STORE: Final = "_turnkeep_store"
"""Where a manager keeps the store over it: one for all agents, which would overwrite each other."""


def _foreign(manager: BaseSessionManager) -> ForeignStore:
    with _MAKING:
        store: ForeignStore | None = (
            vars(manager).get(_STORE) if hasattr(manager, "__dict__") else None
        )
        if store is None:
            store = ForeignStore(manager)
            with contextlib.suppress(AttributeError, TypeError, ValueError):  # it is sealed
                setattr(manager, _STORE, store)
    return store


def _begin(context: ExecutionContext, turn: Turn, store: SessionStore) -> None:
    """Show a context the session as it stands; what it brings itself goes on top."""
    stored = list(turn.events)
    known = {event.id for event in stored}
    if context._of not in (None, turn.session_id):  # of another session: nothing of that one
        context.events, context.state, context.execution_id = [], {}, turn.execution_id
    added = [event for event in context.events if event.seq is None and event.id not in known]
    context.events = [*stored, *added]
    before = {} if context._of is None else context._state
    given = {
        key: each
        for key, each in context.state.items()
        if key != PENDING and (key not in before or before[key] != each)
    }
    context.state = {**deepcopy(turn.state), **given}
    context._of, context._state = turn.session_id, {}
    context.current_step = 0
    context.final_result = None

    def every() -> AsyncIterator[Event]:
        return stream_events(store, turn.session_id)

    context._read_all = every


async def _seeded(context: ExecutionContext) -> tuple[SessionStore, str]:
    """Make a place for a context that has none, with the events that it brings."""
    manager = InMemorySessionManager()
    name = f"context-{new_id()}"
    session = Session(session_id=name, state=dict(context.state))
    if context.events or context.state:
        session.events = [event.model_copy(update={"seq": None}) for event in context.events]
        await manager.save(session)
        context.events = []
    return manager.store, name
