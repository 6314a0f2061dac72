"""Eight processes write one file at once: what is kept, in which order, and how long each waits."""

import asyncio
import json
import sqlite3

import pytest

from turnkeep.testing.writers import PARTS, check

MOST_PASSED = 1000
"""How many appends of others may come between two of one process: what starving means, without a
clock. The worst seen was 232, with sessions enough that no conflict counts as well. Tries for the lock are only reported: while the process that holds it
is held up by a slow disk, all others go on trying, up to 2,490 times, and none is passed."""


@pytest.fixture
def race(opened, begin, worker, go, finish):
    """Let processes append to sessions; gives their reports and the records of each session."""

    def run(processes, sessions, appends, beside=()):
        names = [f"s{number}" for number in range(sessions)]

        async def prepare():
            async with opened() as store:
                for name in names:
                    await begin(store, name)

        asyncio.run(prepare())
        writers = [
            worker("hammer", writer=number, sessions=sessions, appends=appends)
            for number in range(processes)
        ]
        others = [worker(role, **options) for role, options in beside]
        go(*others, *writers)
        reports = [json.loads(finish(writer, timeout=200)) for writer in writers]
        for other in others:
            other.stdin.write("stop\n")
            other.stdin.flush()
        seen = [json.loads(finish(other)) for other in others]

        async def look():
            async with opened() as store:
                return {name: await store.load(name, after=0) for name in names}

        return reports, asyncio.run(look()), seen

    return run


def places(reports):
    """What each writer was told."""
    return {report["writer"]: report["places"] for report in reports}


def most_passed(path):
    """How many appends of others came between two of one writer at most, in the order of commits."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT data FROM event ORDER BY id").fetchall()
    connection.close()
    last, most = {}, 0
    for place, (data,) in enumerate(found):
        writer = data.split(maxsplit=2)[1]  # as `record` makes it
        most = max(most, place - last.get(writer, place))
        last[writer] = place
    return most // PARTS


def worst(reports, figure):
    """The largest of the processes' figures."""
    return max(report["figures"][figure] for report in reports)


@pytest.mark.parametrize(
    ("processes", "appends"), [(3, 25), pytest.param(8, 200, marks=pytest.mark.prove)]
)
def test_writers_of_one_session_lose_and_double_nothing(
    race, path, sound, report, processes, appends
):
    """All load, append and repeat after a conflict: each append once, whole, in its own order."""
    reports, kept, _ = race(processes, 1, appends)
    check(places(reports), kept)
    sound()
    conflicts, begins = worst(reports, "worst conflicts"), worst(reports, "worst begins")
    passed = most_passed(path)
    report(
        f"{processes} processes, one session, {appends} appends each: "
        f"worst append {conflicts} conflicts, worst transaction {begins} tries for the lock, "
        f"at most {passed} appends of others between two of one"
    )
    # Of n equal writers one try in n succeeds: 300 failures of 8 in a row have odds of 1e-17.
    assert conflicts < 300


@pytest.mark.prove
def test_writers_of_many_sessions_lose_and_double_nothing(race, path, sound, report):
    """Eight processes, 200 sessions: the same, and the write lock starves nobody."""
    reports, kept, _ = race(8, 200, 200)
    check(places(reports), kept)
    sound()
    begins, passed = worst(reports, "worst begins"), most_passed(path)
    report(
        f"8 processes, 200 sessions, 200 appends each: worst {begins} tries for the lock, "
        f"at most {passed} appends of others between two of one"
    )
    assert passed < MOST_PASSED


@pytest.mark.prove
def test_readers_go_on_while_four_processes_write_hard(race, path, report):
    """Loads of whole sessions meet no lock and no half append while four processes write."""
    reports, kept, (seen,) = race(4, 4, 1000, beside=[("read", {"sessions": 4})])
    check(places(reports), kept)
    begins, passed = worst(reports, "worst begins"), most_passed(path)
    waits = sum(each["figures"]["waits"] for each in reports)
    report(
        f"4 processes, 4 sessions, 1000 appends each, {seen['loads']} loads beside them: "
        f"{waits} waits, worst {begins} tries for the lock, "
        f"at most {passed} appends of others between two of one"
    )
    assert seen["loads"] > 100
    assert passed < MOST_PASSED
