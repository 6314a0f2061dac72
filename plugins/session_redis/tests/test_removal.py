"""What a delete takes away when its answer is lost, and what an erase leaves in files."""

import pytest

from turnkeep.errors import SessionConflict
from turnkeep_session_redis.keys import Keys
from turnkeep_session_redis.scripts import DELETE


@pytest.fixture(autouse=True)
def known(raw):
    """The server knows the script, so that an answer that is cut is that of a delete done."""
    raw.script_load(DELETE.text)


@pytest.mark.parametrize("fenced", [False, True])
async def test_a_delete_whose_answer_is_lost_spares_a_session_begun_anew(
    through, opened, begin, meanwhile, fenced
):
    """It is the life that was there which goes, and that has gone: True."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        head = await begin(store, user_id="u")
        meanwhile(store, lambda: begin(other, user_id="u", records=2))
        proxy.cut_answer(after=0, of=DELETE.sha)
        assert await store.delete("s", expected=head.revision if fenced else None)
        assert proxy.cuts == 1
        assert (await store.load("s")).head.seq == 2
        assert len((await store.list(user_id="u")).heads) == 1


async def test_a_delete_of_what_is_damaged_spares_a_session_begun_anew(
    through, opened, raw, prefix, begin, meanwhile
):
    """Where there is no life to aim at, only what is no session is taken away."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        raw.rpush(Keys(prefix).session("s"), "no head")
        meanwhile(store, lambda: begin(other, records=2))
        proxy.cut_answer(after=0, of=DELETE.sha)
        assert await store.delete("s")
        assert proxy.cuts == 1
        assert (await store.load("s")).head.seq == 2


async def test_a_list_that_has_only_a_head_is_deleted(opened, raw, prefix, begin):
    """A rest of a session is no session either."""
    async with opened() as store:
        await begin(store)
        raw.ltrim(Keys(prefix).session("s"), 0, 0)
        assert await store.delete("s")
        assert await store.load("s") is None


async def test_a_delete_takes_what_is_there_now(opened, begin, append, monkeypatch):
    """Written to, or begun anew, after the look and before the delete: gone all the same."""
    async with opened() as store, opened() as other:
        run = store._link.run
        for anew in (False, True):
            head = await begin(store)
            happened = []

            async def late(*given, head=head, anew=anew, happened=happened):
                if not happened:
                    happened.append(anew)
                    if anew:
                        await other.delete("s")
                        await begin(other)
                    else:
                        await append(other, head, b"1")
                return await run(*given)

            monkeypatch.setattr(store._link, "run", late)
            assert await store.delete("s")
            monkeypatch.undo()
            assert await store.load("s") is None
            assert not (await store.list()).heads


async def test_a_delete_of_what_was_written_since_is_a_conflict(
    through, opened, begin, append, meanwhile
):
    """In the same life, so no lost try has deleted it: certain also after a lost answer."""
    proxy, url = through()
    async with proxy, opened(url=url()) as store, opened() as other:
        stale = await begin(store)
        head = await append(other, stale, b"1")
        meanwhile(store, lambda: other.load("s"))
        proxy.cut_answer(after=0, of=DELETE.sha)
        with pytest.raises(SessionConflict) as caught:
            await store.delete("s", expected=stale.revision)
        assert proxy.cuts == 1
        assert caught.value.head == head


@pytest.mark.parametrize("appendonly", ["yes", "no"])
async def test_an_erase_tells_where_its_bytes_may_still_be(
    opened, begin, server, caplog, appendonly
):
    """In files: a warning says what to do. One that is rewritten is left out, and no other."""
    url = server("--appendonly", appendonly, "--save", "").url
    for number, rewrite in enumerate((False, True)):
        async with opened(url=url, rewrite_after_erase=rewrite) as store:
            caplog.clear()
            head = await begin(store, f"s{number}", records=2)
            fields = {"expected": head.revision, "commit_id": b"e"}
            await store.erase(head.session_id, {1: b"x"}, **fields)
            assert ("run BGREWRITEAOF" in caplog.text) is not rewrite
            for word in ("BGSAVE", "replicas", "backups"):
                assert word in caplog.text
            assert list((await store.load(head.session_id)).records) == [b"x", b"2"]
