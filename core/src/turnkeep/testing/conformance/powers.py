"""The further powers: fork and erase. Stores that do not declare them skip these tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from turnkeep.errors import SessionConflict, SessionExists, SessionNotFound
from turnkeep.store import Head, new_commit_id, new_incarnation
from turnkeep.testing.conformance.base import TTL, Base, Case, Hook, call, covers, given, invalid


async def _fork(case: Case, head: Head, upto: int, **fields: Any) -> Head:
    fields = {
        "new_id": case.new_id(),
        "incarnation": head.revision.incarnation,
        "commit_id": new_commit_id(),
        **fields,
    }
    return await case.forking().fork(head.session_id, upto=upto, **fields)


async def _erase(case: Case, head: Head, replacements: dict[int, bytes], **fields: Any) -> Head:
    fields = {"expected": head.revision, "commit_id": new_commit_id(), **fields}
    return await case.erasing().erase(head.session_id, replacements, **fields)


class Forking(Base):
    """What `fork` shows, where the store has the capability."""

    @covers("S47")
    async def test_a_fork_has_the_records_up_to_a_seq(self, case: Case) -> None:
        """A new session at version 0 with records 1 to `upto`, and what the caller gave."""
        case.forking()
        head = await case.begin(b"1", b"2", b"3", state=b"old", user_id="ann")
        head = await case.append(head, meta=b"old", base=3)
        fork = await _fork(case, head, 2, user_id="bob", state=b"new", meta=b"m", base=1, ttl=60)
        assert (fork.revision.version, fork.seq, fork.base, fork.meta) == (0, 2, 1, b"m")
        assert (fork.user_id, fork.ttl) == ("bob", 60)
        assert fork.revision.incarnation != head.revision.incarnation
        found = await case.whole(fork.session_id)
        assert (found.head, found.state, list(found.records)) == (fork, b"new", [b"1", b"2"])

    @covers("S47")
    async def test_a_fork_takes_only_records_over(self, case: Case) -> None:
        """Not given are: no user, no ttl, no base and meta, an empty object as state."""
        case.forking()
        head = await case.begin(b"1", state=b"old", user_id="ann", ttl=60)
        head = await case.append(head, meta=b"old", base=1)
        fork = await _fork(case, head, 1)
        assert (fork.user_id, fork.ttl, fork.expires) == (None, None, None)
        assert (fork.base, fork.meta) == (0, b"")
        assert (await case.whole(fork.session_id)).state == b"{}"

    @covers("S46")
    async def test_a_fork_and_its_source_are_independent(self, case: Case) -> None:
        """Appends to one are not seen in the other."""
        case.forking()
        head = await case.begin(b"1", b"2")
        fork = await _fork(case, head, 2)
        assert (await case.whole(head.session_id)).head == head
        await case.append(head, b"source")
        await case.append(fork, b"fork")
        assert list((await case.whole(head.session_id)).records) == [b"1", b"2", b"source"]
        assert list((await case.whole(fork.session_id)).records) == [b"1", b"2", b"fork"]

    @covers("S46")
    async def test_a_fork_outlives_its_source(self, case: Case) -> None:
        """With the source deleted the fork is whole."""
        case.forking()
        head = await case.begin(b"1", b"2")
        fork = await _fork(case, head, 2)
        assert await case.store.delete(head.session_id)
        found = await case.whole(fork.session_id)
        assert (found.head, list(found.records)) == (fork, [b"1", b"2"])

    @covers("S46", "D3")
    async def test_a_fork_whose_answer_was_lost_can_be_repeated(self, case: Case) -> None:
        """The same commit id answers with the head that it made."""
        case.forking()
        head = await case.begin(b"1")
        fields = {"new_id": case.new_id(), "commit_id": new_commit_id()}
        fork = await _fork(case, head, 1, **fields)
        assert await _fork(case, head, 1, **fields) == fork
        assert list((await case.whole(fork.session_id)).records) == [b"1"]

    @covers("S46", "D1")
    async def test_a_refused_fork_makes_nothing(self, case: Case) -> None:
        """No such source, another incarnation of it, fewer records: nothing is there after it."""
        case.forking()
        head = await case.begin(b"1", b"2")
        name = case.new_id()
        nothing = head._replace(session_id=case.new_id())
        with pytest.raises(SessionNotFound):
            await _fork(case, nothing, 1, new_id=name)
        with pytest.raises(SessionConflict):
            await _fork(case, head, 1, new_id=name, incarnation=new_incarnation())
        with pytest.raises(SessionConflict):
            await _fork(case, head, 3, new_id=name)
        assert await case.store.load(name) is None

    @covers("S46", "S2")
    async def test_a_fork_replaces_no_session(self, case: Case) -> None:
        """A target that exists is SessionExists, and is as it was."""
        case.forking()
        head, other = await case.begin(b"1"), await case.begin(b"other")
        with pytest.raises(SessionExists):
            await _fork(case, head, 1, new_id=other.session_id)
        found = await case.whole(other.session_id)
        assert (found.head, list(found.records)) == (other, [b"other"])

    @covers("S46", "S37", "D6")
    async def test_an_expired_session_is_not_forked(self, case: Case) -> None:
        """For `fork` it is not there either."""
        case.forking()
        head = await case.begin(b"1", ttl=TTL)
        await case.expired(head)
        with pytest.raises(SessionNotFound):
            await _fork(case, head, 1)


class Erasing(Base):
    """What `erase` shows, where the store has the capability."""

    @covers("E1")
    async def test_erase_replaces_the_named_records(self, case: Case) -> None:
        """Other bytes, shorter or longer, in the place of some; the rest, and the seq, stay."""
        case.erasing()
        head = await case.begin(b"1", b"2", b"3", b"4")
        after = await _erase(case, head, {2: b"", 3: b"longer than before"})
        assert (after.seq, after.revision.incarnation) == (4, head.revision.incarnation)
        assert after.revision.version == head.revision.version + 1
        found = await case.whole(head.session_id)
        assert found.head == after
        assert list(found.records) == [b"1", b"", b"longer than before", b"4"]

    @covers("E1")
    async def test_erase_changes_meta_state_and_base_if_given(self, case: Case) -> None:
        """As `append` does: what is given changes, what is not stays."""
        case.erasing()
        head = await case.begin(b"1", b"2", state=b"s")
        head = await case.append(head, meta=b"m", base=2)
        head = await _erase(case, head, {1: b"x"})
        assert (head.meta, head.base) == (b"m", 2)
        assert (await case.whole(head.session_id)).state == b"s"
        head = await _erase(case, head, {2: b"y"}, meta=b"n", state=b"t", base=0)
        assert (head.meta, head.base) == (b"n", 0)
        found = await case.live(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"t", [b"x", b"y"])

    @covers("E2", "D2")
    async def test_a_stale_erase_conflicts_and_changes_nothing(self, case: Case) -> None:
        """Another version, or another incarnation, is SessionConflict with the current head."""
        case.erasing()
        first = await case.begin(b"1")
        head = await case.append(first, b"2")
        other = head._replace(revision=head.revision._replace(incarnation=new_incarnation()))
        for stale in (first, other):
            with pytest.raises(SessionConflict) as caught:
                await _erase(case, stale, {1: b"x"}, state=b"lost", meta=b"lost")
            assert caught.value.head == head
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"{}", [b"1", b"2"])

    @covers("E2", "D2")
    async def test_an_erase_fences_those_who_did_not_see_it(self, case: Case) -> None:
        """An append that expects the version before it conflicts, and a cache of it is renewed."""
        case.erasing()
        head = await case.begin(b"1")
        after = await _erase(case, head, {1: b"x"})
        with pytest.raises(SessionConflict):
            await case.append(head, b"2")
        found = await case.live(head.session_id, known=head.revision)
        assert (found.head, list(found.records)) == (after, [b"x"])

    @covers("E2")
    async def test_an_erase_in_nothing_is_not_found(self, case: Case) -> None:
        """A session that was never created, or was deleted, is SessionNotFound."""
        case.erasing()
        head = await case.begin(b"1")
        assert await case.store.delete(head.session_id)
        with pytest.raises(SessionNotFound):
            await _erase(case, head, {1: b"x"})

    @covers("E2", "D1")
    async def test_a_seq_that_is_not_there_fails_the_whole_erase(self, case: Case) -> None:
        """Seq 0, or one behind the end, is a ValueError, and no other record is replaced."""
        case.erasing()
        head = await case.begin(b"1", b"2")
        for seq in (0, 3, -1):
            with invalid():
                await _erase(case, head, {1: b"x", seq: b"y"}, state=b"lost")
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"{}", [b"1", b"2"])

    @covers("E2", "D1")
    async def test_a_base_that_is_no_record_fails_the_whole_erase(self, case: Case) -> None:
        """An erase adds no record, so a base behind the last is a ValueError, however many go."""
        case.erasing()
        head = await case.begin(b"1", b"2")
        for base in (3, 4, -1):
            with invalid():
                await _erase(case, head, {1: b"x", 2: b"y"}, base=base, state=b"lost", meta=b"lost")
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"{}", [b"1", b"2"])
        assert (await _erase(case, head, {1: b"x", 2: b"y"}, base=2)).base == 2

    @covers("E3", "D3")
    async def test_an_erase_whose_answer_was_lost_can_be_repeated(self, case: Case) -> None:
        """The same commit id answers with the stored head."""
        case.erasing()
        head = await case.begin(b"1", b"2")
        key = new_commit_id()
        after = await _erase(case, head, {1: b"x"}, commit_id=key)
        assert await _erase(case, head, {1: b"x"}, commit_id=key) == after
        assert (await case.whole(head.session_id)).head == after

    @covers("E3", "D6")
    async def test_an_erase_moves_the_expiry_on(self, case: Case) -> None:
        """It is a write: the ttl stays and counts from it."""
        case.erasing()
        head = await case.begin(b"1", ttl=60)
        await asyncio.sleep(0.01)
        after = await _erase(case, head, {1: b"x"})
        assert after.ttl == 60
        assert after.expires is not None
        assert head.expires is not None
        assert after.expires > head.expires

    @covers("E4")
    async def test_an_erase_leaves_nothing_of_the_old_bytes(
        self, case: Case, read_raw: Hook
    ) -> None:
        """The place holds the erased bytes before, and nowhere after the call has returned."""
        case.erasing()
        read: Any = given(read_raw, "read_raw", "read all bytes that the place holds")
        secret = new_commit_id().hex().encode()
        head = await case.begin(b"1", b"the secret is " + secret, b"3")
        assert secret in await call(read), "read_raw does not show what is stored"
        await _erase(case, head, {2: b"erased"})
        assert secret not in await call(read)

    @covers("E4", "D5")
    async def test_a_load_from_before_an_erase_stays_as_it_was(self, case: Case) -> None:
        """What was read is the reader's own; the next load shows the new bytes."""
        case.erasing()
        head = await case.begin(b"1", b"2")
        before = await case.whole(head.session_id)
        await _erase(case, head, {1: b"x"})
        assert list(before.records) == [b"1", b"2"]
        assert list((await case.whole(head.session_id)).records) == [b"x", b"2"]
