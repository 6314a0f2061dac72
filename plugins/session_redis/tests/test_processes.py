"""Forked processes, and clients whose clocks are wrong."""

import os
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest

FORKER = """
    import asyncio, os, sys
    from turnkeep.errors import StoreError
    from turnkeep.store import Record
    from turnkeep_session_redis.opening import open_store
    from turnkeep_session_redis.options import RedisOptions

    async def refused(call):
        try:
            await call
        except StoreError as error:
            return "forked this one" in str(error)

    async def main():
        options = RedisOptions(url=sys.argv[1], prefix=sys.argv[2])
        store = await open_store(options)
        head = await store.create("s", commit_id=b"1")
        if not (pid := os.fork()):
            said = [
                await refused(store.append("s", [], expected=head.revision, commit_id=b"2")),
                await refused(store.load("s")),
                await refused(store.list()),
            ]
            os._exit(0 if said == [True] * 3 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        await store.append("s", [Record(b"a")], expected=head.revision, commit_id=b"3")
        assert (await store.load("s")).records == [b"a"]
        await store.close()

    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_cannot_use_the_store(url, prefix, raw):
    """Each call is refused there with what to do; the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKER), url, prefix],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


async def test_the_clock_of_a_client_changes_nothing(opened, begin, append, monkeypatch):
    """An hour behind or ahead: times, ttl and order are the server's."""
    async with opened() as store:
        first = await begin(store, "a", ttl=60, user_id="u")
        import time

        real, real_ns = time.time, time.time_ns
        for number, skew in enumerate((-3600, 3600)):
            monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
            monkeypatch.setattr(time, "time_ns", lambda skew=skew: real_ns() + skew * 1_000_000_000)
            head = await begin(store, f"b{number}", ttl=60, user_id="u")
            assert abs(head.created - first.created) < timedelta(minutes=10)
            assert head.expires - head.updated == timedelta(seconds=60)
            first = await append(store, first, b"%d" % number)
            assert await store.purge() == 0
            assert len((await store.list(user_id="u")).heads) == 2 + number
        monkeypatch.undo()
        assert list((await store.load("a")).records) == [b"0", b"1"]
