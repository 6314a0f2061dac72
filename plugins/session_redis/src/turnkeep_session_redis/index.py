"""The indexes beside the sessions, in slots of their own: which sessions there are.

They are written after the session and never make its write fail. What they lack comes back: an
append notes its session again now and then. What they hold too much of is taken out by whoever
meets it: a listing, a purge, and a new session in the same shard.

An index expires by itself where all its sessions do, some time after the last of them.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from turnkeep.errors import CorruptSession, StoreError
from turnkeep.store import Head, Revision
from turnkeep_session_redis.heads import Line, parse_line, point
from turnkeep_session_redis.keys import SHARDS, Keys, Member, parse_member
from turnkeep_session_redis.link import Link
from turnkeep_session_redis.node import Command
from turnkeep_session_redis.scripts import NOTE, NOTED, RENOTE_LASTING, RENOTE_SOON, Script

PATIENCE: Final = 2.0
"""Seconds that the note of a session may take; its write is done, and waits for it."""
GRACE: Final = 3_600_000
SWEPT: Final = 4
"""A new session takes out up to so many of its shard that a purge should have, so long (ms) ago."""
BATCH: Final = 100
"""Sessions that a purge looks at in one go."""
CHUNK: Final = 16
"""The fewest members that are read from one shard at a time."""

Batches: TypeAlias = AsyncGenerator[Sequence[bytes], None]

_logger = logging.getLogger("turnkeep.session_redis")


class Found(NamedTuple):
    """A member of an index, and its session's head (None: that life of it is over)."""

    member: Member
    head: Head | None = None
    line: Line | None = None
    damaged: bool = False


class Swept(NamedTuple):
    """How many members were taken out, and why others could not be put off."""

    removed: int
    fault: StoreError | None = None


class Index:
    """The indexes of one prefix."""

    def __init__(self, link: Link, keys: Keys, *, list_all: bool) -> None:
        self._link = link
        self._keys = keys
        self._list_all = list_all

    async def note(self, member: Member, line: Line, *, again: bool = False) -> None:
        """Put a session into the indexes, or renew it there; a failure is only logged.

        Until it has been done `again`, by an append, or where that fails, the next append that
        comes a minute later does it again.
        """
        if not (self._list_all or member.user_id):
            return
        name, until = member.encode(), line.index_until
        shard = member.shard
        calls = [_noting(self._keys.due[shard], name, line.due, until)]
        if self._list_all:
            calls.append(_noting(self._keys.all[shard], name, 0, until))
        if member.user_id:
            calls.append(_noting(self._keys.user(member.user_id), name, 0, until))
        late = ("ZRANGEBYSCORE", self._keys.due[shard], "-inf", line.updated - GRACE)
        calls.append((self._keys.due[shard], (*late, "LIMIT", 0, SWEPT), None))
        try:
            async with asyncio.timeout(PATIENCE):
                answers = await self._link.many(calls)
                _check(answers)
                if again:
                    await self._confirm(member, line)
                if answers[-1]:
                    await self.sweep(answers[-1], line.updated)
        except Exception as error:  # noqa: BLE001  # the session itself is written
            _logger.warning(
                "session %r is written, but the index may not show it yet (%s); an append that "
                "comes a minute later puts it there",
                member.session_id,
                type(error).__name__,
            )

    async def forget(self, member: Member) -> None:
        """Take a session out of the indexes; a failure is only logged."""
        try:
            async with asyncio.timeout(PATIENCE):
                answers = await self._link.many(self._removals([member]))
                _check(answers)
        except Exception as error:  # noqa: BLE001  # the session itself is gone
            _logger.warning(
                "session %r is deleted, but stands in an index yet (%s): list and purge see to it",
                member.session_id,
                type(error).__name__,
            )

    async def page(
        self, user_id: str | None, limit: int, start: bytes | None
    ) -> tuple[list[Head], Member | None]:
        """Read up to `limit` live heads in order, and the last one's member if there are more."""
        found: list[Found] = []
        members = self._of_all(start, limit) if user_id is None else self._of(user_id, start, limit)
        async with aclosing(members):
            async for batch in members:
                looked = await self.look(batch)
                await self._repair(looked)
                found += [each for each in looked if each.head is not None]
                if len(found) > limit:
                    break
        more = found[limit - 1].member if len(found) > limit else None
        return [each.head for each in found[:limit] if each.head is not None], more

    async def purge(self, limit: int) -> int:
        """Take up to `limit` sessions that are over out of the indexes; returns how many."""
        key = self._keys.due[0]
        seconds, micros = (await self._link.call(key, ("TIME",))).value
        now = int(seconds) * 1000 + int(micros) // 1000
        removed = 0
        while removed < limit:
            size = min(BATCH, limit - removed)
            answers = await self._link.many(
                [
                    (due, ("ZRANGEBYSCORE", due, "-inf", now, "LIMIT", 0, size), None)
                    for due in self._keys.due
                ]
            )
            _check(answers)
            # What nobody can read would be due for ever, and stand before all that is.
            strange = [
                (due, ("ZREM", due, *found), None)
                for shard, (due, names) in enumerate(zip(self._keys.due, answers, strict=True))
                if (found := [name for name in names if not _belongs(name, shard)])
            ]
            _check(await self._link.many(strange))
            if not (names := list(chain.from_iterable(answers))[: limit - removed]):
                break
            for at in range(0, len(names), BATCH):
                swept = await self.sweep(names[at : at + BATCH], now)
                removed += swept.removed
                if swept.fault is not None:
                    _logger.warning("a purge ends early, with %d: %s", removed, swept.fault)
                    return removed
        return removed

    async def sweep(self, names: Sequence[bytes], now: int) -> Swept:
        """Take those out that are over, and put off those that are not."""
        looked = await self.look(names)
        gone = [each.member for each in looked if each.line is None and not each.damaged]
        answers = await self._link.many(self._removals(gone))
        _check(answers)
        # Those that another purge took out at the same moment are not counted.
        at = removed = 0
        for member in gone:
            removed += answers[at]
            at += len(self._keys_of(member))
        later = [
            self._putting_off(each, now) for each in looked if each.line is not None or each.damaged
        ]
        try:
            _check(await self._link.many(later))
        except StoreError as fault:  # a full server takes members out, and puts none off
            return Swept(removed, fault)
        return Swept(removed)

    async def look(self, names: Sequence[bytes]) -> list[Found]:
        """Read the heads of members, in one go for each server; what is no member is left out."""
        members = [member for name in names if (member := _read(name)) is not None]
        keys = [self._keys.session(member.session_id) for member in members]
        answers = await self._link.many([(key, ("LRANGE", key, 0, 2), None) for key in keys])
        _check(answers)
        return [_found(*each) for each in zip(members, answers, strict=True)]

    async def _confirm(self, member: Member, line: Line) -> None:
        """Put the next note off; a young session is noted once more instead."""
        if line.updated - line.created < RENOTE_SOON:
            return  # spares most sessions' first append a round trip
        key = self._keys.session(member.session_id)
        revision = point(Revision(line.incarnation, line.version))
        await self._link.run(NOTED, key, revision)

    async def _repair(self, looked: Iterable[Found]) -> None:
        if gone := [each.member for each in looked if each.line is None and not each.damaged]:
            await self._link.many(self._removals(gone))  # best effort: the next one meets it again

    def _removals(self, members: Iterable[Member]) -> list[tuple[bytes, Command, Script | None]]:
        return [
            (key, ("ZREM", key, member.encode()), None)
            for member in members
            for key in self._keys_of(member)
        ]

    def _putting_off(self, found: Found, now: int) -> tuple[bytes, Command, Script | None]:
        expires = 0 if found.line is None else found.line.expires
        # Always behind `now`, whatever the clocks of two nodes say: a purge goes on to the next.
        due = max(expires, now + 1) if expires else now + RENOTE_LASTING
        key = self._keys.due[found.member.shard]
        return key, ("ZADD", key, "XX", due, found.member.encode()), None

    def _keys_of(self, member: Member) -> list[bytes]:
        """Name the indexes of a member, first the one that purges go by."""
        shard = member.shard
        keys = [self._keys.due[shard], self._keys.all[shard]]
        return [*keys, self._keys.user(member.user_id)] if member.user_id else keys

    async def _of(self, user_id: str, start: bytes | None, limit: int) -> Batches:
        """Give the members of a user's index, some at a time."""
        key, low = self._keys.user(user_id), b"-" if start is None else b"[" + start
        size = limit + 1
        while True:
            command = ("ZRANGEBYLEX", key, low, "+", "LIMIT", 0, size)
            names = (await self._link.call(key, command)).value
            if names:
                yield names
            if len(names) < size:
                return
            low = b"(" + names[-1]

    async def _of_all(self, start: bytes | None, limit: int) -> Batches:
        """Give the members of all shards in one order, some at a time."""
        first = b"-" if start is None else b"[" + start
        lows: dict[bytes, bytes] = dict.fromkeys(self._keys.all, first)
        size = max(CHUNK, 2 * (limit + 1) // SHARDS)
        waiting: list[bytes] = []
        while lows:
            keys = list(lows)
            answers = await self._link.many(
                [
                    (key, ("ZRANGEBYLEX", key, lows[key], "+", "LIMIT", 0, size), None)
                    for key in keys
                ]
            )
            _check(answers)
            for key, names in zip(keys, answers, strict=True):
                if len(names) < size:
                    del lows[key]
                else:
                    lows[key] = b"(" + names[-1]
            waiting = list(heapq.merge(waiting, *answers))
            # Of a shard with more to come, what lies behind its last member may be preceded yet.
            bound = min((low[1:] for low in lows.values()), default=None)
            ready = [name for name in waiting if bound is None or name <= bound]
            waiting = waiting[len(ready) :]
            for at in range(0, len(ready), limit + 1):
                yield ready[at : at + limit + 1]


def _read(name: bytes) -> Member | None:
    try:
        return parse_member(name)
    except ValueError:
        _logger.warning("a member of an index is left out, as it is of no session: %.80r", name)
        return None


def _belongs(name: bytes, shard: int) -> bool:
    """Tell whether a member is one that this store puts into a shard, byte for byte."""
    member = _read(name)
    return member is not None and member.shard == shard and member.encode() == name


def _noting(
    key: bytes, name: bytes, score: int, until: int
) -> tuple[bytes, Command, Script | None]:
    return key, ("EVALSHA", NOTE.sha, 1, key, name, score, until), NOTE


def _found(member: Member, answer: Sequence[bytes]) -> Found:
    if len(answer) < 3:
        return Found(member)
    try:
        line = parse_line(answer[0], member.session_id)
        if line.incarnation != member.incarnation:
            return Found(member)  # its id has begun a new life, noted by itself
        return Found(member, line.head(member.session_id, answer[1], answer[2]), line)
    except CorruptSession:
        _logger.exception("a session is left out of the list")
        return Found(member, damaged=True)


def _check(answers: Iterable[Any]) -> None:
    """Raise the first error that stands among answers."""
    for each in answers:
        if isinstance(each, Exception):
            raise each
