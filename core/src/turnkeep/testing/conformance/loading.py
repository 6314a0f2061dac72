"""Loading a session: where it starts, pages, snapshots, copies, records that cannot be read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from turnkeep.errors import CorruptSession
from turnkeep.store import Loaded, NotModified, Record, Revision, new_commit_id
from turnkeep.testing.conformance.base import NOBODY, Base, Case, Hook, call, covers, given, invalid


class Loading(Base):
    """What `load` shows."""

    @covers("S21")
    async def test_nothing_is_found_as_none(self, case: Case) -> None:
        """An id that was never created is None, whatever else is asked."""
        name = case.new_id()
        assert await case.store.load(name) is None
        assert await case.store.load(name, after=0, limit=1, known=NOBODY) is None

    @covers("S22")
    async def test_load_after_a_number_gives_the_tail(self, case: Case) -> None:
        """`after` 0 starts with the first record, n behind record n, and the end is empty."""
        head = await case.begin(b"1", b"2", b"3")
        for after, first, expected in (
            (0, 1, [b"1", b"2", b"3"]),
            (2, 3, [b"3"]),
            (3, 4, []),
        ):
            found = await case.live(head.session_id, after=after)
            assert (found.first, list(found.records), found.more) == (first, expected, False)
            assert found.head == head

    @covers("S22")
    async def test_load_starts_with_the_record_of_the_base(self, case: Case) -> None:
        """Without `after` a load is the live context: from the base on, or all if there is none."""
        head = await case.begin(b"1", b"2", b"3", b"4")
        found = await case.live(head.session_id)
        assert (found.first, list(found.records)) == (1, [b"1", b"2", b"3", b"4"])
        head = await case.append(head, base=3)
        found = await case.live(head.session_id)
        assert (found.first, list(found.records), found.head.base) == (3, [b"3", b"4"], 3)

    @covers("S23")
    async def test_a_limit_pages_without_gap_or_overlap(self, case: Case) -> None:
        """Pages of two give five records in order; `more` is true until the last."""
        data = [b"1", b"2", b"3", b"4", b"5"]
        head = await case.begin(*data)
        read: list[bytes] = []
        sizes: list[int] = []
        mores = [True]
        while mores[-1] and len(sizes) < 9:
            found = await case.live(head.session_id, after=len(read), limit=2)
            assert found.first == len(read) + 1
            read += found.records
            sizes.append(len(found.records))
            mores.append(found.more)
        assert (read, sizes, mores[1:]) == (data, [2, 2, 1], [True, True, False])

    @covers("S23")
    async def test_a_page_that_reaches_the_end_says_so(self, case: Case) -> None:
        """A limit equal to what is left has no `more`; one below it has, from the base as well."""
        head = await case.begin(b"1", b"2", b"3")
        head = await case.append(head, base=2)
        found = await case.live(head.session_id, limit=2)
        assert (found.first, list(found.records), found.more) == (2, [b"2", b"3"], False)
        found = await case.live(head.session_id, limit=1)
        assert (found.first, list(found.records), found.more) == (2, [b"2"], True)

    @covers("S24")
    async def test_a_known_revision_is_not_loaded_again(self, case: Case) -> None:
        """`known` equal to the revision answers NotModified, with head and time."""
        head = await case.begin(b"1")
        same = await case.store.load(head.session_id, known=head.revision)
        assert isinstance(same, NotModified)
        assert same.head == head
        assert same.now >= head.created

    @covers("S24", "D2")
    async def test_a_revision_that_is_not_the_current_one_is_loaded(self, case: Case) -> None:
        """An older version, or another incarnation at the same version, gets what it asks for."""
        first = await case.begin(b"1")
        head = await case.append(first, b"2")
        found = await case.live(head.session_id, known=first.revision, after=1)
        assert (found.head, list(found.records)) == (head, [b"2"])
        other = Revision(NOBODY.incarnation, head.revision.version)
        found = await case.live(head.session_id, known=other, after=0)
        assert list(found.records) == [b"1", b"2"]

    @covers("S25", "D1")
    async def test_a_load_is_one_snapshot_while_a_writer_runs(self, case: Case) -> None:
        """Head, meta, state and records of every load belong together during sixty appends."""
        head = await case.begin(state=b"0")
        name = head.session_id

        async def write() -> None:
            nonlocal head
            for number in range(1, 61):
                value = b"%d" % number
                head = await case.append(head, value, value, state=value, meta=value)
                await asyncio.sleep(0)

        async with case.open() as other:
            writing = asyncio.create_task(write())
            try:
                while not writing.done():
                    for store in (case.store, other):
                        found = await case.whole(name, store)
                        version = found.head.revision.version
                        assert found.state == b"%d" % version
                        assert found.head.meta == (found.state if version else b"")
                        assert len(found.records) == found.head.seq == 2 * version
                    await asyncio.sleep(0)
            finally:
                await writing

    @covers("S26", "D5")
    async def test_what_load_returns_is_independent(self, case: Case) -> None:
        """Whatever is done to the answer of one load, the next one is as before."""
        head = await case.begin(b"1", b"2")
        first, second = await case.whole(head.session_id), await case.whole(head.session_id)
        if isinstance(first.records, list):
            first.records.clear()
            first.records.append(b"mine")
        assert list(second.records) == [b"1", b"2"]
        assert list((await case.whole(head.session_id)).records) == [b"1", b"2"]
        after = await case.append(head, b"3")
        assert (second.head, list(second.records)) == (head, [b"1", b"2"])
        assert after.seq == 3

    @covers("S26", "D5")
    async def test_what_append_was_given_is_independent(self, case: Case) -> None:
        """Changing the list of records and their buffers after an append changes no session."""
        head = await case.begin()
        buffer = bytearray(b"1")
        records = [Record(cast("bytes", buffer))]
        await case.store.append(
            head.session_id, records, expected=head.revision, commit_id=new_commit_id()
        )
        buffer[:] = b"9"
        records.clear()
        assert list((await case.whole(head.session_id)).records) == [b"1"]

    @covers("S27", "D10")
    async def test_a_record_that_cannot_be_read_is_named(self, case: Case, damage: Hook) -> None:
        """Damage to record 3 is CorruptSession with its seq, in every load that needs it."""
        spoil: Any = given(damage, "damage", "damage a stored record")
        head = await case.begin(b"1", b"2", b"3", b"4")
        await call(spoil, head.session_id, 3)
        async with case.open() as other:
            for store in (case.store, other):
                for after in (None, 0, 2):
                    with pytest.raises(CorruptSession) as caught:
                        await store.load(head.session_id, after=after)
                    assert (caught.value.session_id, caught.value.seq) == (head.session_id, 3)

    @covers("S27", "D10")
    async def test_the_other_records_can_still_be_read(self, case: Case, damage: Hook) -> None:
        """Loads that do not need the damaged record answer as ever."""
        spoil: Any = given(damage, "damage", "damage a stored record")
        head = await case.begin(b"1", b"2", b"3", b"4")
        await call(spoil, head.session_id, 3)
        assert list((await case.live(head.session_id, after=3)).records) == [b"4"]
        found = await case.live(head.session_id, after=0, limit=2)
        assert (list(found.records), found.more) == ([b"1", b"2"], True)

    @pytest.mark.parametrize("limit", [0, -1])
    @covers("D8")
    async def test_a_load_refuses_a_limit_below_1(self, case: Case, limit: int) -> None:
        """A limit below 1 is a ValueError."""
        head = await case.begin(b"1")
        with invalid():
            await case.store.load(head.session_id, after=0, limit=limit)
        assert isinstance(await case.store.load(head.session_id, limit=1), Loaded)
