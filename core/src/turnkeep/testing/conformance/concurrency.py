"""Several writers: in one process by tasks and handles, and in several processes."""

from __future__ import annotations

import asyncio

import pytest

from turnkeep.errors import SessionConflict
from turnkeep.store import Head, SessionStore, new_commit_id
from turnkeep.testing.conformance.base import Base, Case, covers


def _turns(records: list[str], parts: int) -> list[tuple[str, int]]:
    """Read records `name turn part` as whole turns; fails where two are interleaved."""
    turns = []
    for start in range(0, len(records), parts):
        group = [record.split() for record in records[start : start + parts]]
        assert [part for *_, part in group] == [str(part) for part in range(parts)]
        assert len({tuple(head) for *head, _ in group}) == 1, "two turns are interleaved"
        turns.append((group[0][0], int(group[0][1])))
    return turns


def _none_lost(turns: list[tuple[str, int]], names: list[str], each: int) -> None:
    for name in names:
        assert [turn for who, turn in turns if who == name] == list(range(each))
    assert len(turns) == each * len(names)


class Concurrency(Base):
    """What competing writers see."""

    @covers("S11", "D2")
    async def test_a_stale_writer_conflicts(self, case: Case) -> None:
        """An append that expects an earlier version is SessionConflict."""
        first = await case.begin()
        await case.append(first, b"a")
        with pytest.raises(SessionConflict):
            await case.append(first, b"b")

    @covers("S12", "D2")
    async def test_a_conflict_writes_nothing(self, case: Case) -> None:
        """Neither records nor meta, state, base or ttl of a refused append are there."""
        first = await case.begin(b"1")
        head = await case.append(first, b"2", state=b"2")
        with pytest.raises(SessionConflict):
            await case.append(first, b"lost", meta=b"lost", state=b"lost", base=1, ttl=60)
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"2", [b"1", b"2"])

    @covers("S13", "D2")
    async def test_a_conflict_tells_the_current_head(self, case: Case) -> None:
        """The head in SessionConflict is the one to go on from."""
        first = await case.begin()
        head = await case.append(first, b"a", meta=b"m")
        with pytest.raises(SessionConflict) as caught:
            await case.append(first, b"b")
        assert caught.value.session_id == head.session_id
        assert caught.value.head == head

    @covers("S11", "D2")
    async def test_a_version_of_the_future_conflicts(self, case: Case) -> None:
        """`expected` is compared for equality: a version not reached yet is refused."""
        head = await case.begin()
        ahead = head._replace(revision=head.revision._replace(version=5))
        with pytest.raises(SessionConflict):
            await case.append(ahead, b"a")
        assert (await case.whole(head.session_id)).head == head

    @covers("D2")
    async def test_of_writers_with_one_expectation_one_wins(self, case: Case) -> None:
        """Eight appends by two handles that expect the same revision: one is kept."""
        head = await case.begin()
        async with case.open() as other:
            results = await asyncio.gather(
                *[
                    case.append(head, b"%d" % number, store=(case.store, other)[number % 2])
                    for number in range(8)
                ],
                return_exceptions=True,
            )
        won = [number for number, result in enumerate(results) if isinstance(result, Head)]
        lost = [result for result in results if isinstance(result, SessionConflict)]
        assert (len(won), len(lost)) == (1, 7)
        found = await case.whole(head.session_id)
        assert list(found.records) == [b"%d" % won[0]]
        assert found.head == results[won[0]]

    @covers("S32")
    async def test_two_tasks_lose_and_double_nothing(self, case: Case) -> None:
        """Two handles append 25 turns each and repeat after a conflict: every turn once, whole."""
        first = await case.begin()

        async def write(store: SessionStore, name: str) -> None:
            head = first
            for turn in range(25):
                data = [f"{name} {turn} {part}".encode() for part in range(2)]
                key = new_commit_id()
                while True:
                    try:
                        head = await case.append(head, *data, store=store, commit_id=key)
                        break
                    except SessionConflict as error:
                        head = error.head or head
                        await asyncio.sleep(0)
                await asyncio.sleep(0)

        async with case.open() as other:
            await asyncio.gather(write(case.store, "a"), write(other, "b"))
        found = await case.whole(first.session_id)
        assert found.head.revision.version == 50
        _none_lost(_turns([each.decode() for each in found.records], 2), ["a", "b"], 25)

    @covers("S34")
    async def test_many_sessions_go_on_side_by_side(self, case: Case) -> None:
        """Thirty sessions that are written at the same time each get their own five turns."""

        async def write(number: int) -> Head:
            head = await case.begin()
            for turn in range(5):
                head = await case.append(head, b"%d %d" % (number, turn))
            return head

        heads = await asyncio.gather(*[write(number) for number in range(30)])
        for number, head in enumerate(heads):
            found = await case.whole(head.session_id)
            assert found.head == head
            assert list(found.records) == [b"%d %d" % (number, turn) for turn in range(5)]

    @covers("D2")
    async def test_a_second_handle_sees_what_the_first_wrote(self, case: Case) -> None:
        """An append by one handle is in the next load of the other, `known` or not."""
        head = await case.begin(b"1")
        async with case.open() as other:
            assert (await case.whole(head.session_id, other)).head == head
            after = await case.append(head, b"2")
            found = await other.load(head.session_id, known=head.revision, after=0)
            assert found is not None
            assert found.head == after
            last = await case.append(after, b"3", store=other)
        found = await case.whole(head.session_id)
        assert (found.head, list(found.records)) == (last, [b"1", b"2", b"3"])

    @covers("S33")
    async def test_a_second_process_sees_what_the_first_wrote(self, case: Case) -> None:
        """It reads the records of this process."""
        case.needs_processes()
        head = await case.begin(b"1", b"2")
        second = await case.start("load", session_id=head.session_id)
        assert await second.line() == ["1", "2"]
        await second.finish()

    @covers("S33", "D2")
    async def test_an_append_of_a_second_process_fences_the_first(self, case: Case) -> None:
        """What it appended is read here, and a writer here who did not read it conflicts."""
        case.needs_processes()
        head = await case.begin(b"1")
        second = await case.start("append", session_id=head.session_id, data=["2", "3"])
        assert await second.line() == {"version": 2, "seq": 3}
        await second.finish()
        with pytest.raises(SessionConflict) as caught:
            await case.append(head, b"lost")
        found = await case.whole(head.session_id)
        assert list(found.records) == [b"1", b"2", b"3"]
        assert caught.value.head == found.head

    @covers("S33", "D2", long=True)
    async def test_two_processes_lose_and_double_nothing(self, case: Case) -> None:
        """200 turns each on one session, repeated after a conflict: every turn once, in order."""
        case.needs_processes()
        head = await case.begin()
        names = ["a", "b"]
        racers = await asyncio.gather(
            *[
                case.start("race", session_id=head.session_id, name=name, turns=200)
                for name in names
            ]
        )
        for racer in racers:
            assert await racer.line() == "ready"
        for racer in racers:
            await racer.go()
        for racer in racers:
            await racer.finish()
        found = await case.whole(head.session_id)
        assert found.head.revision.version == 400
        _none_lost(_turns([each.decode() for each in found.records], 3), names, 200)

    @covers("S36", "D9", opened=False, long=True)
    async def test_first_use_by_eight_processes(self, case: Case) -> None:
        """Eight processes that open the place at the same moment all succeed and are kept."""
        names = [case.new_id() for _ in range(8)]
        processes = await asyncio.gather(
            *[case.start("first_use", session_id=name) for name in names]
        )
        for process in processes:
            assert await process.line() == "ready"
        for process in processes:
            await process.go()
        durabilities = {(await process.finish())[-1] for process in processes}
        async with case.open() as store:
            if durabilities == {"none"}:
                case.store = store
                case.needs_processes()
            for name in names:
                assert list((await case.whole(name, store)).records) == [b"1"]
