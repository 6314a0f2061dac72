"""Connections: closed ones, silent ones, and calls that are cut off."""

import asyncio

import pytest

from turnkeep.errors import SessionConflict, StoreUnavailable
from turnkeep.testing.servers.proxy import Proxy
from turnkeep_session_redis.node import pack
from turnkeep_session_redis.opening import open_store
from turnkeep_session_redis.options import RedisOptions


def test_a_command_is_sent_as_the_protocol_says():
    """Bytes as they are, text as UTF-8, numbers in digits; each with its length in bytes."""
    assert pack(("SET", b"\r\n", "ä", 12, bytearray(b"x"), b"")) == (
        b"*6\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$2\r\n\xc3\xa4\r\n$2\r\n12\r\n$1\r\nx\r\n$0\r\n\r\n"
    )


async def test_a_server_that_accepts_and_says_nothing_is_not_waited_for():
    """The limit of time holds for the login, too, not only for the connection."""

    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
            await open_store(
                RedisOptions(url=f"redis://:x@127.0.0.1:{port}", timeout=0.1, retry_for=0.1)
            )


async def test_connections_that_the_server_closed_are_not_used(opened, raw, begin, append):
    """No try is lost on them: a conflict behind that is a conflict, with the head."""
    async with opened() as store, opened() as other:
        head = await begin(store)
        theirs = await append(other, head, b"theirs")
        raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.05)  # the loop hears of it
        with pytest.raises(SessionConflict) as caught:
            await append(store, head, b"ours")
        assert caught.value.head == theirs


async def test_a_cancelled_append_has_settled(opened, begin, append):
    """Cut off once or twice at each step: what is there stays, and the same commit id finds it."""
    async with opened() as store:
        head = await begin(store)
        for number in range(120):
            commit = b"%d" % number
            writing = asyncio.create_task(append(store, head, b"1", b"2", commit_id=commit))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            writing.cancel()
            if number % 2:
                await asyncio.sleep(0)
                writing.cancel()
            await asyncio.wait([writing])
            found = (await store.load("s")).head
            await asyncio.sleep(0.002)
            assert (await store.load("s")).head == found
            again = await append(store, head, b"1", b"2", commit_id=commit)
            assert (again.seq, again.revision.version) == (head.seq + 2, head.revision.version + 1)
            if found != head:
                assert again == found
            head = again


async def test_a_cancelled_append_waits_for_an_answer(url, opened, begin, append):
    """While the server says nothing it has not settled; then it leaves, cancelled."""
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    async with (
        Proxy(port) as proxy,
        opened(url=url.replace(str(port), str(proxy.port))) as store,
    ):
        head = await begin(store)
        proxy.hold()
        writing = asyncio.create_task(append(store, head, b"1"))
        for _ in range(10):
            await asyncio.sleep(0)
        writing.cancel()
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done
        proxy.release()
        await asyncio.wait([writing])
        assert writing.cancelled()
        assert (await store.load("s")).head.seq == 1
