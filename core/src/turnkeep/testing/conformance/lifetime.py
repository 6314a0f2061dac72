"""Expiring, purging, deleting, and the times that a head tells."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from turnkeep.errors import SessionConflict, SessionNotFound
from turnkeep.store import Head, Loaded, NotModified, new_commit_id
from turnkeep.testing.conformance.base import TTL, Base, Case, Hook, call, covers, given, invalid

MILLISECOND = timedelta(milliseconds=1)


def _lasts(head: Head, seconds: float) -> None:
    """Check that a head's expiry lies its ttl after its last change; stores round to 1 ms."""
    assert head.ttl == seconds
    assert head.expires is not None
    assert abs(head.expires - head.updated - timedelta(seconds=seconds)) <= MILLISECOND


class Expiring(Base):
    """What a ttl does."""

    @covers("S37", "D6")
    async def test_an_expired_session_is_not_loaded(self, case: Case) -> None:
        """At its expiry, before any purge, a load is None, `known` or not."""
        head = await case.begin(ttl=TTL)
        _lasts(head, TTL)
        await case.expired(head)
        assert await case.store.load(head.session_id) is None
        assert await case.store.load(head.session_id, known=head.revision) is None

    @covers("S37", "D6")
    async def test_an_expired_session_is_not_listed(self, case: Case) -> None:
        """Nor does `list` show it, while one that lasts is shown."""
        user = case.new_id("user")
        head = await case.begin(ttl=TTL, user_id=user)
        other = await case.begin(user_id=user)
        await case.expired(head)
        names = {each.session_id for each in (await case.store.list(user_id=user)).heads}
        assert other.session_id in names
        assert head.session_id not in names

    @covers("S37", "D6")
    async def test_an_expired_session_is_not_appended_to(self, case: Case) -> None:
        """An append is SessionNotFound."""
        head = await case.begin(ttl=TTL)
        await case.expired(head)
        with pytest.raises(SessionNotFound):
            await case.append(head, b"2")

    @covers("S37", "D6")
    async def test_an_expired_session_is_not_deleted(self, case: Case) -> None:
        """For `delete` it is not there: False, whatever revision is expected."""
        head = await case.begin(ttl=TTL)
        await case.expired(head)
        assert not await case.store.delete(head.session_id, expected=head.revision)

    @covers("S37", "D6")
    async def test_a_session_is_there_until_it_expires(self, case: Case) -> None:
        """When seven tenths of its ttl are over it is found."""
        head = await case.begin(ttl=TTL)
        assert head.expires is not None
        lasting = await case.begin()
        await asyncio.sleep(TTL * 0.7)
        if await case.store.load(head.session_id) is None:
            # Only on a machine that slept for longer than it was told to.
            assert (await case.live(lasting.session_id)).now >= head.expires

    @covers("S37", "D6")
    async def test_an_expired_id_is_free(self, case: Case) -> None:
        """`create` begins a new life: another incarnation, and no record of the old one."""
        old = await case.begin(b"1", b"2", ttl=TTL, state=b"old", user_id="ann")
        await case.expired(old)
        new = await case.begin(session_id=old.session_id)
        assert new.revision.incarnation != old.revision.incarnation
        found = await case.whole(old.session_id)
        assert (found.head, found.state, list(found.records)) == (new, b"{}", [])
        assert new.user_id is None

    @covers("S38", "D6")
    async def test_an_append_moves_the_expiry_on(self, case: Case) -> None:
        """The ttl is remembered and counts from the last append; the head says when it ends."""
        head = await case.begin(ttl=60)
        await asyncio.sleep(0.01)
        after = await case.append(head)
        _lasts(after, 60)
        assert head.expires is not None
        assert after.expires is not None
        assert after.expires > head.expires
        assert (await case.whole(head.session_id)).head == after

    @covers("S38", "D6")
    async def test_a_session_that_is_written_lives_on(self, case: Case) -> None:
        """After an append it is found beyond its first expiry."""
        head = await case.begin(ttl=TTL * 2)
        await asyncio.sleep(TTL)
        after = await case.append_in_time(head)
        lasting = await case.begin()
        await case.expired(head)
        found = await case.store.load(head.session_id)
        now = (await case.live(lasting.session_id)).now
        assert after.expires is not None
        assert found is not None or now >= after.expires

    @covers("S37", "S38", "D6")
    async def test_a_session_that_was_written_expires_too(self, case: Case) -> None:
        """An append moves the expiry; it does not take it away."""
        head = await case.begin(ttl=TTL)
        after = await case.append_in_time(head)
        await case.expired(after)
        assert await case.store.load(head.session_id) is None

    @covers("S39", "D6")
    async def test_a_load_does_not_move_the_expiry(self, case: Case) -> None:
        """Reading, or asking for a known revision, is no use of a session."""
        head = await case.begin(ttl=TTL)
        await asyncio.sleep(TTL / 5)
        for known in (None, head.revision):
            found = await case.store.load(head.session_id, known=known)
            assert found is None or found.head == head
        await case.expired(head)
        assert await case.store.load(head.session_id) is None

    @covers("D6")
    async def test_an_append_can_change_the_ttl(self, case: Case) -> None:
        """A number sets it, None takes it away, and nothing said leaves it."""
        head = await case.begin()
        head = await case.append(head, ttl=60)
        _lasts(head, 60)
        head = await case.append(head, ttl=2.5)
        _lasts(head, 2.5)
        head = await case.append(head)
        _lasts(head, 2.5)
        head = await case.append(head, ttl=None)
        assert (head.ttl, head.expires) == (None, None)
        assert (await case.whole(head.session_id)).head == head

    @covers("D6")
    async def test_a_ttl_that_was_taken_away_does_not_end_it(self, case: Case) -> None:
        """With ttl=None the session outlives its old expiry, and a purge."""
        head = await case.begin(ttl=TTL)
        after = await case.append_in_time(head, ttl=None)
        await case.expired(head)
        await case.store.purge()
        assert (await case.whole(head.session_id)).head == after

    @pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
    @covers("D6")
    async def test_a_ttl_that_is_no_duration_is_refused(self, case: Case, ttl: float) -> None:
        """Zero, negative, not finite or longer than a century: ValueError, nothing written."""
        name = case.new_id()
        with invalid():
            await case.begin(session_id=name, ttl=ttl)
        assert await case.store.load(name) is None
        head = await case.begin()
        with invalid():
            await case.append(head, b"1", ttl=ttl)
        assert (await case.whole(head.session_id)).head == head


class Removing(Base):
    """What `purge` and `delete` take away."""

    @covers("S41", "D6")
    async def test_purge_is_bounded_and_counts(self, case: Case) -> None:
        """Of five expired sessions a purge with limit 2 removes two, later ones the rest."""
        await case.store.purge()
        heads = [await case.begin(b"1", ttl=TTL) for _ in range(5)]
        await case.expired(max(heads, key=lambda head: head.updated))
        counts = [await case.store.purge(limit=limit) for limit in (2, 1000, 1000)]
        # In a place that others use too there may be more that has expired meanwhile.
        assert counts[0] == 2
        assert counts[1] >= 3
        assert counts[2] == 0 or counts[1] > 3

    @covers("S41", "D6")
    async def test_purge_spares_what_lives(self, case: Case) -> None:
        """Sessions without a ttl, or before their expiry, are as they were."""
        heads = [await case.begin(b"1"), await case.begin(b"2", ttl=3600)]
        gone = await case.begin(b"3", ttl=TTL)
        await case.expired(gone)
        await case.store.purge()
        for head in heads:
            assert (await case.whole(head.session_id)).head.revision == head.revision

    @covers("S40", "S41", "D6")
    async def test_purge_leaves_nothing_stored(self, case: Case, count_stored: Hook) -> None:
        """After a purge the place holds as many rows or keys as before the session."""
        count: Any = given(count_stored, "count_stored", "count what is stored")
        other = await case.begin(b"1")
        await case.store.purge()
        before = await call(count)
        head = await case.begin(b"1", b"2", ttl=TTL, user_id="u", state=b"s")
        assert await call(count) > before, "count_stored does not count sessions"
        await case.expired(head, other)
        await case.store.purge()
        assert await call(count) == before

    @covers("D8")
    async def test_a_purge_refuses_a_limit_below_1(self, case: Case) -> None:
        """A limit below 1 is a ValueError."""
        for limit in (0, -1):
            with invalid():
                await case.store.purge(limit=limit)

    @covers("S42")
    async def test_a_deleted_session_is_not_found(self, case: Case) -> None:
        """True once, then False; no load, list or append finds it."""
        user = case.new_id("user")
        head = await case.begin(b"1", user_id=user)
        assert await case.store.delete(head.session_id)
        assert not await case.store.delete(head.session_id)
        assert await case.store.load(head.session_id) is None
        assert list((await case.store.list(user_id=user)).heads) == []
        with pytest.raises(SessionNotFound):
            await case.append(head, b"2")

    @covers("S42")
    async def test_delete_spares_the_others(self, case: Case) -> None:
        """Only the named session goes."""
        kept, gone = await case.begin(b"1", user_id="u"), await case.begin(b"2", user_id="u")
        assert await case.store.delete(gone.session_id)
        found = await case.whole(kept.session_id)
        assert (found.head, list(found.records)) == (kept, [b"1"])

    @covers("S42")
    async def test_delete_leaves_nothing_stored(self, case: Case, count_stored: Hook) -> None:
        """After a delete the place holds as many rows or keys as before the session."""
        count: Any = given(count_stored, "count_stored", "count what is stored")
        before = await call(count)
        head = await case.begin(b"1", b"2", ttl=3600, user_id="u", state=b"s")
        assert await call(count) > before, "count_stored does not count sessions"
        assert await case.store.delete(head.session_id)
        assert await call(count) == before

    @covers("S42", "D2")
    async def test_a_fenced_delete_spares_what_changed(self, case: Case) -> None:
        """`delete` with another revision is SessionConflict with the head; with it, it deletes."""
        first = await case.begin()
        head = await case.append(first, b"1")
        with pytest.raises(SessionConflict) as caught:
            await case.store.delete(head.session_id, expected=first.revision)
        assert caught.value.head == head
        assert (await case.whole(head.session_id)).head == head
        assert await case.store.delete(head.session_id, expected=head.revision)

    @covers("S43")
    async def test_a_session_created_anew_starts_at_version_0(self, case: Case) -> None:
        """After a delete the id begins again: version 0, seq 0, nothing of the old life."""
        old = await case.begin(b"1", b"2", state=b"old", user_id="ann")
        old = await case.append(old, meta=b"m", base=2)
        assert await case.store.delete(old.session_id)
        new = await case.begin(session_id=old.session_id)
        assert (new.revision.version, new.seq, new.base, new.meta) == (0, 0, 0, b"")
        found = await case.whole(old.session_id)
        assert (found.head, found.state, list(found.records)) == (new, b"{}", [])

    @covers("S43", "D2")
    async def test_a_handle_of_an_earlier_life_conflicts(self, case: Case) -> None:
        """At an equal version too: the incarnation differs, for append and delete."""
        old = await case.begin()
        await case.store.delete(old.session_id)
        new = await case.begin(session_id=old.session_id)
        assert new.revision.version == old.revision.version
        with pytest.raises(SessionConflict):
            await case.append(old, b"1")
        with pytest.raises(SessionConflict):
            await case.store.delete(old.session_id, expected=old.revision)
        assert (await case.whole(old.session_id)).head == new

    @covers("D2")
    async def test_a_cache_of_an_earlier_life_is_not_confirmed(self, case: Case) -> None:
        """`known` of an earlier incarnation is never NotModified, at equal versions either."""
        old = await case.begin()
        await case.store.delete(old.session_id)
        new = await case.begin(session_id=old.session_id)
        found = await case.store.load(old.session_id, known=old.revision)
        assert not isinstance(found, NotModified)
        assert found is not None
        assert found.head == new


class Times(Base):
    """What the times in a head are."""

    @covers("S56", "D6")
    async def test_times_are_aware_utc(self, case: Case) -> None:
        """created, updated, expires and now have the offset 0, whole milliseconds, and an order."""
        head = await case.begin(b"1", ttl=60)
        now = (await case.live(head.session_id)).now
        assert head.expires is not None
        for moment in (head.created, head.updated, head.expires, now):
            assert isinstance(moment, datetime)
            assert moment.utcoffset() == timedelta(0)
            assert moment.microsecond % 1000 == 0
        assert head.created <= head.updated <= now < head.expires

    @covers("S56")
    async def test_times_are_the_same_in_every_time_zone(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With TZ fourteen hours away a new session is not created fourteen hours away."""
        if not hasattr(time, "tzset"):
            pytest.skip("this system cannot change a process's time zone")
        head = await case.begin()
        try:
            monkeypatch.setenv("TZ", "FAR-14")
            time.tzset()
            async with case.open() as store:
                key = new_commit_id()
                far = await store.create(case.new_id(), ttl=60, commit_id=key)
                again = await store.load(head.session_id)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert abs(far.created - head.created) < timedelta(minutes=10)
        assert far.expires is not None
        assert abs(far.expires - head.created) < timedelta(minutes=10)
        assert isinstance(again, Loaded)
        assert again.head == head
