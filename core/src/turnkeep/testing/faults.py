"""A store that fails on purpose, around any other one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from turnkeep.errors import StoreUnavailable
from turnkeep.store import Head, Record, SessionStore

Fault = Literal["lose answer", "refuse", "cancel before", "cancel after", "hang"]


class FaultyStore:
    """Passes calls to another store; appends meet the faults planned in `plan`, one each.

    "lose answer": written, then StoreUnavailable. "refuse": StoreUnavailable, nothing written.
    "cancel before", "cancel after": CancelledError without or with the write. "hang": waits for
    `release`. None: no fault.
    """

    def __init__(self, store: SessionStore, plan: Sequence[Fault | None] = ()) -> None:
        self._store = store
        self.plan = list(plan)
        self.appends = 0
        self.release = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, session_id: str, records: Sequence[Record], **fields: Any) -> Head:
        """Append as the plan says."""
        self.appends += 1
        fault = self.plan.pop(0) if self.plan else None
        if fault == "refuse":
            raise StoreUnavailable("the store is away (planned)")
        if fault == "cancel before":
            raise asyncio.CancelledError
        if fault == "hang":
            await self.release.wait()
        head = await self._store.append(session_id, records, **fields)
        if fault == "lose answer":
            raise StoreUnavailable("the answer was lost (planned)")
        if fault == "cancel after":
            raise asyncio.CancelledError
        return head
