"""Defects in expiry, purge and delete."""

from datetime import UTC, datetime, timedelta

from defects import fails
from whole import Whole

from turnkeep.store import KEEP


class _FindsExpired(Whole):
    """In `blind` calls an expired session is found."""

    blind = False

    def _find(self, session_id, now):
        return self._sessions.get(session_id) if self.blind else super()._find(session_id, now)


@fails(
    "a_load_does_not_move_the_expiry",
    "a_session_that_was_written_expires_too",
    "an_expired_session_is_not_loaded",
)
class ExpiredIsLoaded(_FindsExpired):
    """A load does not look at the expiry."""

    async def load(self, session_id, **fields):
        self.blind = True
        try:
            return await super().load(session_id, **fields)
        finally:
            self.blind = False


@fails("an_expired_session_is_not_appended_to")
class ExpiredIsAppendedTo(_FindsExpired):
    """An append brings an expired session back."""

    async def append(self, session_id, records, **fields):
        self.blind = True
        try:
            return await super().append(session_id, records, **fields)
        finally:
            self.blind = False


@fails("an_expired_id_is_free")
class ExpiredIsInTheWay(_FindsExpired):
    """Until it is purged an expired session holds its id."""

    async def create(self, session_id, **fields):
        self.blind = True
        try:
            return await super().create(session_id, **fields)
        finally:
            self.blind = False


@fails("an_expired_session_is_not_forked")
class ExpiredIsForked(_FindsExpired):
    """A fork does not look at the expiry."""

    async def fork(self, session_id, new_id, **fields):
        self.blind = True
        try:
            return await super().fork(session_id, new_id, **fields)
        finally:
            self.blind = False


@fails("an_expired_session_is_not_listed")
class ExpiredIsListed(Whole):
    """A list does not look at the expiry."""

    async def list(self, **fields):
        now, self._now = self._now, lambda: datetime(2000, 1, 1, tzinfo=UTC)
        try:
            return await super().list(**fields)
        finally:
            self._now = now


@fails("an_append_moves_the_expiry_on")
class TtlDoesNotSlide(Whole):
    """The expiry stays where create has put it."""

    async def append(self, session_id, records, *, ttl=KEEP, **fields):
        found = self._find(session_id, self._now())
        before = None if found is None else found.head.expires
        head = await super().append(session_id, records, ttl=ttl, **fields)
        if ttl is KEEP:
            found.head = head._replace(expires=before)
        return self._sessions[session_id].head


@fails("a_session_that_is_written_lives_on")
class TtlSlidesInTheHeadOnly(Whole):
    """A head tells the new expiry, and the session is gone at the old one."""

    def __init__(self):
        super().__init__()
        self.ends = {}

    async def append(self, session_id, records, *, ttl=KEEP, **fields):
        found = self._find(session_id, self._now())
        before = None if found is None else found.head.expires
        head = await super().append(session_id, records, ttl=ttl, **fields)
        if ttl is KEEP:
            self.ends.setdefault(head.revision.incarnation, before)
        return head

    def _find(self, session_id, now):
        found = super()._find(session_id, now)
        end = None if found is None else self.ends.get(found.head.revision.incarnation)
        return None if end is not None and end <= now else found


@fails(
    "a_session_that_was_written_expires_too",
    "an_expired_id_is_free",
    "an_expired_session_is_not_forked",
)
class TtlLostOnAppend(Whole):
    """What was appended to never expires, whatever its head says."""

    def _find(self, session_id, now):
        found = self._sessions.get(session_id)
        if found is not None and found.head.revision.version:
            return found
        return super()._find(session_id, now)


@fails("a_session_is_there_until_it_expires")
class ExpiresEarly(Whole):
    """A session with a short ttl is gone after six tenths of it."""

    def _find(self, session_id, now):
        found = super()._find(session_id, now)
        if found is None or (found.head.ttl or 1) > 0.4:
            return found
        return found if now < found.head.updated + 0.6 * timedelta(seconds=found.head.ttl) else None


@fails("a_load_does_not_move_the_expiry")
class TtlSlidesOnLoad(Whole):
    """Reading a session lets it live on, by a tenth of its ttl and more: never right after a write."""

    async def load(self, session_id, **fields):
        now = self._now()
        found = self._find(session_id, now)
        if found is not None and found.head.expires is not None:
            ttl = timedelta(seconds=found.head.ttl)
            if now + ttl - found.head.expires >= ttl / 10:
                found.head = found.head._replace(expires=now + ttl)
        return await super().load(session_id, **fields)


@fails("a_ttl_that_was_taken_away_does_not_end_it", "an_append_can_change_the_ttl")
class TtlNoneKeeps(Whole):
    """ttl=None is taken for nothing said."""

    async def append(self, session_id, records, *, ttl=KEEP, **fields):
        return await super().append(session_id, records, ttl=KEEP if ttl is None else ttl, **fields)


@fails(
    "a_ttl_that_is_no_duration_is_refused[-1]",
    "a_ttl_that_is_no_duration_is_refused[0]",
    "a_ttl_that_is_no_duration_is_refused[nan]",
)
class TtlUnchecked(Whole):
    """Any number is a ttl."""

    async def create(self, session_id, *, ttl=None, **fields):
        if ttl is not None and not ttl > 0:
            ttl = 1e9
        return await super().create(session_id, ttl=ttl, **fields)


class _LeavesRecords(Whole):
    """Records of sessions that are gone are counted as stored."""

    def __init__(self):
        super().__init__()
        self.left = []

    def stored(self):
        return super().stored() + len(self.left)


@fails("purge_leaves_nothing_stored")
class PurgeLeavesRecords(_LeavesRecords):
    """Purge takes the head and leaves the records."""

    async def purge(self, *, limit=1000):
        before = dict(self._sessions)
        count = await super().purge(limit=limit)
        for gone in set(before) - set(self._sessions):
            self.left.extend(before[gone].records)
        return count


@fails("delete_leaves_nothing_stored")
class DeleteLeavesRecords(_LeavesRecords):
    """So does delete."""

    async def delete(self, session_id, **fields):
        found = self._sessions.get(session_id)
        gone = await super().delete(session_id, **fields)
        if gone:
            self.left.extend(found.records)
        return gone


@fails("purge_is_bounded_and_counts")
class PurgeUnbounded(Whole):
    """Purge does not look at its limit."""

    async def purge(self, *, limit=1000):
        await super().purge(limit=limit)
        return limit if limit < 3 else await super().purge()


@fails("purge_spares_what_lives")
class PurgeTakesAllWithTtl(Whole):
    """Purge removes what will expire."""

    async def purge(self, *, limit=1000):
        now, self._now = self._now, lambda: datetime(2100, 1, 1, tzinfo=UTC)
        try:
            return await super().purge(limit=limit)
        finally:
            self._now = now
