"""Writes: lost answers, forgotten scripts, sizes, what is refused."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from turnkeep.errors import (
    CorruptSession,
    SessionConflict,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
)
from turnkeep.store import Loaded
from turnkeep.testing.servers.proxy import Proxy
from turnkeep_session_redis.keys import Keys
from turnkeep_session_redis.scripts import DELETE


async def whole(store, name="s"):
    found = await store.load(name, after=0)
    assert isinstance(found, Loaded)
    return found


@pytest.mark.parametrize("after", [0, 1, 30])
async def test_a_write_whose_answer_is_lost_is_done_once(through, opened, begin, append, after):
    """The connection breaks before, or amid, the answer: repeated inside, kept once."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store:
        head = await begin(store, records=1)
        proxy.cut_answer(after=after, of=b"once")
        head = await append(store, head, b"once", b"2", meta=b"m", state=b"s")
        assert proxy.cuts == 1
        found = await whole(store)
        assert (found.head, list(found.records), found.state) == (head, [b"1", b"once", b"2"], b"s")
        assert head.revision.version == 2


async def test_a_create_and_a_delete_whose_answer_is_lost_are_done_once(through, opened, begin):
    """Both tell what they did."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store:
        proxy.cut_answer(after=0, of=b"the state")
        head = await begin(store, state=b"the state", user_id="u", ttl=60)
        assert (await whole(store)).head == head
        assert [each.session_id for each in (await store.list(user_id="u")).heads] == ["s"]
        proxy.cut_answer(after=0, of=DELETE.sha)
        assert await store.delete("s")
        assert proxy.cuts == 2
        assert await store.load("s") is None
        assert not (await store.list(user_id="u")).heads


async def test_a_lost_answer_with_a_stranger_behind_it_is_unknown(
    through, opened, begin, append, meanwhile
):
    """Ours was kept, then another's: no conflict, which would say that nothing was written."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        head = await begin(store)

        async def theirs():
            await append(other, (await whole(other)).head, b"theirs")

        meanwhile(store, theirs)
        proxy.cut_answer(after=0, of=b"ours")
        with pytest.raises(StoreUnavailable, match="load it again"):
            await append(store, head, b"ours")
        assert list((await whole(store)).records) == [b"ours", b"theirs"]


async def test_a_lost_create_with_a_stranger_behind_it_is_ours(
    through, opened, begin, append, meanwhile
):
    """What stands there has our incarnation: the head as we made it, and no SessionExists."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:

        async def theirs():
            await append(other, (await whole(other)).head, b"theirs")

        meanwhile(store, theirs)
        proxy.cut_answer(after=0, of=b"the state")
        head = await begin(store, state=b"the state", ttl=60, user_id="u")
        assert (head.revision.version, head.seq, head.user_id, head.ttl) == (0, 0, "u", 60)
        assert head.expires > head.created == head.updated
        with pytest.raises(SessionExists):
            await begin(other)


async def test_a_connection_that_says_nothing_is_dropped(through, opened, begin, append):
    """After a timeout the late answer belongs to nobody: the next call gets its own."""
    proxy, url = through()
    async with proxy, opened(url=url(), timeout=0.2, retry_for=0.3) as store:
        head = await begin(store, records=1)
        proxy.hold()
        with pytest.raises(StoreUnavailable):
            await append(store, head, b"late")
        proxy.release()
        await asyncio.sleep(0.05)
        found = await whole(store)
        assert found.head.seq in {1, 2}
        for number in range(20):
            found = await whole(store)
            head = await append(store, found.head, b"%d" % number)
            assert head.seq == found.head.seq + 1


async def test_a_script_that_the_server_forgot_is_sent_again(opened, raw, begin, append):
    """SCRIPT FLUSH, or a restart, between two appends goes unnoticed."""
    async with opened() as store:
        head = await begin(store)
        for number in range(3):
            raw.script_flush()
            head = await append(store, head, b"%d" % number)
        raw.script_flush()
        assert len((await whole(store)).records) == 3
        raw.script_flush()
        assert await store.delete("s")


async def test_thousands_of_records_in_one_append(opened, begin, append):
    """More than Lua can unpack at once, in order."""
    data = [b"%d" % number for number in range(12_345)]
    async with opened() as store:
        head = await append(store, await begin(store), *data)
        assert head.seq == len(data)
        assert list((await whole(store)).records) == data
        found = await store.load("s", after=9_998, limit=5)
        assert (list(found.records), found.more) == (data[9_998:10_003], True)


async def test_numbers_beyond_all_records_are_no_fault(opened, begin):
    """A load behind the end is empty, however far behind."""
    async with opened() as store:
        await begin(store, records=2)
        found = await store.load("s", after=10**30, limit=10**30)
        assert (found.first, list(found.records), found.more) == (10**30 + 1, [], False)


@pytest.mark.parametrize("base", [-1, 3, 10**30])
async def test_a_base_that_is_no_record_changes_nothing(opened, begin, append, base):
    """A ValueError; the session is as it was."""
    async with opened() as store:
        head = await begin(store, records=1)
        with pytest.raises(ValueError):
            await append(store, head, b"2", base=base)
        assert (await whole(store)).head == head
        assert (await append(store, head, b"2", base=2)).base == 2


async def test_a_list_that_lost_records_is_corrupt(opened, raw, prefix, begin, append):
    """Shortened by hand: told with the first that is missing, and never written behind."""
    async with opened() as store:
        head = await begin(store, records=5)
        raw.rpop(Keys(prefix).session("s"))
        with pytest.raises(CorruptSession) as caught:
            await store.load("s")
        assert caught.value.seq == 5
        with pytest.raises(CorruptSession):
            await append(store, head, b"6")
        raw.lset(Keys(prefix).session("s"), 0, "no head")
        with pytest.raises(CorruptSession) as caught:
            await store.load("s")
        assert caught.value.seq == 0
        assert await store.delete("s")
        assert await store.load("s") is None


async def test_calls_wait_for_a_connection_and_say_so_in_the_end(through, opened, begin, append):
    """With one connection that is stuck the others wait, then are unavailable, by its name."""
    proxy, url = through()
    async with (
        proxy,
        opened(url=url(), max_connections=1, timeout=5, retry_for=0.2) as store,
    ):
        head = await begin(store)
        await asyncio.gather(*(store.load("s") for _ in range(20)))
        proxy.hold()
        stuck = asyncio.create_task(append(store, head, b"1"))
        while not store._link._gate.locked():
            await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="max_connections"):
            await store.load("s")
        proxy.release()
        assert (await stuck).seq == 1


async def test_an_append_to_what_is_gone_after_a_lost_answer(
    through, opened, begin, append, meanwhile
):
    """Deleted meanwhile is SessionNotFound, whatever was tried before."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        head = await begin(store, records=1)
        meanwhile(store, lambda: other.delete("s"))
        proxy.cut_answer(after=0, of=b"ours")
        with pytest.raises(SessionNotFound):
            await append(store, head, b"ours")
        assert proxy.cuts == 1
        assert await store.load("s") is None


async def test_a_conflict_after_no_connection_is_a_conflict(
    through, opened, begin, append, meanwhile
):
    """What was never sent cannot have been done: the head comes along, and a delete is False."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        head = await begin(store)
        gone = await begin(store, "gone")
        await other.delete("gone")
        theirs = await append(other, head, b"theirs")

        async def serve():
            proxy.refuse(refusing=False)

        for call in (
            lambda: append(store, head, b"ours"),
            lambda: store.delete("s", expected=head.revision),
        ):
            meanwhile(store, serve)
            proxy.refuse()
            proxy.cut_all()
            await asyncio.sleep(0.05)  # the loop hears of it
            with pytest.raises(SessionConflict) as caught:
                await call()
            assert caught.value.head == theirs
        meanwhile(store, serve)
        proxy.refuse()
        proxy.cut_all()
        await asyncio.sleep(0.05)
        assert not await store.delete("gone", expected=gone.revision)


async def test_what_is_said_of_full_memory_is_true(server, opened, begin, append, meanwhile):
    """Nothing written, where nothing is; after a lost answer nobody knows."""
    place = server()
    async with (
        Proxy(place.port) as proxy,
        opened(url=f"redis://127.0.0.1:{proxy.port}") as store,
    ):
        head = await begin(store, records=1)

        async def fill():
            place.ask("CONFIG", "SET", "maxmemory", 1)

        meanwhile(store, fill)
        proxy.cut_answer(after=0, of=b"ours")
        with pytest.raises(StoreUnavailable, match="may be written, or not"):
            await append(store, head, b"ours")
        found = await whole(store)
        assert list(found.records) == [b"1", b"ours"]
        with pytest.raises(StoreUnavailable, match="has written nothing"):
            await append(store, found.head, b"2")
        assert (await whole(store)).head == found.head


async def test_a_write_that_the_server_calls_bad_never_returns(opened, begin, append, monkeypatch):
    """Also where no check of our own finds out why."""
    monkeypatch.setattr("turnkeep_session_redis.store.check_base", lambda *_: None)
    async with opened() as store:
        head = await begin(store, records=1)
        with pytest.raises(ValueError, match="nothing is written"):
            await append(store, head, b"2", base=9)
        with pytest.raises(ValueError, match="nothing is written"):
            await store.erase("s", {1: b"x"}, expected=head.revision, commit_id=b"e", base=2)
        assert (await whole(store)).head == head


async def test_a_long_load_is_one_snapshot_while_a_writer_runs(opened, begin, append):
    """Records that are read apart from the head fit to it, whatever is written in between."""
    async with opened() as store, opened() as other:
        head = await append(store, await begin(store, state=b"0"), *[b"old"] * 400)
        loads = 0

        async def write():
            nonlocal head
            for number in range(1, 40):
                if number % 2:
                    head = await append(store, head, b"new", state=b"%d" % number)
                else:
                    head = await store.erase(
                        "s",
                        dict.fromkeys(range(1, 401), b"%d" % number),
                        expected=head.revision,
                        commit_id=b"%d" % number,
                        state=b"%d" % number,
                    )
                await asyncio.sleep(0.002)

        writing = asyncio.create_task(write())
        while not writing.done():
            found = await whole(other)
            assert len(found.records) == found.head.seq
            number = int(found.state) - int(found.state) % 2
            assert set(found.records[:400]) == {b"%d" % number if number else b"old"}
            loads += 1
        await writing
        assert loads > 5


async def test_a_long_load_that_is_cut_off_starts_over(opened, begin, append, monkeypatch):
    """Records that were read by a second try, behind the head, would not be those of the head."""
    async with opened() as store, opened() as other:
        head = await append(store, await begin(store), *[b"old"] * 300)
        together = store._link._together

        async def refused(address, commands):
            _, again = await together(address, commands)
            await other.erase(
                "s",
                dict.fromkeys(range(1, 301), b"new"),
                expected=head.revision,
                commit_id=b"e",
            )
            return [ResponseError("TRYAGAIN"), again]

        monkeypatch.setattr(store._link, "_together", refused)
        found = await whole(store)
        assert found.head.revision.version == head.revision.version + 1
        assert set(found.records) == {b"new"}


async def test_a_cancelled_load_leaves_its_connection_to_nobody(opened, begin):
    """Cut off at any moment, with two connections: the next calls get their own answers."""
    async with opened(max_connections=2) as store:
        await begin(store, "long", records=300)
        head = await begin(store, "short", records=1)
        for number in range(200):
            waiting = asyncio.create_task(store.load("long", after=0))
            for _ in range(number % 25):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (await whole(store, "short")).head == head
