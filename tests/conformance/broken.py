"""Stores with one defect each, and the tests of the suite that must notice it: those, no others."""

import asyncio
import json
import pickle
import posixpath
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from whole import DAMAGED, Whole

from turnkeep.errors import SessionConflict, SessionExists, StoreClosed
from turnkeep.store import KEEP, Loaded, NotModified, Page, Revision, new_commit_id

BROKEN = {}
"""Name: (class, names of the tests that fail, without `test_`)."""
QUICK = {"LastWriterWins", "TtlDoesNotSlide", "EraseLeavesOldBytes"}
"""Those that the normal run looks at; the long proofs look at all."""


def fails(*tests):
    """Register a store with the tests that it must fail."""

    def register(store):
        BROKEN[store.__name__] = store, frozenset(tests)
        return store

    return register


@fails()
class Sound(Whole):
    """No defect: the suite finds nothing in it."""


# Fencing


@fails(
    "a_conflict_tells_the_current_head",
    "a_conflict_writes_nothing",
    "a_handle_of_an_earlier_life_conflicts",
    "a_stale_writer_conflicts",
    "a_version_of_the_future_conflicts",
    "an_erase_fences_those_who_did_not_see_it",
    "of_writers_with_one_expectation_one_wins",
)
class LastWriterWins(Whole):
    """`expected` of an append is not looked at."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            expected = found.head.revision
        return await super().append(session_id, records, expected=expected, **fields)


@fails(
    "a_conflict_tells_the_current_head",
    "a_conflict_writes_nothing",
    "a_stale_writer_conflicts",
    "an_append_can_be_repeated_by_another_handle",
    "an_append_whose_answer_was_lost_can_be_repeated",
    "an_erase_fences_those_who_did_not_see_it",
    "of_writers_with_one_expectation_one_wins",
    "two_tasks_lose_and_double_nothing",
)
class SecondWriterOverwrites(Whole):
    """A stale append goes on from what its writer knew; what came between is lost."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        known, current = expected, None if found is None else found.head.revision
        if current and known.incarnation == current.incarnation and known < current:
            del found.records[-1:]
            found.head = found.head._replace(seq=len(found.records), revision=known)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_handle_of_an_earlier_life_conflicts")
class OldIncarnationAccepted(Whole):
    """Appends compare versions only."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            expected = Revision(found.head.revision.incarnation, expected.version)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_version_of_the_future_conflicts")
class NewerVersionAccepted(Whole):
    """An expectation conflicts only where it is older."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None and expected > found.head.revision:
            expected = Revision(expected.incarnation, found.head.revision.version)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_conflict_tells_the_current_head", "two_tasks_lose_and_double_nothing")
class ConflictTellsTheWrongHead(Whole):
    """The head in a conflict is a version behind, so that going on from it conflicts again."""

    async def append(self, session_id, records, **fields):
        try:
            return await super().append(session_id, records, **fields)
        except SessionConflict as error:
            revision = error.head.revision
            behind = error.head._replace(revision=Revision(revision.incarnation, -1))
            raise SessionConflict(session_id, behind) from None


@fails("a_conflict_writes_nothing", "a_fault_amid_an_append_leaves_nothing_of_it")
class ConflictWritesState(Whole):
    """The state is written before the fence."""

    async def append(self, session_id, records, *, state=None, **fields):
        found = self._find(session_id, self._now())
        if found is not None and state is not None:
            found.state = state
        return await super().append(session_id, records, state=state, **fields)


@fails("a_fenced_delete_spares_what_changed", "a_handle_of_an_earlier_life_conflicts")
class DeleteIgnoresExpected(Whole):
    """A delete is never refused."""

    async def delete(self, session_id, *, expected=None):
        return await super().delete(session_id)


@fails(
    "a_session_id_is_taken_for_every_user",
    "an_existing_session_is_not_created_again",
    "of_many_creators_one_wins",
)
class CreateReplaces(Whole):
    """A create of what exists begins it anew."""

    async def create(self, session_id, *, commit_id, **fields):
        found = self._sessions.get(session_id)
        if found is not None and found.created_by != commit_id:
            del self._sessions[session_id]
        return await super().create(session_id, commit_id=commit_id, **fields)


# Atomicity and retries


@fails("a_cancelled_append_is_all_or_nothing", "a_load_is_one_snapshot_while_a_writer_runs")
class TornAppend(Whole):
    """State and meta are written a moment after the records."""

    async def append(self, session_id, records, *, meta=None, state=None, **fields):
        head = await super().append(session_id, records, **fields)
        if meta is state is None:
            return head
        await asyncio.sleep(0)
        found = self._find(session_id, self._now())
        found.head = found.head._replace(meta=found.head.meta if meta is None else meta)
        found.state = found.state if state is None else state
        return found.head


@fails("a_fault_amid_an_append_leaves_nothing_of_it")
class FaultLeavesHalf(Whole):
    """Records are appended one by one until one fails."""

    async def append(self, session_id, records, *, expected, **fields):
        for record in records:
            if not isinstance(record.data, bytes | bytearray):
                good = records[: records.index(record)]
                await super().append(session_id, good, expected=expected, **fields)
        return await super().append(session_id, records, expected=expected, **fields)


@fails(
    "an_append_can_be_repeated_by_another_handle", "an_append_whose_answer_was_lost_can_be_repeated"
)
class RetryConflicts(Whole):
    """The commit id of an append is not kept."""

    async def append(self, session_id, records, *, commit_id, **fields):
        return await super().append(session_id, records, commit_id=new_commit_id(), **fields)


@fails(
    "an_append_can_be_repeated_by_another_handle", "an_append_whose_answer_was_lost_can_be_repeated"
)
class RetryAppliedTwice(Whole):
    """A repeated append is written once more."""

    async def append(self, session_id, records, *, expected, commit_id, **fields):
        found = self._find(session_id, self._now())
        if found is not None and found.commit_id == commit_id:
            expected, commit_id = found.head.revision, new_commit_id()
        return await super().append(
            session_id, records, expected=expected, commit_id=commit_id, **fields
        )


@fails("a_create_whose_answer_was_lost_can_be_repeated")
class CreateForgetsItsCommitId(Whole):
    """A repeated create is SessionExists."""

    async def create(self, session_id, *, commit_id, **fields):
        return await super().create(session_id, commit_id=new_commit_id(), **fields)


@fails("a_deleted_session_is_not_found", "an_append_to_nothing_is_not_found")
class AppendCreates(Whole):
    """An append to a session that never was begins it."""

    async def append(self, session_id, records, *, expected, **fields):
        if session_id not in self._sessions:
            expected = (await self.create(session_id, commit_id=new_commit_id())).revision
        return await super().append(session_id, records, expected=expected, **fields)


# Order, loading, independence


@fails("a_clock_set_back_changes_no_order")
class OrderByClock(Whole):
    """Records are sorted by the time at which they were written."""

    def __init__(self):
        super().__init__()
        self.times = {}

    async def append(self, session_id, records, **fields):
        head = await super().append(session_id, records, **fields)
        times = self.times.setdefault((session_id, head.revision.incarnation), [])
        times += [head.updated] * (head.seq - len(times))
        return head

    async def load(self, session_id, *, after=None, **fields):
        found = await super().load(session_id, after=after, **fields)
        if not isinstance(found, Loaded) or after != 0:
            return found
        times = self.times.get((session_id, found.head.revision.incarnation), [])
        times = times + [found.now] * (len(found.records) - len(times))
        order = sorted(range(len(found.records)), key=lambda index: times[index])
        return found._replace(records=[found.records[index] for index in order])


@fails("a_load_from_before_an_erase_stays_as_it_was", "what_load_returns_is_independent")
class SharedRecordsReturned(Whole):
    """A load of everything returns the store's own list."""

    async def load(self, session_id, **fields):
        found = await super().load(session_id, **fields)
        if isinstance(found, Loaded) and found.first == 1 and not found.more:
            return found._replace(records=self._sessions[session_id].records)
        return found


@fails("what_append_was_given_is_independent")
class CallersBufferKept(Whole):
    """What was appended is the caller's own object."""

    async def append(self, session_id, records, **fields):
        head = await super().append(session_id, records, **fields)
        kept = self._sessions[session_id].records
        for place, record in enumerate(records, start=head.seq - len(records)):
            if kept[place] == record.data:
                kept[place] = record.data
        return head


@fails("a_record_that_cannot_be_read_is_named")
class CorruptRecordSkipped(Whole):
    """A record that cannot be read is left out."""

    async def load(self, session_id, **fields):
        found = await super(Whole, self).load(session_id, **fields)
        if isinstance(found, Loaded):
            return found._replace(records=[each for each in found.records if each is not DAMAGED])
        return found


@fails("a_page_that_reaches_the_end_says_so", "load_starts_with_the_record_of_the_base")
class BaseIgnored(Whole):
    """A load without `after` starts with the first record."""

    async def load(self, session_id, *, after=None, **fields):
        return await super().load(session_id, after=after or 0, **fields)


@fails("a_known_revision_is_not_loaded_again")
class KnownIgnored(Whole):
    """What the caller has is sent again."""

    async def load(self, session_id, *, known=None, **fields):
        return await super().load(session_id, **fields)


@fails(
    "a_cache_of_an_earlier_life_is_not_confirmed",
    "a_revision_that_is_not_the_current_one_is_loaded",
)
class KnownComparesVersions(Whole):
    """A cache of an earlier incarnation at the same version is confirmed."""

    async def load(self, session_id, *, known=None, **fields):
        found = await super().load(session_id, **fields)
        if found is not None and known and known.version == found.head.revision.version:
            return NotModified(found.head, found.now)
        return found


@fails(
    "a_limit_pages_without_gap_or_overlap",
    "a_page_that_reaches_the_end_says_so",
    "the_other_records_can_still_be_read",
)
class LoadLimitIgnored(Whole):
    """All records come at once."""

    async def load(self, session_id, *, limit=None, **fields):
        await super().load(session_id, after=1 << 60, limit=limit)  # what is no limit is refused
        return await super().load(session_id, **fields)


@fails("a_page_that_reaches_the_end_says_so")
class MoreOnFullPages(Whole):
    """`more` is true for a full page, whether or not something follows."""

    async def load(self, session_id, *, limit=None, **fields):
        found = await super().load(session_id, limit=limit, **fields)
        if isinstance(found, Loaded) and limit == len(found.records):
            return found._replace(more=True)
        return found


@fails("a_second_handle_sees_what_the_first_wrote")
class HandleCaches(Whole):
    """A handle answers from what it read or wrote itself."""

    def handle(self, **options):
        other = super().handle(**options)
        other.cache = {}
        return other

    async def load(self, session_id, *, after=None, limit=None, **fields):
        if after != 0 or limit is not None:
            return await super().load(session_id, after=after, limit=limit, **fields)
        live = self._find(session_id, self._now())
        if live is None or session_id not in self.cache:
            self.cache[session_id] = await super().load(session_id, after=0)
        found = self.cache[session_id]
        return found._replace(records=list(found.records)) if isinstance(found, Loaded) else found

    async def create(self, session_id, **fields):
        self.cache.pop(session_id, None)
        return await super().create(session_id, **fields)

    async def append(self, session_id, records, **fields):
        try:
            return await super().append(session_id, records, **fields)
        finally:
            self.cache.pop(session_id, None)

    async def erase(self, session_id, replacements, **fields):
        self.cache.pop(session_id, None)
        return await super().erase(session_id, replacements, **fields)


# Ids


class _Ids(Whole):
    """Ids are changed before use; answers still name the caller's."""

    def key(self, session_id):
        raise NotImplementedError

    def mapped(self, session_id):
        try:
            session_id.encode()
            return self.key(session_id) or session_id
        except UnicodeEncodeError:
            return session_id

    def _find(self, session_id, now):
        found = super()._find(self.mapped(session_id), now)
        if found is not None:
            found.head = found.head._replace(session_id=session_id)
        return found

    async def create(self, session_id, **fields):
        existing = self._find(session_id, self._now())
        if existing is not None and existing.created_by != fields["commit_id"]:
            raise SessionExists(session_id)
        head = await super().create(session_id, **fields)
        self._sessions[self.mapped(session_id)] = self._sessions.pop(session_id)
        return head

    async def delete(self, session_id, *, expected=None):
        found = self._find(session_id, self._now())
        if found is not None:
            self._sessions[session_id] = found
        gone = await super().delete(session_id, expected=expected)
        if gone:
            self._sessions.pop(self.mapped(session_id), None)
        return gone


@fails("ids_are_compared_byte_for_byte[case beyond ASCII]", "ids_are_compared_byte_for_byte[case]")
class IdsCaseFolded(_Ids):
    """Upper and lower case are one."""

    def key(self, session_id):
        return session_id.casefold()


@fails("ids_of_512_bytes_differ_in_the_last")
class IdsTruncated(_Ids):
    """Only the first 255 bytes count, as for the name of a file."""

    def key(self, session_id):
        return session_id.encode()[:255].decode(errors="ignore")


@fails("ids_are_compared_byte_for_byte[composition]")
class IdsNormalised(_Ids):
    """Composed and decomposed characters are one."""

    def key(self, session_id):
        return unicodedata.normalize("NFC", session_id)


@fails("ids_are_compared_byte_for_byte[escape]")
class IdsUnescaped(_Ids):
    """Percent escapes in an id are undone."""

    def key(self, session_id):
        return unquote(session_id)


@fails("ids_are_compared_byte_for_byte[path]", "a_page_may_end_at_any_id[dots]")
class IdsArePaths(_Ids):
    """`..` in an id goes a level up."""

    def key(self, session_id):
        return posixpath.normpath(session_id)


@fails(
    "ids_are_compared_byte_for_byte[blank at the end]",
    "ids_are_compared_byte_for_byte[blank in front]",
)
class IdsStripped(_Ids):
    """Blanks around an id do not count."""

    def key(self, session_id):
        return session_id.strip(" ")


# Expiry


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
    """Reading a session lets it live on."""

    async def load(self, session_id, **fields):
        found = self._find(session_id, self._now())
        if found is not None and found.head.ttl is not None:
            expires = self._now() + timedelta(seconds=found.head.ttl)
            found.head = found.head._replace(expires=expires)
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


# Listing


@fails("a_cursor_outlives_the_session_that_it_names", "pages_are_stable_under_writes")
class PagesByOffset(Whole):
    """The cursor is a number of sessions."""

    async def list(self, *, user_id=None, limit=100, cursor=None):
        await super().list(user_id=user_id, limit=limit)
        try:
            start = 0 if cursor is None else int(cursor.removeprefix("offset "))
            assert cursor is None or cursor.startswith("offset ")
        except (ValueError, AssertionError):
            raise ValueError("this is no cursor") from None
        heads = (await super().list(user_id=user_id, limit=1 << 40)).heads
        more = start + limit < len(heads)
        return Page(heads[start : start + limit], f"offset {start + limit}" if more else None)


@fails("pages_are_stable_under_writes", "sessions_are_listed_newest_first")
class PagesByTimeOfChange(Whole):
    """What was changed last comes first."""

    async def list(self, **fields):
        page = await super().list(**fields)
        return page._replace(heads=sorted(page.heads, key=lambda head: head.updated, reverse=True))


@fails("a_full_page_without_a_rest_has_no_cursor")
class CursorOnFullPages(Whole):
    """A full page has a cursor, whether or not something follows."""

    async def list(self, *, user_id=None, limit=100, cursor=None):
        page = await super().list(user_id=user_id, limit=limit, cursor=cursor)
        if page.cursor is None and len(page.heads) == limit:
            last = page.heads[-1]
            return page._replace(cursor=json.dumps([-last.created.timestamp(), last.session_id]))
        return page


@fails("a_user_sees_only_their_own")
class ListShowsOthers(Whole):
    """A list shows the sessions of nobody as everybody's."""

    async def list(self, *, user_id=None, **fields):
        page = await super().list(user_id=user_id, **fields)
        others = [
            found.head for found in self._sessions.values() if user_id and not found.head.user_id
        ]
        return page._replace(heads=[*page.heads, *others])


@fails("user_ids_are_compared_byte_for_byte[wildcard]")
class UserIsAPattern(Whole):
    """`%` in a user id stands for anything, as with LIKE."""

    async def list(self, *, user_id=None, **fields):
        page = await super().list(user_id=user_id, **fields)
        if user_id and "%" in user_id:
            pattern = re.escape(user_id).replace("%", ".*")
            others = [
                found.head
                for found in self._sessions.values()
                if re.fullmatch(pattern, found.head.user_id or "")
            ]
            return page._replace(heads=others)
        return page


@fails(
    "a_bad_cursor_is_refused[-1]",
    "a_bad_cursor_is_refused[0]",
    "a_bad_cursor_is_refused[?]",
    "a_bad_cursor_is_refused[[1]]",
    "a_bad_cursor_is_refused[\\xe9]",
    "a_bad_cursor_is_refused[]",
    "a_bad_cursor_is_refused[bnVsbA==]",
)
class CursorUnchecked(Whole):
    """What is no cursor begins at the beginning."""

    async def list(self, *, cursor=None, **fields):
        try:
            return await super().list(cursor=cursor, **fields)
        except ValueError as error:
            if "cursor" not in str(error):
                raise
            return await super().list(**fields)


@fails("list_shows_the_heads_that_load_shows")
class ListWithoutCurrentHeads(Whole):
    """A list shows sessions as they were created."""

    async def list(self, **fields):
        page = await super().list(**fields)
        return page._replace(heads=[head._replace(seq=0) for head in page.heads])


# Closing, times


@fails("a_closed_store_says_so")
class ClosedAnswers(Whole):
    """A closed store goes on."""

    def _check_open(self):
        pass


@fails("closing_one_handle_leaves_the_other")
class ClosesAllHandles(Whole):
    """A close ends every handle of the same data that is open."""

    def __init__(self):
        super().__init__()
        self.closes = []
        self.before = 0

    def handle(self, **options):
        other = super().handle(**options)
        other.before = len(self.closes)
        return other

    async def close(self):
        self.closes.append(True)

    def _check_open(self):
        if len(self.closes) > self.before:
            raise StoreClosed(self.name)


@fails(
    "a_closed_store_says_so",
    "close_waits_for_appends_in_flight",
    "closing_one_handle_leaves_the_other",
    "closing_twice_is_fine",
)
class ClosingTwiceFails(Whole):
    """A second close is StoreClosed."""

    closes = 0

    async def close(self):
        self.closes += 1
        await super().close()
        if 1 < self.closes < 4:
            raise StoreClosed(self.name)


@fails("close_waits_for_appends_in_flight")
class CloseDropsAppends(Whole):
    """What is in flight when the store is closed is not written."""

    async def append(self, session_id, records, **fields):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await super().append(session_id, records, **fields)


@fails("times_are_aware_utc")
class NaiveTimes(Whole):
    """Times have no time zone."""

    def _now(self):
        return super()._now().replace(tzinfo=None)


@fails("times_are_the_same_in_every_time_zone")
class LocalTimes(Whole):
    """Local time is called UTC."""

    def _now(self):
        now = datetime.now().replace(tzinfo=UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


# Powers


@fails("a_fork_and_its_source_are_independent")
class ForkShares(Whole):
    """A fork of everything has the very records of its source."""

    def copied(self, records, upto):
        return records if upto == len(records) else records[:upto]


@fails("a_fork_has_the_records_up_to_a_seq")
class ForkTakesAll(Whole):
    """A fork has all records, whatever seq was asked for."""

    def copied(self, records, upto):
        return list(records)


@fails("a_fork_outlives_its_source")
class ForkIsAlias(Whole):
    """A fork goes with its source."""

    def __init__(self):
        super().__init__()
        self.forks = {}

    async def fork(self, session_id, new_id, **fields):
        head = await super().fork(session_id, new_id, **fields)
        self.forks.setdefault(session_id, []).append(new_id)
        return head

    async def delete(self, session_id, **fields):
        gone = await super().delete(session_id, **fields)
        for fork in self.forks.pop(session_id, []) if gone else []:
            self._sessions.pop(fork, None)
        return gone


@fails("a_refused_fork_makes_nothing")
class ForkIgnoresIncarnation(Whole):
    """A fork of an earlier life's session is made from the new one."""

    async def fork(self, session_id, new_id, *, incarnation, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            incarnation = found.head.revision.incarnation
        return await super().fork(session_id, new_id, incarnation=incarnation, **fields)


@fails("an_erase_leaves_nothing_of_the_old_bytes")
class EraseLeavesOldBytes(Whole):
    """The old bytes are kept beside the new ones."""

    def __init__(self):
        super().__init__()
        self.old = []

    def replace(self, records, replacements):
        self.old += [records[seq - 1] for seq in replacements]
        super().replace(records, replacements)

    def raw(self):
        return super().raw() + pickle.dumps(self.old)


@fails("a_stale_erase_conflicts_and_changes_nothing")
class EraseUnfenced(Whole):
    """An erase does not look at `expected`."""

    async def erase(self, session_id, replacements, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            expected = found.head.revision
        return await super().erase(session_id, replacements, expected=expected, **fields)


@fails("a_seq_that_is_not_there_fails_the_whole_erase")
class EraseIgnoresUnknownSeqs(Whole):
    """What the session does not have is left out silently."""

    async def erase(self, session_id, replacements, **fields):
        found = self._find(session_id, self._now())
        seq = 0 if found is None else found.head.seq
        known = {place: data for place, data in replacements.items() if 1 <= place <= seq}
        return await super().erase(session_id, known, **fields)


@fails("an_erase_fences_those_who_did_not_see_it", "erase_replaces_the_named_records")
class EraseIsNoVersion(Whole):
    """An erase does not count as a write."""

    async def erase(self, session_id, replacements, **fields):
        found = self._find(session_id, self._now())
        before = None if found is None else found.head.revision
        head = await super().erase(session_id, replacements, **fields)
        found.head = head._replace(revision=before)
        return found.head
