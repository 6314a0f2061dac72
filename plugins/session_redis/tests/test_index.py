"""Listing, purging, expiry: what stands in the indexes, and that nothing stays for ever."""

import asyncio

import pytest

from turnkeep.errors import CorruptSession, StoreError
from turnkeep.store import Capability
from turnkeep_session_redis import index, scripts
from turnkeep_session_redis.keys import Keys, Member, parse_member


def keys_of(raw, prefix):
    """All keys of the prefix but its mark."""
    return set(raw.scan_iter(f"{prefix}:*", count=1000)) - {Keys(prefix).format}


async def names(store, **question):
    return [head.session_id for head in (await store.list(**question)).heads]


async def test_every_key_of_sessions_with_a_ttl_has_one(opened, raw, prefix, begin, append):
    """The session's key to the millisecond, the indexes' some time beyond; after appends, too."""
    async with opened() as store:
        head = await begin(store, ttl=100, user_id="u", records=2)
        for _ in range(2):
            keys = keys_of(raw, prefix)
            assert len(keys) == 4  # itself, its user's, all sessions', those that are due
            for key in keys:
                assert 0 < raw.pttl(key) <= 100_000 + 2 * scripts.RENOTE_LEAST
            assert raw.pttl(Keys(prefix).session("s")) <= 100_000
            head = await append(store, head, ttl=90)


async def test_one_session_without_a_ttl_keeps_its_indexes(opened, raw, prefix, begin, append):
    """They live for ever then, until they are empty."""
    async with opened() as store:
        head = await begin(store, ttl=100, user_id="u")
        head = await append(store, head, ttl=None)
        assert all(raw.pttl(key) == -1 for key in keys_of(raw, prefix))
        await begin(store, "t", ttl=100, user_id="u")
        assert raw.pttl(Keys(prefix).user("u")) == -1
        await store.delete("s")
        await store.delete("t")
        assert not keys_of(raw, prefix)


async def test_a_list_drops_what_is_gone(opened, raw, prefix, begin):
    """A member without a session, or of an earlier life of one, is taken out by who meets it."""
    async with opened() as store:
        for name in ("a", "b", "c"):
            await begin(store, name, user_id="u")
        raw.delete(Keys(prefix).session("b"))
        key = Keys(prefix).user("u")
        assert raw.zcard(key) == 3
        assert sorted(await names(store, user_id="u")) == ["a", "c"]
        assert raw.zcard(key) == 2
        raw.delete(Keys(prefix).session("c"))
        assert await names(store) == ["a"]
        assert raw.zcard(key) == 1


async def test_an_index_that_was_lost_comes_back(opened, raw, prefix, begin, append, monkeypatch):
    """By the first append to a session, and by a later one, but not by each."""
    async with opened() as store:
        head = await begin(store, user_id="u")
        raw.delete(Keys(prefix).user("u"))
        assert await names(store, user_id="u") == []
        head = await append(store, head, b"1")
        assert await names(store, user_id="u") == ["s"]
        raw.delete(Keys(prefix).user("u"))
        head = await append(store, head, b"2")
        assert await names(store, user_id="u") == []
        head = await append(store, head, b"3", ttl=60)
        assert await names(store, user_id="u") == ["s"]


async def test_an_index_that_cannot_be_written_fails_no_write(
    opened, raw, prefix, begin, append, caplog
):
    """The session is there; a warning says that it is not listed, and an append repairs it."""
    key = Keys(prefix).user("u")
    raw.set(key, "in the way")
    async with opened() as store:
        head = await begin(store, user_id="u")
        assert "index" in caplog.text
        raw.delete(key)
        await append(store, head, b"1")
        assert await names(store, user_id="u") == ["s"]


async def test_a_note_that_failed_is_made_up_for_soon(opened, raw, prefix, begin, append):
    """After a minute, not when the next one would be due, which may be in a week."""
    key, user = Keys(prefix).session("s"), Keys(prefix).user("u")
    raw.set(user, "in the way")
    async with opened() as store:
        head = await append(store, await begin(store, user_id="u"), b"1")
        raw.delete(user)
        updated, noted = _times(raw.lindex(key, 0))
        assert noted == updated + scripts.RENOTE_SOON
        raw.lset(key, 0, _due(raw.lindex(key, 0)))  # the minute is over
        await append(store, head, b"2")
        assert await names(store, user_id="u") == ["s"]


async def test_a_note_that_was_done_is_not_repeated_soon(
    opened, raw, prefix, begin, append, monkeypatch
):
    """A quarter of the ttl, or a week; unless another has written since, or the note failed."""
    monkeypatch.setattr(index, "RENOTE_SOON", 0)  # as if each session were old
    key = Keys(prefix).session("s")
    async with opened() as store, opened() as other:
        head = await append(store, await begin(store, user_id="u"), b"1")
        updated, noted = _times(raw.lindex(key, 0))
        assert noted - updated >= scripts.RENOTE_LASTING
        head = await append(store, head, ttl=40 * 3600)
        updated, noted = _times(raw.lindex(key, 0))
        assert 0 <= noted - updated - 10 * scripts.RENOTE_LEAST < scripts.RENOTE_LEAST
        assert (await store.load("s")).head == head

        many = store._link.many

        async def late(calls):
            monkeypatch.undo()
            monkeypatch.setattr(index, "RENOTE_SOON", 0)
            await append(other, (await other.load("s")).head, b"theirs")
            return await many(calls)

        monkeypatch.setattr(store._link, "many", late)
        await append(store, head, ttl=80 * 3600)
        found = await store.load("s")
        assert list(found.records) == [b"1", b"theirs"]
        updated, noted = _times(raw.lindex(key, 0))
        assert noted <= updated + scripts.RENOTE_SOON

        raw.lset(key, 0, _due(raw.lindex(key, 0)))
        raw.delete(Keys(prefix).user("u"))
        raw.set(Keys(prefix).user("u"), "in the way")
        await append(store, found.head, b"2")
        updated, noted = _times(raw.lindex(key, 0))
        assert noted == updated + scripts.RENOTE_SOON


def _times(head):
    """When a stored head was written, and when its session is to be noted again."""
    return int.from_bytes(head[41:49]), int.from_bytes(head[65:73])


def _due(head):
    return head[:65] + bytes(8) + head[73:]


async def test_two_lives_that_begin_in_one_millisecond_are_two_members(opened, begin):
    """What takes the first out of the indexes leaves the second."""
    async with opened() as store:
        head = await begin(store, user_id="u")
        second = Member(
            *(round(head.created.timestamp() * 1000), "s", "u", head.revision.incarnation)
        )
        assert parse_member(second.encode()) == second
        await store._index.forget(second._replace(incarnation=b"the 1st!"))
        assert await names(store, user_id="u") == ["s"]
        assert await names(store) == ["s"]
        await store._index.forget(second)
        assert await names(store) == []


STRANGE = [b"", b"x", b"\xff" * 40, b"9" * 16, b"9" * 24, b"9" * 16 + b"no end" + b"12345678"]


@pytest.mark.parametrize("strange", STRANGE)
async def test_what_somebody_else_put_into_an_index_is_left_out(
    opened, raw, prefix, begin, caplog, strange
):
    """The sessions are listed and purged all the same, and the log has it."""
    async with opened() as store:
        await begin(store, "a", user_id="u")
        await begin(store, "b", user_id="u", ttl=0.05)
        for key in (Keys(prefix).user("u"), *Keys(prefix).all, *Keys(prefix).due):
            raw.zadd(key, {strange: 0})
        await asyncio.sleep(0.1)
        assert await names(store, user_id="u") == ["a"]
        assert await names(store) == ["a"]
        await begin(store, "c", user_id="u")
        await store.purge(limit=1000)
        assert await names(store, user_id="u") == ["c", "a"]
        assert not any(raw.zscore(key, strange) for key in Keys(prefix).due)
        assert "of no session" in caplog.text


@pytest.mark.parametrize("how", ["in another shard", "written otherwise"])
async def test_a_member_that_looks_like_ours_holds_up_no_purge(opened, raw, prefix, how):
    """What this store would not have put there, byte for byte, goes out."""
    member = Member(1_700_000_000_000, "gone", None, b"12345678")
    name = member.encode()
    shard = member.shard
    if how == "in another shard":
        shard = (shard + 1) % index.SHARDS
    else:
        name = b"+" + name[1:]
    raw.zadd(Keys(prefix).due[shard], {name: 1})
    async with opened() as store:
        await store.purge()
    assert not raw.exists(Keys(prefix).due[shard])


async def test_a_full_server_is_purged_as_far_as_it_goes(opened, server, prefix, begin, caplog):
    """What expired goes out and is counted; what lives cannot be put off, and ends it."""
    place = server()
    async with opened(url=place.url, retry_for=0.1) as store:
        await begin(store, "alive")
        due = Keys(prefix).due[_shard("alive")]
        place.ask("ZADD", due, 1, *place.ask("ZRANGE", due, 0, -1))
        for number in range(5):
            await begin(store, f"s{number}", ttl=0.05)
        await asyncio.sleep(0.1)
        place.ask("CONFIG", "SET", "maxmemory", "1")
        assert await store.purge() == 5
        assert "ends early, with 5" in caplog.text
        place.ask("CONFIG", "SET", "maxmemory", "0")
        assert await store.purge() == 0
        assert await names(store) == ["alive"]


@pytest.mark.parametrize("damage", ["user", "time"])
async def test_a_damaged_head_is_told_and_hides_no_others(opened, raw, prefix, begin, damage):
    """As CorruptSession; the list goes on without it, and it can be deleted."""
    async with opened() as store:
        await begin(store, "good")
        await begin(store, "bad", user_id="ann")
        key = Keys(prefix).session("bad")
        if damage == "user":
            raw.lset(key, 1, b"\xff\xfe")
        else:
            head = raw.lindex(key, 0)
            raw.lset(key, 0, head[:33] + b"\x40" + head[34:])
        with pytest.raises(CorruptSession, match="bad"):
            await store.load("bad")
        assert await names(store) == ["good"]
        assert await store.purge() == 0
        assert await store.delete("bad")
        assert await names(store) == ["good"]


async def test_a_purge_leaves_nothing_of_an_expired_session(opened, raw, prefix, begin, append):
    """Nor of many; what lives, or was written since, stays listed."""
    async with opened() as store:
        await begin(store, "lasting", user_id="u")
        head = await begin(store, "slid", user_id="u", ttl=0.2)
        await append(store, head, b"1", ttl=1000)
        for number in range(150):
            await begin(store, f"s{number}", user_id=f"u{number % 7}", ttl=0.2)
        await asyncio.sleep(0.25)
        assert await store.purge(limit=120) == 120
        assert await store.purge() == 30
        assert await store.purge() == 0
        assert len(keys_of(raw, prefix)) == 2 + 1 + 2 * len({_shard("slid"), _shard("lasting")})
        assert sorted(await names(store)) == ["lasting", "slid"]


def _shard(name):
    return Member(0, name, None, b"").shard


async def test_two_purges_count_each_session_once(opened, begin):
    """At the same moment, by two handles."""
    async with opened() as store, opened() as other:
        for number in range(60):
            await begin(store, f"s{number}", ttl=0.1)
        await asyncio.sleep(0.15)
        assert sum(await asyncio.gather(store.purge(), other.purge())) == 60


async def test_without_any_purge_new_sessions_take_old_ones_out(
    opened, raw, prefix, begin, monkeypatch
):
    """A program that never purges does not fill its indexes for ever."""
    monkeypatch.setattr(index, "GRACE", 0)
    monkeypatch.setattr(index, "SHARDS", 1)
    monkeypatch.setattr("turnkeep_session_redis.keys.SHARDS", 1)
    async with opened() as store:
        await begin(store, "lasting")
        for number in range(40):
            await begin(store, f"s{number}", ttl=0.03)
            await asyncio.sleep(0.02)
        assert raw.zcard(Keys(prefix).all[0]) < 12


async def test_a_member_put_off_is_looked_at_later_not_now(opened, raw, prefix, begin):
    """A purge whose due members all live, or cannot be read, ends."""
    async with opened() as store:
        for name in ("a", "b"):
            await begin(store, name)
            key = Keys(prefix).due[_shard(name)]
            raw.zadd(key, dict.fromkeys(raw.zrange(key, 0, -1), 1))
        raw.lset(Keys(prefix).session("b"), 0, "no head")
        assert await store.purge() == 0
        for name in ("a", "b"):
            [(_, due)] = raw.zrange(Keys(prefix).due[_shard(name)], 0, -1, withscores=True)
            assert due > 1_000_000


async def test_list_all_may_be_switched_off(opened, raw, prefix, begin):
    """Then there is no index of all, and of nobody's session none at all."""
    async with opened(list_all=False) as store:
        assert Capability.LIST_ALL not in store.capabilities
        await begin(store, "nobody's")
        assert keys_of(raw, prefix) == {Keys(prefix).session("nobody's")}
        await begin(store, "s", user_id="u")
        assert await names(store, user_id="u") == ["s"]
        with pytest.raises(StoreError, match="list_all"):
            await store.list()


async def test_pages_of_all_sessions_have_one_order(opened, begin):
    """Over all shards, with pages of any size: newest first, then by id; none lost, none twice."""
    async with opened() as store:
        for number in range(0, 300, 30):
            await asyncio.gather(*(begin(store, f"s{number + each}") for each in range(30)))
        orders = []
        for limit in (1000, 7, 64):
            order, cursor = [], None
            while True:
                page = await store.list(limit=limit, cursor=cursor)
                order += [(-head.created.timestamp(), head.session_id) for head in page.heads]
                cursor = page.cursor
                if cursor is None:
                    break
            orders.append(order)
        assert orders[0] == sorted(orders[0])
        assert len(orders[0]) == 300
        assert orders[0] == orders[1] == orders[2]


async def test_no_call_walks_through_all_keys(opened, raw, begin, append):
    """Neither SCAN nor KEYS is ever sent."""
    raw.config_resetstat()
    async with opened() as store:
        head = await begin(store, user_id="u", ttl=60, records=2)
        head = await append(store, head, b"3")
        await store.load("s")
        await store.list()
        await store.list(user_id="u")
        await store.purge()
        await store.delete("s")
    used = set(raw.info("commandstats"))
    assert not used & {"cmdstat_scan", "cmdstat_keys", "cmdstat_randomkey"}


async def test_a_load_and_an_append_are_one_round_trip(opened, raw, begin, append):
    """One script each, and nothing beside it, once a session has been noted."""
    async with opened() as store:
        head = await begin(store, user_id="u", ttl=60, records=2)
        before = raw.info("commandstats")
        head = await append(store, head, b"3")
        await store.load("s")
        after = raw.info("commandstats")
    counts = {
        name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"]
        for name in ("cmdstat_evalsha", "cmdstat_zadd", "cmdstat_time")
        if name in after
    }
    assert counts["cmdstat_evalsha"] == 2
    assert counts["cmdstat_zadd"] == 0


async def test_a_note_that_takes_too_long_leaves_no_answer_behind(
    opened, begin, append, monkeypatch, caplog
):
    """Cut off at any moment, its connection is dropped: the next calls get their own answers."""
    async with opened(max_connections=2) as store:
        for number in range(200):
            monkeypatch.setattr(index, "PATIENCE", 0.000_01 * (number % 60))
            head = await begin(store, f"s{number}", user_id="u")
            head = await append(store, head, b"%d" % number)
            found = await store.load(f"s{number}")
            assert (found.head, list(found.records)) == (head, [b"%d" % number])
        assert "may not show it yet" in caplog.text
