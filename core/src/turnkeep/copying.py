"""Copying sessions from one store into another: as they are, to be repeated, seen to be right.

Records go over byte for byte, some at a time, so that what one copy takes of memory does not depend
on the session's length. A copy carries a mark in its meta that says of which session it is one, and
of which revision; so a later run completes it, continues it, or knows that somebody wrote to it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from turnkeep.codec import decode_event
from turnkeep.content import compact_json
from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionExists,
    StoreError,
    StoreUnavailable,
    TurnkeepError,
)
from turnkeep.log import patiently, said_in
from turnkeep.meta import Meta, times
from turnkeep.store import Capability, Head, Loaded, Record, SessionStore, new_commit_id
from turnkeep.stores.wrapped import BEHIND_ALL
from turnkeep.transfer import session_line

PAGE: Final = 200
"""Records that are read and written in one call."""
_MARK: Final = "copied"
_TURN: Final = "copy"
"""What a copy that is not whole yet has as its turn: no other one begins on it meanwhile."""
_PARTIAL: Final = -1

Outcome: TypeAlias = Literal["copied", "continued", "renewed", "same", "gone", "refused", "failed"]
"""What became of a session. "same": its copy was there, whole. "continued": what was new went over.
"renewed": events of the source were erased since, so the copy was deleted and made again. "gone":
it was deleted, or expired, since it was listed. "refused": the target has another session of this
id, or has gone on by itself, or the source was put back and went on otherwise; the target's was not
touched. "failed": for the reason that is given."""


class Copied(NamedTuple):
    """What became of one session."""

    session_id: str
    outcome: Outcome
    events: int = 0
    """Events written now."""
    problem: str | None = None
    away: bool = False
    """Whether a store could not be reached."""


class _Mark(NamedTuple):
    """What a copy says of itself in its meta."""

    life: str
    """The incarnation of the session that it is a copy of."""
    version: int
    """The version of that session that it shows; -1: not whole yet, or not yet seen to be."""
    at: int
    """The copy's own version as this was written: at any other one somebody else has written."""
    updated: str
    """When that session was written last: one that was put back comes to a version again."""
    whole: bool
    """Whether it is whole, or has been at an earlier version: more than a part that was begun."""


class _Refused(StoreError):
    """The target's session is not ours to change."""


class _Outdated(Exception):
    """A copy that only we have written does not begin as its source does."""

    def __init__(self, head: Head, seq: int) -> None:
        super().__init__(f"event {seq}")
        self.head = head
        self.seq = seq


async def sessions_to_copy(
    source: SessionStore, *, user_id: str | None = None, since: datetime | None = None
) -> list[str]:
    """Give the ids of the sessions of a user, or of all, written to at or after `since`.

    The oldest first, so that the target lists them in the order of the source.
    """
    found: list[str] = []
    cursor = None
    while True:
        at = cursor
        page = await patiently(lambda: source.list(user_id=user_id, cursor=at))  # noqa: B023  # awaited at once
        found += [head.session_id for head in page.heads if since is None or head.updated >= since]
        cursor = page.cursor
        if cursor is None:
            return found[::-1]


async def copy_session(
    source: SessionStore, target: SessionStore, session_id: str, *, dry_run: bool = False
) -> Copied:
    """Copy a session as it is at this moment, and see that what the target has is the same.

    Kept are id, owner, events with their seqs and times, state, base, ttl, title and all else that
    an export shows. A turn that is open in the source is not open in the copy. With `dry_run`
    nothing is written, and the outcome is what it would be.
    """
    copy = _Copy(source, target, session_id, dry_run=dry_run)
    try:
        return await copy.made()
    except _Refused as error:
        return Copied(session_id, "refused", problem=str(error))
    except TurnkeepError as error:
        away = isinstance(error, StoreUnavailable)
        if not away:
            await copy.removed()
        return Copied(session_id, "failed", problem=str(error), away=away)


class _Copy:
    """One session on its way."""

    def __init__(
        self, source: SessionStore, target: SessionStore, session_id: str, *, dry_run: bool
    ) -> None:
        self.source = source
        self.target = target
        self.id = session_id
        self.dry_run = dry_run
        self.begun: Head | None = None
        """The copy's head, where it was begun now."""

    async def made(self) -> Copied:
        """Copy; make the copy again where it turns out to begin otherwise than the source."""
        try:
            return await self._once()
        except _Outdated as outdated:
            await self.target.delete(self.id, expected=outdated.head.revision)
        try:
            done = await self._once()
        except _Outdated as outdated:
            self.begun = outdated.head
            raise StoreError(
                f"session {self.id!r} does not read back as it was copied, from event "
                f"{outdated.seq} on; it may be changing in the source: copy it again"
            ) from None
        return done._replace(outcome="renewed") if done.outcome == "copied" else done

    async def removed(self) -> None:
        """Remove a copy that was begun now and cannot be finished."""
        if self.begun is not None:
            try:
                await self.target.delete(self.id, expected=self.begun.revision)
            except StoreError:
                return  # it is a part, and says so: the next run takes it up

    async def _given_up(self, part: Head) -> None:
        """Remove a part whose source is gone: nobody will complete it."""
        if not self.dry_run:
            with contextlib.suppress(SessionConflict):
                await self.target.delete(self.id, expected=part.revision)

    async def _once(self) -> Copied:
        there = await _read(self.target, self.id, BEHIND_ALL)
        mark = None if there is None else _mark_of(there.head)
        ours = there is not None and mark is not None and mark.at == there.head.revision.version
        after = there.head.seq if there is not None and ours else 0
        page = await _read(self.source, self.id, after)
        if page is None:
            if there is not None and mark is not None and ours and not mark.whole:
                await self._given_up(there.head)
            return Copied(self.id, "gone")
        head = page.head
        if there is not None and mark is not None and ours:
            if mark.life != head.revision.incarnation.hex():
                raise _Refused(
                    f"session {self.id!r} in the target is a copy of an earlier session of this "
                    "id; delete it there to copy this one"
                )
            if (mark.version, mark.updated) == (head.revision.version, head.updated.isoformat()):
                return Copied(self.id, "same")
            if after > head.seq:
                raise _Refused(
                    f"session {self.id!r} has {head.seq} events and its copy {after}: the source "
                    "was put back; delete the copy to make it anew"
                )
            copied = there.head
        else:
            if there is not None and there.head.revision.version > 0:
                return await self._same_or_refused(page, there)
            if self.dry_run:
                return Copied(self.id, "copied", head.seq)
            try:
                copied = await self._begin(head)
            except SessionExists:
                if (there := await _read(self.target, self.id, BEHIND_ALL)) is None:
                    raise
                return await self._same_or_refused(page, there)
            self.begun = copied
        # First, so that what cannot be continued is left as it is.
        if (seq := await self._difference(after, head)) is not None:
            if self.begun is None:
                await self._check_erased(seq)
            if not self.dry_run:
                raise _Outdated(copied, seq)
            return Copied(self.id, "renewed", head.seq)
        if not self.dry_run:
            written = await self._write(copied, page, after)
            await self._see(written, page, after)
            await self._finish(written, head)
        whole = after == 0 or (mark is not None and mark.version == _PARTIAL)
        return Copied(self.id, "copied" if whole else "continued", head.seq - after)

    async def _begin(self, head: Head) -> Head:
        """Begin the copy, or find it begun by a run that was cut off. Raises SessionExists."""
        key = compact_json(["copy", self.id, head.revision.incarnation.hex()]).encode()
        return await patiently(
            lambda: self.target.create(
                self.id,
                user_id=head.user_id,
                ttl=head.ttl,
                commit_id=hashlib.blake2b(key, digest_size=16).digest(),
            )
        )

    async def _write(self, copied: Head, first: Loaded, after: int) -> Head:
        """Write the records behind `after`, and with the last of them all else but the mark."""
        head, page = first.head, first
        while True:
            records = page.records[: head.seq - after]
            after += len(records)
            version = copied.revision.version + 1
            if after < head.seq:
                partial = _mark(head, _PARTIAL, version, whole=_was_whole(copied))
                # Of a copy that is continued all else stays as it was, should this come to nothing.
                kept = Meta.of(copied)
                meta = kept._replace(turn=_TURN, rest={**kept.rest, _MARK: partial._asdict()})
                copied = await self._append(copied, records, meta=meta.encode(self.id))
                page = await self._of_this_life(self.source, head, after)
                continue
            return await self._append(
                copied,
                records,
                meta=_meta_of_copy(head, version, after=copied).encode(self.id),
                state=first.state,
                base=head.base,
                ttl=head.ttl,
            )

    async def _finish(self, written: Head, head: Head) -> None:
        """Say that the copy is whole, once it was seen to be: who is cut off before looks again."""
        meta = _meta_of_copy(head, written.revision.version + 1, after=None)
        await self._append(written, (), meta=meta.encode(self.id))

    async def _append(self, copied: Head, records: Sequence[bytes], **fields: Any) -> Head:
        commit_id = new_commit_id()
        given = [self._given(record) for record in records]
        try:
            head = await patiently(
                lambda: self.target.append(
                    self.id, given, expected=copied.revision, commit_id=commit_id, **fields
                )
            )
        except SessionConflict:
            raise _Refused(
                f"session {self.id!r} was written to in the target while it was copied"
            ) from None
        if self.begun is not None:
            self.begun = head
        return head

    def _given(self, record: bytes) -> Record:
        """Give a record as it is, with the text that it is found by where the target searches."""
        if Capability.SEARCH not in self.target.capabilities:
            return Record(record)
        return Record(record, said_in(decode_event(record, 0, session_id=self.id)))

    async def _see(self, copied: Head, first: Loaded, after: int) -> None:
        """See that the copy is the same, whatever the source has become since. Raises _Outdated.

        Up to `after` it was seen to be.
        """
        head = first.head
        there = await _read(self.target, self.id, BEHIND_ALL)
        if there is None or there.head.revision != copied.revision:
            raise _Refused(f"session {self.id!r} was written to in the target while it was copied")
        found = there.head
        if (
            (found.user_id, found.seq, found.base) != (head.user_id, head.seq, head.base)
            or abs((found.ttl or 0.0) - (head.ttl or 0.0)) > 0.001  # a store's tick
            or there.state != first.state
            or session_line(found, there.state) != session_line(head, first.state)
        ):
            raise StoreError(f"session {self.id!r} does not read back as it was copied")
        if (seq := await self._difference(head.seq, head, after)) is not None:
            raise _Outdated(copied, seq)

    async def _same_or_refused(self, page: Loaded, there: Loaded) -> Copied:
        """Tell whether a session that is no untouched copy is the same all the same."""
        head, found = page.head, there.head
        seq = await self._difference(min(head.seq, found.seq), head)
        if seq is None and (head.seq, head.user_id, page.state, _lasting(head)) == (
            found.seq,
            found.user_id,
            there.state,
            _lasting(found),
        ):
            return Copied(self.id, "same")
        where = f"from event {seq or min(head.seq, found.seq) + 1} on"
        if seq is None and head.seq == found.seq:
            where = "in its owner, its state or its header"
        raise _Refused(
            f"session {self.id!r} is another one in the target, {where}; it was left as it is: "
            "delete it there to copy this one"
        )

    async def _difference(self, upto: int, head: Head, after: int = 0) -> int | None:
        """Give the first seq behind `after` at which source and target differ, None if nowhere."""
        while after < upto:
            ours = await self._of_this_life(self.source, head, after)
            theirs = await _read(self.target, self.id, after)
            if theirs is None:
                return after + 1
            for seq in range(after + 1, min(after + PAGE, upto) + 1):
                place = seq - after - 1
                if ours.records[place : place + 1] != theirs.records[place : place + 1]:
                    return seq
            after += PAGE
        return None

    async def _check_erased(self, seq: int) -> None:
        """Make sure that an event that differs is the same one: what is erased keeps its id."""
        ours, theirs = [
            await patiently(lambda: store.load(self.id, after=seq - 1, limit=1))  # noqa: B023  # awaited at once
            for store in (self.source, self.target)
        ]
        ids = [
            decode_event(record, seq, session_id=self.id).id
            for record in (ours.records if isinstance(ours, Loaded) else ())
        ]
        try:
            copied = [
                decode_event(record, seq, session_id=self.id).id
                for record in (theirs.records if isinstance(theirs, Loaded) else ())
            ]
        except CorruptSession:
            return  # nothing can be read there that the source could have lost
        if ids[:1] != copied[:1]:
            raise _Refused(
                f"session {self.id!r} is not what it was copied from any more, from event {seq} "
                "on: the source was put back; delete the copy to make it anew"
            )

    async def _of_this_life(self, store: SessionStore, head: Head, after: int) -> Loaded:
        page = await _read(store, self.id, after)
        if page is None or page.head.revision.incarnation != head.revision.incarnation:
            raise StoreError(f"session {self.id!r} was deleted in the source while it was copied")
        if not page.records:
            raise StoreError(f"session {self.id!r} lost events in the source while it was copied")
        return page


async def _read(store: SessionStore, session_id: str, after: int) -> Loaded | None:
    found = await patiently(lambda: store.load(session_id, after=after, limit=PAGE))
    return found if isinstance(found, Loaded) else None


def _meta_of_copy(head: Head, version: int, *, after: Head | None) -> Meta:
    """Give the notes of a copy that has all records, at a version of its own.

    `after` is the copy before that, where it was not yet seen to be whole.
    """
    whole = after is None
    meta = Meta.of(head)
    created, updated = times(head, meta)
    shows = head.revision.version if whole else _PARTIAL
    mark = _mark(head, shows, version, whole=after is None or _was_whole(after))
    return meta._replace(
        turn=None if whole else _TURN,  # not the source's: the process that runs it writes there
        imported={
            "created": created.isoformat(),
            "updated": updated.isoformat(),
            "version": version,
        },
        rest={**meta.rest, _MARK: mark._asdict()},
    )


def _mark(source: Head, shows: int, at: int, *, whole: bool) -> _Mark:
    life, updated = source.revision.incarnation.hex(), source.updated.isoformat()
    return _Mark(life, shows, at, updated, whole)


def _was_whole(copied: Head) -> bool:
    mark = _mark_of(copied)
    return mark is not None and mark.whole


def _mark_of(head: Head) -> _Mark | None:
    found = Meta.of(head).rest.get(_MARK)
    if not isinstance(found, dict):
        return None
    life, version, at, updated, whole = (found.get(name) for name in _Mark._fields)
    if not isinstance(life, str) or not isinstance(updated, str):
        return None
    if not isinstance(version, int) or not isinstance(at, int):
        return None
    return _Mark(life, version, at, updated, whole is True)


def _lasting(head: Head) -> object:
    """Give what of the notes an export shows, apart from times."""
    return Meta.of(head).header
