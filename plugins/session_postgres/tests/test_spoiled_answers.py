"""Answers that are none: what libpq cannot read, as from a broken proxy between."""

import asyncio
import contextlib
import os
import socket

import pytest

from turnkeep.errors import StoreUnavailable
from turnkeep.store import Record, new_commit_id
from turnkeep.testing.servers.proxy import CHUNK, Proxy
from turnkeep_session_postgres.faults import LinkLost
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.values import Statement

SPOILT = {
    "too long": lambda data: data[:1] + b"\x7f\xff\xff\xff" + data[5:],
    "of no type": lambda data: b"q\0\0\0\4" + data,
    "of a web server": lambda _: b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "a row too wide": lambda data: data.replace(b"\0\x0c", b"\0\x0d"),
}


def append(store, head, *data):
    fields = {"expected": head.revision, "commit_id": new_commit_id()}
    return store.append(head.session_id, [Record(each) for each in data], **fields)


@contextlib.asynccontextmanager
async def spoiling(port):
    """Stand between as a proxy that spoils answers: gives a list, of how to spoil the next."""
    how, tasks, writers = [], set(), []

    async def serve(client, answer):
        tasks.add(asyncio.current_task())
        server, request = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([answer, request])
        await asyncio.gather(passed(client, request, []), passed(server, answer, how))

    async def passed(reader, writer, spoils):
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(spoils.pop(0)(data) if spoils else data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        try:
            yield listening.sockets[0].getsockname()[1], how
        finally:
            for writer in writers:
                writer.transport.abort()
            await asyncio.gather(*tasks)
            await asyncio.sleep(0)  # the transports end


@pytest.mark.parametrize("kind", list(SPOILT))
async def test_an_append_whose_answer_is_spoilt_is_written_once(away, server, begin, kind):
    """The server has kept it: it is looked at by another connection, as where an answer is lost."""
    async with spoiling(server.port) as (port, how), away(port, pool_size=1) as store:
        head = await begin(store, records=1)  # so that its statement is prepared
        for number in range(2, 5):
            how.append(SPOILT[kind])
            head = await append(store, head, b"%d" % number)
            assert how == []
        assert (await store.load("s")).records == [b"1", b"2", b"3", b"4"]


async def test_what_came_of_a_spoilt_answer_is_unknown_where_none_may_be_repeated(
    away, server, begin
):
    """Not said to be undone; the error has what libpq says of it."""
    async with spoiling(server.port) as (port, how), away(port, retry_for=0) as store:
        head = await begin(store, records=1)  # so that its statement is prepared
        how.append(SPOILT["too long"])
        with pytest.raises(StoreUnavailable, match=r"unknown.*lost synchronization"):
            await append(store, head, b"2")
        assert (await store.load("s")).records == [b"1", b"2"]


async def test_a_connection_that_libpq_closes_leaves_its_number_to_others(server):
    """The program's next socket gets the number, at once, and hears what comes to it."""
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()

    async def next_socket(number):
        with contextlib.suppress(OSError):
            while os.fstat(number):
                await asyncio.sleep(0)
        pair = socket.socketpair()
        assert pair[0].fileno() == number
        pair[0].setblocking(False)
        loop.add_reader(pair[0], heard.set)
        return pair

    async with spoiling(server.port) as (port, how):
        link = await Link.connect(server.url_of(port), wait=5, within=5)
        number = link._pq.socket
        following = asyncio.create_task(next_socket(number))
        how.append(SPOILT["of a web server"])
        with pytest.raises(LinkLost) as lost:
            await link.run(Statement("SELECT 1"), ())
        assert lost.value.sent
        assert not link.alive
        ours, theirs = await following
        theirs.send(b"x")
        await asyncio.wait_for(heard.wait(), 5)
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


async def test_a_connection_that_is_cut_while_it_sends_is_left_at_once(away, server, begin):
    """Of a large write a part has left; all of it is sent again."""
    data = os.urandom(2**25)
    async with Proxy(server.port) as proxy, away(proxy.port, pool_size=1) as store:
        head = await begin(store, records=1)  # so that its statement is prepared
        proxy.hold()
        appending = asyncio.create_task(append(store, head, data))
        await asyncio.sleep(0.1)
        proxy.cut_all()
        proxy.release()
        async with asyncio.timeout(20):
            assert (await appending).seq == 2
        assert (await store.load("s")).records == [b"1", data]
