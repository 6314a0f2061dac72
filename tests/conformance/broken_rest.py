"""Defects in listing, closing, times, fork and erase."""

import asyncio
import json
import pickle
import re
from datetime import UTC, datetime

from defects import fails
from whole import Whole

from turnkeep.errors import StoreClosed
from turnkeep.store import Page

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


@fails("a_base_that_is_no_record_fails_the_whole_erase")
class EraseFailsHalf(Whole):
    """A base that is no record is noticed once the records are replaced."""

    def check_new_base(self, base, last):
        pass


@fails("an_erase_fences_those_who_did_not_see_it", "erase_replaces_the_named_records")
class EraseIsNoVersion(Whole):
    """An erase does not count as a write."""

    async def erase(self, session_id, replacements, **fields):
        found = self._find(session_id, self._now())
        before = None if found is None else found.head.revision
        head = await super().erase(session_id, replacements, **fields)
        found.head = head._replace(revision=before)
        return found.head
