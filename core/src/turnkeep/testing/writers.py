"""Writers for proofs: what they append tells who wrote it, so that all of it can be accounted for.

Each append is of `PARTS` records. A writer notes the place that it was told for each: `check`
holds these notes against what a store has in the end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from turnkeep.errors import SessionConflict, StoreUnavailable
from turnkeep.store import Head, Loaded, NotModified, Record, SessionStore, new_commit_id

T = TypeVar("T")

PARTS: Final = 3
"""Records in each append, so that half an append can be told from a whole one."""
_PAUSE: Final = 0.01
_AWAY: Final = 0.02

Place: TypeAlias = tuple[str, int, int]
"""A session, the writer's number of an append, and the first seq that it was told for it."""


class Written(NamedTuple):
    """Where an append was kept: behind the seq `before`; and how often others were first."""

    before: int
    conflicts: int


def record(session: str, writer: int, number: int, part: int) -> bytes:
    """Give the bytes of one record: some fill a line, some several pages."""
    name = f"{session} {writer} {number} {part} "
    return (name * (1 + (number * 997 * part) % 9000 // len(name))).encode()


def batch(session: str, writer: int, number: int) -> list[Record]:
    """Give the records of one append."""
    return [Record(record(session, writer, number, part)) for part in range(PARTS)]


def session_of(writer: int, number: int, sessions: int) -> str:
    """Name the session of an append. Each writer begins elsewhere: all meet, but not in step."""
    return f"s{(number + writer * 3) % sessions}"


async def write(store: SessionStore, session: str, writer: int, number: int) -> Written:
    """Append one batch: loading and repeating after conflicts, and for as long as a store is away.

    Fails where a conflict tells of no progress of others.
    """
    pause, conflicts = 0.001, 0
    while True:
        before = await _head(store, session)
        if await _kept(store, before, writer, number):
            return Written(before.seq, conflicts)
        conflicts += 1
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # no secret
        pause = min(1.5 * pause, _PAUSE)


async def _kept(store: SessionStore, before: Head, writer: int, number: int) -> bool:
    """Append once, however often it takes; False if another writer was first."""
    session = before.session_id
    records, key, unsure = batch(session, writer, number), new_commit_id(), False
    while True:
        try:
            await store.append(session, records, expected=before.revision, commit_id=key)
        except StoreUnavailable:
            unsure = True
            await asyncio.sleep(_AWAY)
        except SessionConflict as conflict:
            if conflict.head is not None and conflict.head.revision == before.revision:
                raise AssertionError("a conflict with nobody") from conflict
            if not unsure:
                return False
            found = await _patiently(lambda: store.load(session, after=before.seq, limit=PARTS))
            assert isinstance(found, Loaded)
            return list(found.records) == [each.data for each in records]
        else:
            return True


async def _head(store: SessionStore, session: str) -> Head:
    found = await _patiently(lambda: store.load(session, limit=1))
    assert found is not None, f"session {session!r} is gone"
    return found.head


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(_AWAY)


def check(
    places: Mapping[int, Sequence[Place]], kept: Mapping[str, Loaded | NotModified | None]
) -> None:
    """Hold what writers were told against what is kept, loaded from the first record on.

    Each acknowledged append is there once, whole, where its writer was told, in the order of its
    writer; and nothing else is.
    """
    expected: dict[str, dict[int, tuple[int, int]]] = {session: {} for session in kept}
    for writer, told in places.items():
        for session, number, first in told:
            assert first not in expected[session], "two appends were told the same place"
            expected[session][first] = (writer, number)
    for session, found in kept.items():
        assert isinstance(found, Loaded)
        there = expected[session]
        assert sorted(there) == list(range(1, len(found.records) + 1, PARTS))
        assert list(found.records) == [
            record(session, *there[first], part) for first in sorted(there) for part in range(PARTS)
        ]
        assert found.head.revision.version == len(there)
        for writer in places:
            own = [there[first][1] for first in sorted(there) if there[first][0] == writer]
            assert own == sorted(own)
