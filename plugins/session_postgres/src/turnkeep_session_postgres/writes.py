"""What each write does on a connection, in one of two dialects.

`Single` writes by one statement, one round trip; `Plain` by a transaction of simple statements, for
databases without data-modifying WITH. Both give the row that they left, or None where the fence
held: what that means, `outcomes.py` finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from turnkeep.store import Keep, Revision
from turnkeep_session_postgres.calls import transaction
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.rows import Row, first_row
from turnkeep_session_postgres.statements import MOST, Statements
from turnkeep_session_postgres.values import (
    BYTEA,
    INT8,
    TEXT,
    Value,
    array,
    int8,
    number,
    text,
)


class New(NamedTuple):
    """A session to begin; `ttl` is in milliseconds."""

    session_id: str
    user_id: str | None
    incarnation: bytes
    ttl: int | None
    commit_id: bytes
    state: bytes

    def values(self) -> list[Value]:
        """Give the first parameters of a create or a fork."""
        return [
            text(self.session_id),
            text(self.user_id),
            self.incarnation,
            number(self.ttl),
            self.commit_id,
        ]


class Copy(NamedTuple):
    """What a fork takes over, and from where."""

    source: str
    incarnation: bytes
    upto: int
    meta: bytes
    base: int

    def values(self) -> list[Value]:
        """Give the parameters of a fork that follow those of the new session."""
        return [
            self.meta,
            int8(self.base),
            int8(fitting(self.upto)),
            text(self.source),
            self.incarnation,
        ]


class Change(NamedTuple):
    """One append or erase; `ttl` is in milliseconds."""

    session_id: str
    expected: Revision
    commit_id: bytes
    meta: bytes | None
    base: int | None
    state: bytes | None
    ttl: int | Keep | None
    data: Sequence[bytes]
    texts: Sequence[bytes | None] | None = None
    seqs: Sequence[int] = ()

    def values(self) -> list[Value]:
        """Give the parameters that every change has."""
        incarnation, version = self.expected
        return [
            self.session_id.encode(),
            int8(fitting(version)),
            incarnation,
            self.commit_id,
            self.meta,
            None if self.base is None else int8(fitting(self.base)),
        ]


def fitting(value: int) -> int:
    """Give a number that fits a bigint, and that no session has where the given one does not."""
    return value if -MOST <= value <= MOST else -MOST


class Dialect(Protocol):
    """A way to write."""

    async def create(self, link: Link, new: New) -> Row | None:
        """Begin a session; None if there is one."""
        ...

    async def fork(self, link: Link, new: New, copy: Copy) -> Row | None:
        """Begin a session with records of another; None if something is not as it should be."""
        ...

    async def append(self, link: Link, change: Change) -> Row | None:
        """Change a session; None if it is not as expected."""
        ...

    async def erase(self, link: Link, change: Change) -> Row | None:
        """Replace records; None if the session or a record is not as expected."""
        ...


class Single:
    """One statement for each write."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def create(self, link: Link, new: New) -> Row | None:
        """Begin a session."""
        return first_row(await link.run(self._sql.create, [*new.values(), new.state]))

    async def fork(self, link: Link, new: New, copy: Copy) -> Row | None:
        """Begin a session with records of another."""
        values = [*new.values(), *copy.values(), new.state]
        return first_row(await link.run(self._sql.fork, values))

    async def append(self, link: Link, change: Change) -> Row | None:
        """Change a session."""
        state, texts, ttl = change.state, change.texts, change.ttl
        keep = isinstance(ttl, Keep)
        values = change.values()
        values.append(array(BYTEA, change.data))
        if not isinstance(ttl, Keep):
            values.append(number(ttl))
        if state is not None:
            values.append(state)
        if texts is not None:
            values.append(array(TEXT, texts))
        statement = self._sql.append(state=state is not None, ttl=not keep, texts=texts is not None)
        return first_row(await link.run(statement, values))

    async def erase(self, link: Link, change: Change) -> Row | None:
        """Replace records."""
        values = change.values()
        values += (
            array(INT8, [int8(fitting(seq)) for seq in change.seqs]),
            array(BYTEA, change.data),
        )
        if change.state is not None:
            values.append(change.state)
        statement = self._sql.erase(state=change.state is not None)
        return first_row(await link.run(statement, values))


class Plain:
    """A transaction of simple statements for each write. The head's row is the lock."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def create(self, link: Link, new: New) -> Row | None:
        """Begin a session."""
        async with transaction(link):
            row = first_row(await link.run(self._sql.create_head, new.values()))
            if row is not None:
                await self._begin(link, new)
        return row

    async def fork(self, link: Link, new: New, copy: Copy) -> Row | None:
        """Begin a session with records of another."""
        name, source = text(new.session_id), text(copy.source)
        upto = int8(fitting(copy.upto))
        async with transaction(link):
            values = [*new.values(), *copy.values()]
            # Locked, so that the records are of the moment at which the source was looked at.
            await link.run(self._sql.lock, [source])
            row = first_row(await link.run(self._sql.fork_head, values))
            if row is not None:
                await self._begin(link, new)
                await link.run(self._sql.copy_records, [name, source, upto])
                if self._sql.search:
                    of = [new.incarnation, copy.incarnation]
                    await link.run(self._sql.copy_words, [name, source, upto, *of])
        return row

    async def append(self, link: Link, change: Change) -> Row | None:
        """Change a session."""
        values = [*change.values(), int8(len(change.data))]
        keep = isinstance(change.ttl, Keep)
        if not isinstance(change.ttl, Keep):
            values.append(number(change.ttl))
        name = values[0]
        async with transaction(link):
            row = first_row(await link.run(self._sql.append_head(ttl=not keep), values))
            if row is not None:
                before = int8(row.seq - len(change.data))
                if change.data:
                    data = array(BYTEA, change.data)
                    await link.run(self._sql.insert, [name, before, data])
                if change.texts is not None:
                    texts = array(TEXT, change.texts)
                    said = [name, before, texts, row.incarnation]
                    await link.run(self._sql.insert_words, said)
                if change.state is not None:
                    await link.run(self._sql.set_state, [name, change.state])
        return row

    async def erase(self, link: Link, change: Change) -> Row | None:
        """Replace records."""
        values = change.values()
        seqs = array(INT8, [int8(fitting(seq)) for seq in change.seqs])
        name = values[0]
        async with transaction(link):
            row = first_row(await link.run(self._sql.erase_head, [*values, seqs]))
            if row is not None:
                await link.run(self._sql.replace, [name, seqs, array(BYTEA, change.data)])
                if self._sql.search:
                    await link.run(self._sql.forget, [name, seqs])
                if change.state is not None:
                    await link.run(self._sql.set_state, [name, change.state])
        return row

    async def _begin(self, link: Link, new: New) -> None:
        await link.run(self._sql.create_state, [text(new.session_id), new.state])
        if self._sql.search:
            await link.run(self._sql.sweep_words, [text(new.session_id)])
