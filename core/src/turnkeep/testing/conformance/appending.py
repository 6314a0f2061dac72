"""Appending to a session: numbers, versions, what is unchanged, repeated calls, faults."""

from __future__ import annotations

import os

import pytest

from turnkeep.errors import SessionNotFound
from turnkeep.store import Record, new_commit_id
from turnkeep.testing.conformance.base import NOBODY, Base, Case, Hook, covers, given


class Appending(Base):
    """What one writer sees of `append`."""

    @covers("S5")
    async def test_records_are_numbered_from_1_without_gaps(self, case: Case) -> None:
        """Appends of 2, 0 and 3 records give seqs 1 to 5."""
        head = await case.begin()
        for data, seq in (((b"a", b"b"), 2), ((), 2), ((b"c", b"d", b"e"), 5)):
            head = await case.append(head, *data)
            assert head.seq == seq
        found = await case.whole(head.session_id)
        assert (found.head, found.first) == (head, 1)
        assert list(found.records) == [b"a", b"b", b"c", b"d", b"e"]

    @covers("S8")
    async def test_each_append_is_one_version(self, case: Case) -> None:
        """The version goes up by one for an append, whatever it holds; the incarnation stays."""
        first = head = await case.begin()
        for number, data in enumerate([(b"a", b"b"), (), (b"c",)], start=1):
            head = await case.append(head, *data)
            assert head.revision == (first.revision.incarnation, number)

    @covers("S9")
    async def test_an_append_of_state_alone_keeps_the_seq(self, case: Case) -> None:
        """A state without records is a version, and no seq."""
        head = await case.begin(b"a")
        after = await case.append(head, state=b'{"k":1}')
        assert (after.seq, after.revision.version) == (head.seq, head.revision.version + 1)
        found = await case.whole(head.session_id)
        assert (found.state, list(found.records)) == (b'{"k":1}', [b"a"])

    @covers("S15")
    async def test_an_empty_append_only_touches(self, case: Case) -> None:
        """Without records and fields only the version and the time of the last change move."""
        head = await case.begin(b"a", state=b"[2]", user_id="u", ttl=60)
        after = await case.append(head)
        assert after.updated >= head.updated
        unchanged = after._replace(
            revision=head.revision, updated=head.updated, expires=head.expires
        )
        assert unchanged == head
        found = await case.whole(head.session_id)
        assert (found.state, list(found.records)) == (b"[2]", [b"a"])

    @covers("D1")
    async def test_what_is_given_is_written_together(self, case: Case) -> None:
        """Records, meta, state and base of one append are all there after it."""
        head = await case.begin(b"1", b"2")
        head = await case.append(head, b"3", meta=b'{"m":1}', state=b'{"s":1}', base=3)
        assert (head.meta, head.base, head.seq) == (b'{"m":1}', 3, 3)
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (
            head,
            b'{"s":1}',
            [b"1", b"2", b"3"],
        )

    @covers("D1")
    async def test_what_is_not_given_stays(self, case: Case) -> None:
        """An append changes meta, state and base only where it names them."""
        head = await case.begin(b"1", b"2")
        head = await case.append(head, meta=b"m", state=b"s", base=2)
        after = await case.append(head, b"3")
        assert (after.meta, after.base) == (b"m", 2)
        assert (await case.whole(head.session_id)).state == b"s"

    @covers("S10", "D1")
    async def test_a_fault_amid_an_append_leaves_nothing_of_it(self, case: Case) -> None:
        """A record that is no bytes fails the append: no record, meta, state or version of it."""
        head = await case.begin(b"1")
        records = [Record(b"2"), Record("no bytes"), Record(b"3")]  # type: ignore[arg-type]  # hostile
        with pytest.raises(Exception):  # noqa: B017, PT011  # any error will do
            await case.store.append(
                head.session_id,
                records,
                expected=head.revision,
                commit_id=new_commit_id(),
                meta=b"torn",
                state=b"torn",
                base=2,
            )
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"{}", [b"1"])

    @covers("S14")
    async def test_an_append_to_nothing_is_not_found(self, case: Case) -> None:
        """An id that was never created is SessionNotFound, and is not there afterwards."""
        name = case.new_id()
        with pytest.raises(SessionNotFound):
            await case.store.append(
                name, [Record(b"a")], expected=NOBODY, commit_id=new_commit_id()
            )
        assert await case.store.load(name) is None

    @covers("S16", "D3")
    async def test_an_append_whose_answer_was_lost_can_be_repeated(self, case: Case) -> None:
        """The same commit id answers with the stored head and writes nothing twice."""
        head = await case.begin(b"1")
        key = new_commit_id()
        first = await case.append(head, b"a", b"b", commit_id=key, state=b"s")
        assert await case.append(head, b"a", b"b", commit_id=key, state=b"s") == first
        found = await case.whole(head.session_id)
        assert (found.head, list(found.records)) == (first, [b"1", b"a", b"b"])

    @covers("S16", "D3")
    async def test_an_append_can_be_repeated_by_another_handle(self, case: Case) -> None:
        """The commit id is kept with the session, not in the handle that wrote."""
        head = await case.begin()
        key = new_commit_id()
        first = await case.append(head, b"a", commit_id=key)
        async with case.open() as other:
            again = await case.append(head, b"a", commit_id=key, store=other)
        assert (again.revision, again.seq) == (first.revision, 1)

    @covers("S7", "D4")
    async def test_appends_of_one_moment_keep_their_order(self, case: Case) -> None:
        """Forty quick appends, many of them within one tick of the clock, stay in order."""
        head = await case.begin()
        for number in range(40):
            head = await case.append(head, b"%d a" % number, b"%d b" % number)
        expected = [b"%d %s" % (number, part) for number in range(40) for part in (b"a", b"b")]
        assert list((await case.whole(head.session_id)).records) == expected

    @covers("S6", "D4")
    async def test_a_clock_set_back_changes_no_order(self, case: Case, skewed_opener: Hook) -> None:
        """A record written by a clock an hour behind stands behind the earlier ones."""
        behind = given(skewed_opener, "skewed_opener", "open the store with another clock")
        head = await case.begin(b"1")
        async with behind() as other:
            head = await case.append(head, b"2", store=other)
            head = await case.append(head, b"3")
            assert list((await case.whole(head.session_id)).records) == [b"1", b"2", b"3"]

    @covers("S19")
    async def test_every_byte_of_a_record_comes_back(self, case: Case) -> None:
        """NULs, text in UTF-8, 64-bit integers as JSON, bytes that are no text, and none at all."""
        data = [
            bytes(range(256)),
            "\0 \u00e9 \U0001f600 \u2028".encode(),
            b"9223372036854775807 -9223372036854775808 18446744073709551615",
            b"\xff\xfe\x00\xd8",
            b"",
            b"\r\n\x1a",
        ]
        head = await case.begin(*data)
        assert list((await case.whole(head.session_id)).records) == data

    @covers("S20")
    async def test_every_byte_of_state_and_meta_comes_back(self, case: Case) -> None:
        """Order of keys, spelling of floats, blanks: nothing is parsed and written anew."""
        state = '{"b": 1.10,"a":1e400, "\u00e9":-0.0,"a":[ ]}'.encode()
        head = await case.begin(state=state)
        assert (await case.whole(head.session_id)).state == state
        other = bytes(range(256))
        head = await case.append(head, state=other, meta=other)
        found = await case.whole(head.session_id)
        assert (found.state, found.head.meta) == (other, other)

    @covers("S17", long=True)
    async def test_a_thousand_records_fit_in_one_append(self, case: Case) -> None:
        """1,000 records of one append come back in order."""
        data = [b"%d" % number for number in range(1, 1001)]
        head = await case.begin(*data)
        assert (head.seq, head.revision.version) == (1000, 1)
        assert list((await case.whole(head.session_id)).records) == data

    @covers("S18", long=True)
    async def test_a_record_of_8_mb_fits(self, case: Case) -> None:
        """8 MB of random bytes come back as they were."""
        large = os.urandom(8 << 20)
        head = await case.begin(b"small", large)
        assert list((await case.whole(head.session_id)).records) == [b"small", large]
