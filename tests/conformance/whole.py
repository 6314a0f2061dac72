"""A store in memory with every power, from which the broken ones differ in one thing each."""

import pickle

from turnkeep.errors import CorruptSession, SessionConflict, SessionExists, SessionNotFound
from turnkeep.store import (
    Capability,
    Loaded,
    Revision,
    check_base,
    check_id,
    check_ttl,
    new_incarnation,
)
from turnkeep.stores.memory import MemoryStore, _expiry, _Session

DAMAGED = None
"""Stands in the place of a record that cannot be read."""


class Whole(MemoryStore):
    name = "whole"
    capabilities = frozenset({Capability.LIST_ALL, Capability.FORK, Capability.ERASE})

    async def load(self, session_id, **fields):
        found = await super().load(session_id, **fields)
        if isinstance(found, Loaded) and DAMAGED in found.records:
            seq = found.first + found.records.index(DAMAGED)
            raise CorruptSession(session_id, seq, "it is damaged")
        return found

    async def fork(
        self,
        session_id,
        new_id,
        *,
        upto,
        incarnation,
        user_id=None,
        state=b"{}",
        meta=b"",
        base=0,
        ttl=None,
        commit_id,
    ):
        self._check_open()
        now = self._now()
        if (target := self._find(check_id(new_id), now)) is not None:
            if target.created_by == commit_id and target.head.revision.version == 0:
                return target.head
            raise SessionExists(new_id)
        if (source := self._find(check_id(session_id), now)) is None:
            raise SessionNotFound(session_id)
        if source.head.revision.incarnation != incarnation or source.head.seq < upto:
            raise SessionConflict(session_id, source.head)
        revision = Revision(new_incarnation(), 0)
        expires = _expiry(now, check_ttl(ttl))
        head = source.head._replace(
            session_id=new_id,
            user_id=user_id,
            revision=revision,
            seq=upto,
            base=base,
            meta=meta,
            created=now,
            updated=now,
            expires=expires,
            ttl=ttl,
        )
        self._sessions[new_id] = _Session(
            head, state, commit_id, commit_id, self.copied(source.records, upto)
        )
        return head

    def copied(self, records, upto):
        return records[:upto]

    async def erase(
        self,
        session_id,
        replacements,
        *,
        expected,
        commit_id,
        meta=None,
        state=None,
        base=None,
    ):
        self._check_open()
        if (found := self._find(check_id(session_id), self._now())) is None:
            raise SessionNotFound(session_id)
        if found.commit_id != commit_id and found.head.revision == expected:
            for seq in replacements:
                if not 1 <= seq <= found.head.seq:
                    raise ValueError(f"session {session_id!r} has no record {seq}")
            self.check_new_base(base, found.head.seq)
            self.replace(found.records, replacements)
        return await super().append(
            session_id,
            [],
            expected=expected,
            commit_id=commit_id,
            meta=meta,
            state=state,
            base=base,
        )

    def check_new_base(self, base, last):
        check_base(base or 0, last)

    def replace(self, records, replacements):
        for seq, data in replacements.items():
            records[seq - 1] = bytes(data)

    def stored(self):
        """How many rows a database would have."""
        return sum(2 + len(found.records) for found in self._sessions.values())

    def raw(self):
        return pickle.dumps(self._sessions)

    def spoil(self, session_id, seq):
        self._sessions[session_id].records[seq - 1] = DAMAGED
