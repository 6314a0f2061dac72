"""Fixtures of the proofs: servers that are hurt, writers that go on meanwhile."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.testing.servers.redis import (
    RedisCluster,
    RedisPair,
    RedisSentinel,
    RedisServer,
)
from turnkeep.testing.writers import check, session_of, write
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions

WORKER = Path(__file__).with_name("worker.py")
KINDS = {
    "server": RedisServer,
    "pair": RedisPair,
    "sentinel": RedisSentinel,
    "cluster": RedisCluster,
}


@pytest.fixture
def started(redis_url):
    """Start servers of a kind; they are gone after the test."""
    running = []

    def start(kind, **settings):
        if RedisServer.program() is None:
            pytest.skip("needs a server's program, not only a URL")
        running.append(KINDS[kind](**settings))
        running[-1].start()
        return running[-1]

    yield start
    for each in running:
        if isinstance(each, RedisSentinel):
            for watcher in each._watchers:
                watcher.kill()
        for server in vars(each).values() if not isinstance(each, RedisServer) else [each]:
            for one in server if isinstance(server, list) else [server]:
                if isinstance(one, RedisServer):
                    one.kill()


@pytest.fixture
def race():
    """Let processes append to sessions; checks what is kept, gives the most conflicts in a row."""
    started = []

    def run(url, processes, sessions, appends):
        options = {"url": url, "retry_for": 30}

        async def prepare():
            store = await open_store(RedisOptions(**options))
            for number in range(sessions):
                await store.create(f"s{number}", commit_id=b"c")
            await store.close()

        async def look():
            store = await open_store(RedisOptions(**options))
            found = {
                f"s{number}": await store.load(f"s{number}", after=0) for number in range(sessions)
            }
            await store.close()
            return found

        asyncio.run(prepare())
        for writer in range(processes):
            task = {"options": options, "writer": writer, "sessions": sessions, "appends": appends}
            started.append(
                subprocess.Popen(
                    [sys.executable, str(WORKER), json.dumps(task)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for process in started:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        reports, worst = {}, 0
        for process in started:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            said = json.loads(out)
            reports[said["writer"]] = said["places"]
            worst = max(worst, said["worst"])
        assert sum(len(places) for places in reports.values()) == processes * appends
        check(reports, asyncio.run(look()))
        return worst

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def under_load():
    """Hurt a server while six writers append to four sessions; checks that all of it is right."""

    async def run(url, hurt, *, writers=6, sessions=4, more=15, **options):
        """`hurt` is a coroutine function; after it each writer must get on by `more` appends."""
        given = RedisOptions.model_validate({"url": url, "timeout": 1, "retry_for": 20} | options)
        stores = [await open_store(given) for _ in range(2)]
        counts, places, over = [0] * writers, {each: [] for each in range(writers)}, False

        async def go_on(writer):
            store = stores[writer % len(stores)]
            while not over:
                number = counts[writer]
                session = session_of(writer, number, sessions)
                before, _ = await write(store, session, writer, number)
                places[writer].append((session, number, before + 1))
                counts[writer] += 1
                await asyncio.sleep(0.001)

        try:
            for number in range(sessions):
                await stores[0].create(f"s{number}", commit_id=b"c", ttl=3600, user_id="u")
            tasks = [asyncio.create_task(go_on(writer)) for writer in range(writers)]
            await asyncio.sleep(0.3)
            await hurt()
            wanted = [count + more for count in counts]
            while any(count < want for count, want in zip(counts, wanted, strict=True)):
                await asyncio.sleep(0.01)
                for task in tasks:
                    if task.done():
                        task.result()
            over = True
            await asyncio.gather(*tasks)
            loaded = {
                f"s{number}": await stores[0].load(f"s{number}", after=0)
                for number in range(sessions)
            }
            check(places, loaded)
            assert len((await stores[0].list(user_id="u")).heads) == sessions
            return sum(counts)
        finally:
            for store in stores:
                await store.close()

    return run
