"""Eight processes write at once: what is kept, in which order, and what losers are told."""

import asyncio
import json
from collections import defaultdict

import pytest

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
        writers = [worker("hammer", url, writer=number, **common) for number in range(processes)]
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


def check(made, reports, kept):
    """Each acknowledged append is there once, whole, behind what its writer knew; nothing else is."""
    expected = defaultdict(dict)
    for report in reports:
        for session, number, before, seq in report["kept"]:
            first = seq - made.PARTS + 1
            assert first == before + 1, "written behind records that the writer had not seen"
            assert first not in expected[session], "two appends were told the same place"
            expected[session][first] = (report["writer"], number)
    for session, loaded in kept.items():
        places = expected[session]
        assert sorted(places) == list(range(1, len(loaded.records) + 1, made.PARTS))
        wanted = [
            made.record(session, *places[first], part)
            for first in sorted(places)
            for part in range(made.PARTS)
        ]
        assert list(loaded.records) == wanted
        version = loaded.head.revision.version
        assert version == len(places)
        assert loaded.state == (b"%d" % version if version else b"{}")
        for report in reports:  # each writer's own order
            own = [
                number
                for writer, number in (places[first] for first in sorted(places))
                if writer == report["writer"]
            ]
            assert own == sorted(own)


@pytest.mark.parametrize("statements", ["single", "plain"])
@pytest.mark.parametrize("sessions", [1, 200])
def test_writers_lose_and_double_nothing(race, made, report, sessions, statements):
    """All load, append and repeat after a conflict: each append once, whole, in its own order."""
    reports, kept = race(sessions, statements=statements)
    check(made, reports, kept)
    total, worst = (
        sum(each["conflicts"] for each in reports),
        max(each["worst"] for each in reports),
    )
    report(
        f"8 processes, {sessions} sessions, 200 appends each, {statements}: {total} conflicts, "
        f"worst append {worst}"
    )
    assert worst < 300  # of n equal writers one try in n succeeds: the odds are 1e-17


def test_writers_behind_a_pooler_lose_and_double_nothing(race, made, report, bouncer_url):
    """Eight processes share three connections to the server by way of PgBouncer."""
    reports, kept = race(1, appends=100, url=bouncer_url)
    check(made, reports, kept)
    report(f"8 processes, PgBouncer: {sum(each['conflicts'] for each in reports)} conflicts")


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_serialization_failures_are_no_conflicts_and_lose_nothing(
    race, made, report, worker, opened, begin, server, ask, schema, level
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
    common = {"sessions": 3, "appends": 60, "pool_size": 2}
    writers = [worker("hammer", server.url, writer=number, **common) for number in range(6)]
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

    check(made, reports, asyncio.run(look()))
    [(undone,)] = ask(
        "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    report(f"6 processes, {level}: {undone} transactions of the server undone")
