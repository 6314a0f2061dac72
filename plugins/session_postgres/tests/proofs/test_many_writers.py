"""Eight processes write at once: what is kept, in which order, and what losers are told."""

import asyncio
import json

import pytest

from turnkeep.testing.writers import check

pytestmark = pytest.mark.prove


@pytest.fixture
def race(opened, begin, worker, postgres_url):
    """Let processes append to sessions; gives their reports and the records of each session."""

    def run(sessions, *, processes=8, appends=200, url=postgres_url, **options):
        names = [f"s{number}" for number in range(sessions)]

        async def prepare():
            async with opened() as store:
                for name in names:
                    await begin(store, name)

        asyncio.run(prepare())
        common = {"sessions": sessions, "appends": appends, "pool_size": 2, **options}
        writers = [worker(url, writer=number, **common) for number in range(processes)]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n", writer.stderr.read()
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        reports = []
        for writer in writers:
            out, errors = writer.communicate(timeout=600)
            assert writer.returncode == 0, errors
            reports.append(json.loads(out))

        async def look():
            async with opened() as store:
                return {name: await store.load(name, after=0) for name in names}

        return reports, asyncio.run(look())

    return run


def places(reports):
    """What each writer was told."""
    return {report["writer"]: report["places"] for report in reports}


@pytest.mark.parametrize("statements", ["single", "plain"])
@pytest.mark.parametrize("sessions", [1, 200])
def test_writers_lose_and_double_nothing(race, report, sessions, statements):
    """All load, append and repeat after a conflict: each append once, whole, in its own order."""
    reports, kept = race(sessions, statements=statements)
    check(places(reports), kept)
    total, worst = (
        sum(each["conflicts"] for each in reports),
        max(each["worst"] for each in reports),
    )
    report(
        f"8 processes, {sessions} sessions, 200 appends each, {statements}: {total} conflicts, "
        f"worst append {worst}"
    )
    assert worst < 300  # of n equal writers one try in n succeeds: the odds are 1e-17


def test_writers_behind_a_pooler_lose_and_double_nothing(race, report, bouncer_url):
    """Eight processes share three connections to the server by way of PgBouncer."""
    reports, kept = race(1, appends=100, url=bouncer_url)
    check(places(reports), kept)
    report(f"8 processes, PgBouncer: {sum(each['conflicts'] for each in reports)} conflicts")


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_serialization_failures_are_no_conflicts_and_lose_nothing(
    race, report, worker, opened, begin, server, ask, schema, level
):
    """With a stricter default of the server, what fails with 40001 is tried again inside."""
    server.stop()
    server.config = {**server.config, "default_transaction_isolation": level}
    server.start()

    async def prepare():
        async with opened(url=server.url) as store:
            for number in range(3):
                await begin(store, f"s{number}")

    asyncio.run(prepare())
    rollbacks = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    before = ask(rollbacks)[0][0]
    common = {"sessions": 3, "appends": 60, "pool_size": 2}
    writers = [worker(server.url, writer=number, **common) for number in range(6)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n", writer.stderr.read()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    reports = []
    for writer in writers:
        out, errors = writer.communicate(timeout=600)
        assert writer.returncode == 0, errors
        reports.append(json.loads(out))

    async def look():
        async with opened(url=server.url) as store:
            return {f"s{number}": await store.load(f"s{number}", after=0) for number in range(3)}

    check(places(reports), asyncio.run(look()))
    undone = ask(rollbacks)[0][0] - before
    assert undone > 0  # else nothing was tried again
    report(f"6 processes, {level}: {undone} transactions of the server undone")
