"""Shared by all tests: coroutine tests run on a loop of their own, and what is missing is said."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("normal", max_examples=50, deadline=None)
settings.register_profile(
    "prove",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))

TRANSCRIPTS = Path(__file__).resolve().parent.parent / "shared" / "data" / "transcripts"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests with asyncio.run; no plugin is needed for that."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.fixture(scope="session")
def transcripts() -> list[Path]:
    """Paths of the recorded agent sessions; skips where they are not beside the checkout."""
    found = sorted(TRANSCRIPTS.glob("*/*.jsonl"))
    if not found:
        pytest.skip("needs the recorded transcripts in ../shared/data/transcripts")
    return found


@pytest.fixture
def work() -> Callable[[Callable[[], object]], int]:
    """Give a measure of work that no clock and no neighbour can disturb: the calls made."""
    from turnkeep.testing.work import calls_made  # where core is not installed, too

    return calls_made


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give the URL of a Redis server: one started here, else that of the environment."""
    from turnkeep.testing.servers.redis import RedisServer

    if (program := RedisServer.program()) is not None:
        server = RedisServer(program=program)
        server.start()
        yield server.url
        server.stop()
    elif url := os.environ.get("TURNKEEP_TEST_REDIS_URL"):
        yield url
    else:
        no_server("redis-server", "TURNKEEP_TEST_REDIS_URL")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of a PostgreSQL server: one started here, else that of the environment."""
    from turnkeep.testing.servers.postgres import PostgresServer

    if (program := PostgresServer.program()) is not None:
        server = PostgresServer(program=program)
        server.start()
        yield server.url
        server.stop()
    elif url := os.environ.get("TURNKEEP_TEST_POSTGRES_URL"):
        yield url
    else:
        no_server("postgres and initdb", "TURNKEEP_TEST_POSTGRES_URL")


def no_server(program: str, variable: str) -> NoReturn:
    """Skip, and say what is missing; fail where servers are required, as in CI."""
    missing = f"needs {program} (`make servers` installs it) or {variable}"
    if os.environ.get("TURNKEEP_REQUIRE_SERVERS"):
        pytest.fail(missing)
    pytest.skip(missing)
