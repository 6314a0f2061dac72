"""Closing a store, cancelling its calls, killing its process, opening an older or newer place."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from turnkeep.errors import SessionConflict, StoreClosed, StoreError
from turnkeep.store import new_commit_id
from turnkeep.testing.conformance.base import NOBODY, Base, Case, Hook, call, covers, given


class Closing(Base):
    """What `close` does."""

    @covers("S54", "D9")
    async def test_a_closed_store_says_so(self, case: Case) -> None:
        """Every method of a closed store is StoreClosed."""
        name = case.new_id()
        async with case.open() as store:
            await case.begin(b"1", session_id=name, store=store)
            await store.close()
            for calling in (
                lambda: store.create(case.new_id(), commit_id=new_commit_id()),
                lambda: store.load(name),
                lambda: store.append(name, [], expected=NOBODY, commit_id=new_commit_id()),
                lambda: store.delete(name),
                lambda: store.list(user_id="u"),
                store.purge,
            ):
                with pytest.raises(StoreClosed):
                    await calling()

    @covers("S54", "D9")
    async def test_closing_twice_is_fine(self, case: Case) -> None:
        """One after the other, and both at once."""
        async with case.open() as store:
            await asyncio.gather(store.close(), store.close())
            await store.close()

    @covers("D9")
    async def test_closing_one_handle_leaves_the_other(self, case: Case) -> None:
        """A store on the same data that was opened apart goes on."""
        head = await case.begin(b"1")
        async with case.open() as other:
            await other.close()
        head = await case.append(head, b"2")
        assert (await case.whole(head.session_id)).head == head

    @covers("S53")
    async def test_what_was_kept_is_there_when_opened_again(self, case: Case) -> None:
        """A session of a handle that was closed is whole in the next one."""
        name = case.new_id()
        async with case.open() as store:
            head = await case.begin(b"1", b"2", session_id=name, store=store, state=b"s")
        async with case.open() as store:
            found = await case.whole(name, store)
        assert (found.head, found.state, list(found.records)) == (head, b"s", [b"1", b"2"])

    @covers("D9")
    async def test_close_waits_for_appends_in_flight(self, case: Case) -> None:
        """Ten appends begun before close are kept, and their callers get their heads."""
        async with case.open() as store:
            heads = [await case.begin(store=store) for _ in range(10)]
            appends = [asyncio.create_task(case.append(head, b"1", store=store)) for head in heads]
            await asyncio.sleep(0)
            await store.close()
            results = await asyncio.gather(*appends)
        async with case.open() as store:
            for result in results:
                found = await case.whole(result.session_id, store)
                assert (found.head, list(found.records)) == (result, [b"1"])

    @covers("S52", "D3")
    async def test_a_cancelled_append_is_all_or_nothing(self, case: Case) -> None:
        """Cancelled at every moment, it has settled: the next load tells, and stays right."""
        head = await case.begin(state=b"0")
        for number in range(60):
            state = b"%d" % (head.revision.version + 1)
            waiting = asyncio.create_task(case.append(head, b"a", b"b", state=state, meta=state))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            if number % 5 == 4:
                await asyncio.sleep(0.0002 * (number % 7))
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            found = await case.whole(head.session_id)
            version = found.head.revision.version
            assert found.state == b"%d" % version
            assert len(found.records) == found.head.seq == 2 * version
            assert version - head.revision.version in {0, 1}
            assert waiting.cancelled() or found.head == waiting.result()
            head = found.head

    @covers("S52", "D3")
    async def test_an_append_cancelled_twice_has_settled_too(self, case: Case) -> None:
        """A second cancel, as of a time limit around a time limit, cuts no waiting short."""
        head = await case.begin()
        for number in range(20):
            waiting = asyncio.create_task(case.append(head, b"a" * 100_000))
            for _ in range(1 + number % 3):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            found = (await case.whole(head.session_id)).head
            await asyncio.sleep(0.01)
            assert (await case.whole(head.session_id)).head == found, "it went on after it left"
            head = found

    @covers("S52", "D3")
    async def test_a_cancelled_append_leaves_its_handle_usable(self, case: Case) -> None:
        """After a cancel the same store, and the head that load gives, append as ever."""
        head = await case.begin(b"1")
        waiting = asyncio.create_task(case.append(head, b"2"))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        found = await case.whole(head.session_id)
        kept = list(found.records)
        after = await case.append(found.head, b"3")
        assert list((await case.whole(head.session_id)).records) == [*kept, b"3"]
        assert after.revision.version == found.head.revision.version + 1


class Crashing(Base):
    """What the kill of a process leaves behind. Killed is SIGKILL; no clean-up runs."""

    async def _kill(self, case: Case, kills: int) -> None:
        head = await case.begin(state=b"0")
        reached = acknowledged = 0
        for number in range(kills):
            victim = await case.start("write_until_killed", session_id=head.session_id)
            said = [await victim.line() for _ in range(5)]
            await asyncio.sleep(0.02 / (number % 4 + 1))
            said += await victim.kill()
            # A server may finish the last append of the one before after that was looked for.
            unheard = range(reached, max(reached, acknowledged + 1) + 1 if number else 1)
            assert said[0] - 1 in unheard
            assert said == list(range(said[0], said[0] + len(said)))
            acknowledged = said[-1]
            async with case.open() as store:  # not a handle from before the crash
                found = await case.whole(head.session_id, store)
            reached = found.head.revision.version
            # The last append may have been kept although its answer was not heard.
            assert acknowledged <= reached <= acknowledged + 1
            assert found.state == found.head.meta == b"%d" % reached
            parts = [tuple(map(int, record.split()[:2])) for record in found.records]
            expected = [(turn, part) for turn in range(1, reached + 1) for part in range(2)]
            assert parts == expected
        found = await case.whole(head.session_id)
        try:
            after = await case.append(found.head, b"after")
        except SessionConflict:  # it was finished just now
            found = await case.whole(head.session_id)
            after = await case.append(found.head, b"after")
        assert after.revision.version == found.head.revision.version + 1 <= acknowledged + 2

    @covers("S50", "S51", "S53", "D1")
    async def test_a_killed_process_loses_nothing_acknowledged(self, case: Case) -> None:
        """After one kill amid appends all that was acknowledged is there, and nothing partial."""
        case.needs_processes()
        await self._kill(case, 1)

    @covers("S50", "S51", "S53", "D1", "S10", long=True)
    async def test_many_killed_processes_lose_nothing_acknowledged(self, case: Case) -> None:
        """Twenty processes, killed one after the other: the same after each."""
        case.needs_processes()
        await self._kill(case, 20)


class Schemas(Base):
    """What opening does with a place of another version."""

    @covers("S55", "D9", opened=False)
    async def test_a_newer_place_is_refused(self, case: Case, make_newer: Hook) -> None:
        """A schema of a later version is StoreError at opening, twice the same."""
        make: Any = given(make_newer, "make_newer", "make the place look newer than the store")
        async with case.open() as store:
            await case.begin(b"1", store=store)
        await call(make)
        for _ in range(2):
            with pytest.raises(StoreError):
                async with case.open():
                    pass

    @covers("S55", "D9", opened=False)
    async def test_an_older_place_is_migrated(self, case: Case, make_older: Hook) -> None:
        """A schema of an earlier version is brought up to date, and its sessions are kept."""
        make: Any = given(make_older, "make_older", "bring the place to an older schema")
        async with case.open() as store:
            head = await case.begin(b"1", store=store)
        await call(make)
        async with case.open() as store:
            found = await case.whole(head.session_id, store)
            assert list(found.records) == [b"1"]
            assert (await case.append(found.head, b"2", store=store)).seq == 2
