"""Defects in order, loading, independence and ids."""

import posixpath
import unicodedata
from urllib.parse import unquote

from defects import fails
from whole import DAMAGED, Whole

from turnkeep.errors import SessionExists
from turnkeep.store import Loaded, NotModified

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
