"""Amendments: taking back, going back, forking, erasing — on whole sessions of any store.

Each reads the whole log, as it must: what stood at an event is known from everything before it. A
turn that is running is not disturbed (SessionBusy); one whose process died is closed on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from turnkeep.codec import decode_events, decode_object, encode_event, encode_object
from turnkeep.content import Ref, compact_json
from turnkeep.errors import (
    ContentError,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreError,
)
from turnkeep.events import Checkpoint, Decision, Event, Retract, Tombstone
from turnkeep.history import standing_base, state_at
from turnkeep.log import Log, begin, patiently, read_records
from turnkeep.meta import Meta, check_free
from turnkeep.store import Capability, ForkingStore, Head, Loaded, SessionStore, check_id


class Whole(NamedTuple):
    """A session as it was read: everything there is of it."""

    log: Log
    meta: Meta
    state: dict[str, Any]
    events: list[Event]
    now: datetime
    """The store's clock as the reading began."""


async def read_whole(store: SessionStore, session_id: str, *, user_id: str | None = None) -> Whole:
    """Read a session with all its events, not touching a turn that runs.

    Raises SessionNotFound, also where the session belongs to another user.
    """
    read = await read_records(store, check_id(session_id), after=0)
    if read is None or (user_id is not None and read[0].head.user_id != user_id):
        raise SessionNotFound(session_id)
    loaded, records = read
    return Whole(
        Log(store, loaded.head),
        Meta.of(loaded.head),
        decode_object(loaded.state, session_id=session_id, what="its state"),
        decode_events(records, 1, session_id=session_id),
        loaded.now,
    )


async def retract(
    store: SessionStore,
    session_id: str,
    *,
    items: Iterable[Ref] = (),
    after: int | None = None,
    author: str,
    user_id: str | None,
    turn_timeout: float,
) -> Event:
    """Append a Retract, with the state and the base that hold from then on.

    Raises ContentError for an event or item that is not there.
    """
    whole = await _free(store, session_id, user_id, turn_timeout)
    events = whole.events
    refs = [Ref(*ref) for ref in items]
    _check_targets(whole, refs, after)
    event = Retract(author=author, items=refs, after=after).stored_as(len(events) + 1)
    state = None
    if after is not None:
        before = dict(state_at(events, after, whole.state, whole.meta.first_state))
        what = f"state of session {session_id!r}"
        encoded = encode_object(before, what)
        if encoded != encode_object(whole.state, what):  # 1 is not true, though it equals it
            state = encoded
            event.carrying(before)
    await whole.log.append(
        [event],
        meta=_closed(whole.meta, session_id),
        state=state,
        base=standing_base([*events, event]),
    )
    return event


async def fork(
    store: SessionStore,
    session_id: str,
    new_id: str,
    *,
    at: int | None,
    user_id: str | None,
) -> Head:
    """Begin a session with a copy of another one's events, up to and with `at` (None: all).

    The same fork again completes one that was cut off; SessionExists once the new session has
    gone on. Raises ContentError for an event that is not there.
    """
    check_id(new_id)
    while True:
        whole = await read_whole(store, session_id, user_id=user_id)
        source = whole.log.head
        at = source.seq if at is None else at
        copy = _copy_of(whole, new_id, at)
        try:
            made = await _forked(store, source, new_id, copy)
        except SessionExists:
            if not await _is_old(store, new_id, copy):
                raise
            continue
        # The store fences by the session's life only: an erasure since then may have taken what
        # the copy's state and base were found by.
        seen = await patiently(
            lambda: store.load(session_id, limit=1, known=source.revision)  # noqa: B023  # awaited at once
        )
        if not isinstance(seen, Loaded):
            return made
        try:
            now = await read_whole(store, session_id)
        except SessionNotFound:
            return made
        if now.log.head.revision.incarnation != source.revision.incarnation:
            return made
        if _copy_of(now, new_id, at) == copy:
            return made
        if not await _removed(store, made):
            raise SessionExists(new_id)


async def _is_old(store: SessionStore, new_id: str, copy: _Copy) -> bool:
    """Remove a fork of the same event that is not what it would be now, and was not written to.

    An erasure met it, and what was to make it anew was cut off.
    """
    found = await patiently(lambda: store.load(new_id, limit=1))
    if not isinstance(found, Loaded) or found.head.revision.version > 1:
        return False
    if found.head.seq != copy.at or Meta.of(found.head).forked != copy.origin:
        return False
    if (found.state, found.head.base) == (copy.state, copy.base):
        return False
    return await _removed(store, found.head)


async def _removed(store: SessionStore, fork: Head) -> bool:
    """Remove a fork, unless somebody has written to it: it goes its own way then."""
    try:
        await patiently(lambda: store.delete(fork.session_id, expected=fork.revision))
    except SessionConflict:
        return False
    return True


class _Copy(NamedTuple):
    """What a fork begins with."""

    at: int
    origin: dict[str, Any]
    events: Sequence[Event]
    state: bytes
    meta: bytes
    base: int


def _copy_of(whole: Whole, new_id: str, at: int) -> _Copy:
    """Find what stood after event `at`. Raises ContentError if there is none."""
    check_seq(whole, at)
    events = whole.events[:at]
    first = whole.meta.first_state
    then = state_at(whole.events, at, whole.state, first)
    if not any(event.state is not None for event in events):
        first = dict(then)
    origin = {"session": whole.log.head.session_id, "seq": at}
    return _Copy(
        at,
        origin,
        events,
        encode_object(then, f"state of session {new_id!r}"),
        Meta(header=whole.meta.header, forked=origin, first_state=first).encode(new_id),
        standing_base(events),
    )


async def _forked(store: SessionStore, source: Head, new_id: str, copy: _Copy) -> Head:
    """Write a fork, or find the one that was written before."""
    incarnation = source.revision.incarnation
    key = hashlib.blake2b(
        compact_json([source.session_id, new_id, copy.at, incarnation.hex(), copy.base]).encode()
        + copy.state,
        digest_size=16,
    ).digest()
    if Capability.FORK in store.capabilities:
        forking = cast("ForkingStore", store)
        return await patiently(
            lambda: forking.fork(
                source.session_id,
                new_id,
                upto=copy.at,
                incarnation=incarnation,
                user_id=source.user_id,
                state=copy.state,
                meta=copy.meta,
                base=copy.base,
                ttl=source.ttl,
                commit_id=key,
            )
        )
    try:
        log = await begin(store, new_id, user_id=source.user_id, ttl=source.ttl, commit_id=key)
    except SessionExists:
        found = await store.load(new_id, limit=1)
        if (
            isinstance(found, Loaded)
            and found.head.revision.version == 1
            and found.head.meta == copy.meta
        ):
            return found.head  # done before, and nothing has come since
        raise
    return await log.append(copy.events, meta=copy.meta, state=copy.state, base=copy.base)


async def erase(
    store: SessionStore,
    session_id: str,
    seqs: Iterable[int],
    *,
    reason: str | None,
    user_id: str | None,
    turn_timeout: float,
) -> Sequence[int]:
    """Put tombstones in the place of events and of what repeats them; give the seqs of all.

    What repeats them: checkpoints made after the first of them. Decisions on their calls lose their
    arguments and reason, and retractions the state that they restored; both go on to hold.
    Raises StoreError where the store cannot erase, ContentError for an event that is not there.
    """
    if Capability.ERASE not in store.capabilities:
        raise StoreError(
            f"the {store.name} store cannot erase single events; delete session {session_id!r} "
            "whole, or move to a store with the capability `erase`"
        )
    whole = await _free(store, session_id, user_id, turn_timeout)
    wanted = frozenset(seqs)
    for seq in wanted:
        check_seq(whole, seq, first=1)
    events = list(whole.events)
    stones = {each.seq or 0: each for each in _stones(events, wanted, reason)}
    for seq, stone in stones.items():
        events[seq - 1] = stone
    if stones:
        # Those that are tombstones already are written again: so a store that could not empty its
        # log before tries once more.
        await whole.log.erase(
            {seq: encode_event(stone) for seq, stone in stones.items()},
            meta=_closed(whole.meta, session_id),
            base=standing_base(events),
        )
    return sorted(seq for seq, each in stones.items() if each != whole.events[seq - 1])


def _stones(events: Sequence[Event], wanted: frozenset[int], reason: str | None) -> Iterator[Event]:
    """Give what stands in the place of events that are erased, and of those that repeat them."""
    if not wanted:
        return
    first = min(wanted)
    states = [
        encode_object(event.state, "state")
        for event in events
        if event.seq in wanted and event.state is not None
    ]
    for event in events:
        named = event.seq in wanted
        if isinstance(event, Tombstone):
            if named:
                yield event
        elif isinstance(event, Retract):
            # What was taken back stays so. It may carry a state of before.
            again = event.state is not None and encode_object(event.state, "state") in states
            if named or again:
                yield event.model_copy(update={"state": None, "content": []})
        elif isinstance(event, Decision):
            # Else its call would wait again, and its tool run twice.
            if named or event.call.seq in wanted:
                yield event.model_copy(
                    update={"arguments": None, "reason": None, "state": None, "content": []}
                )
        elif named or (isinstance(event, Checkpoint) and (event.seq or 0) > first):
            yield _tombstone(event, reason)


async def _free(
    store: SessionStore, session_id: str, user_id: str | None, turn_timeout: float
) -> Whole:
    """Read a session that is about to be amended. Raises SessionBusy while a turn of it runs."""
    whole = await read_whole(store, session_id, user_id=user_id)
    if busy := check_free(whole.log.head, whole.meta, whole.now, turn_timeout):
        raise busy
    return whole


def _closed(meta: Meta, session_id: str) -> bytes | None:
    """Give the meta without the turn that died and without counts of a context that is no more.

    None if it need not change.
    """
    if meta.turn is None and not meta.tokens:
        return None
    return meta._replace(turn=None, tokens={}).encode(session_id)


def check_seq(whole: Whole, seq: int, *, first: int = 0) -> None:
    """Refuse a seq that the session does not have; 0 stands for before the first event."""
    last = len(whole.events)
    if isinstance(seq, bool) or not isinstance(seq, int) or not first <= seq <= last:
        raise ContentError(
            f"session {whole.log.head.session_id!r} has no event {seq!r}: name one from {first} to "
            f"{last}" + (" (0: before the first)" if first == 0 else "")
        )


def _check_targets(whole: Whole, refs: Sequence[Ref], after: int | None) -> None:
    name = f"session {whole.log.head.session_id!r}"
    if bool(refs) == (after is not None):
        raise ContentError(f"{name}: name either items to take back, or an event to go back to")
    if after is not None:
        check_seq(whole, after)
    for seq, index in refs:
        check_seq(whole, seq, first=1)
        size = len(whole.events[seq - 1].content)
        if not 0 <= index < size:
            raise ContentError(
                f"{name}: event {seq} has no item {index}; it holds {size}, counted from 0"
            )


def _tombstone(event: Event, reason: str | None) -> Tombstone:
    return Tombstone(
        id=event.id,
        execution_id=event.execution_id,
        timestamp=event.timestamp,
        author=event.author,
        was=event.type,
        changed_state=event.state is not None,
        reason=reason,
    ).stored_as(event.seq)
