"""Searching the texts of records, with `search = true`."""

import pytest

from turnkeep.errors import StoreError
from turnkeep.store import Capability, Record, new_commit_id

WAYS = ["single", "plain"]


async def said(store, head, *texts, **more):
    records = [Record(b"%d" % number, text) for number, text in enumerate(texts)]
    return await store.append(
        head.session_id, records, expected=head.revision, commit_id=new_commit_id(), **more
    )


async def found(store, query, **more):
    return [(hit.session_id, hit.seq) for hit in (await store.search(query, **more)).hits]


@pytest.mark.parametrize("statements", WAYS)
async def test_words_are_found_where_they_were_said(opened, begin, statements):
    """All words of the query, in any case; newest session first, last record first."""
    async with opened(search=True, statements=statements) as store:
        assert Capability.SEARCH in store.capabilities
        for name in ("a", "b"):
            head = await begin(store, name)
            await said(store, head, "The quick fox", None, "a quick brown fox", state=b"s")
        assert await found(store, "FOX quick") == [("b", 3), ("b", 1), ("a", 3), ("a", 1)]
        assert await found(store, "brown fox") == [("b", 3), ("a", 3)]
        assert await found(store, '"quick fox"') == [("b", 1), ("a", 1)]
        assert (
            await found(store, "wolf") == await found(store, "") == await found(store, "\0") == []
        )
        [hit, *_] = (await store.search("brown")).hits
        assert hit.excerpt == "a quick brown fox"


async def test_a_user_finds_only_their_own(opened, begin):
    """With a user id, sessions of others and of nobody are not searched."""
    async with opened(search=True) as store:
        for name, user in (("a", "ann"), ("b", "bob"), ("n", None)):
            await said(store, await begin(store, name, user_id=user), "secret")
        assert await found(store, "secret", user_id="ann") == [("a", 1)]
        assert len(await found(store, "secret")) == 3


async def test_pages_of_hits_have_no_gap_and_no_overlap(opened, begin):
    """With a limit of 2 the pages together are the whole."""
    async with opened(search=True) as store:
        for name in ("a", "b"):
            await said(store, await begin(store, name), *["word"] * 3)
        whole = await found(store, "word")
        pages, cursor = [], None
        while True:
            page = await store.search("word", limit=2, cursor=cursor)
            pages += [(hit.session_id, hit.seq) for hit in page.hits]
            if (cursor := page.cursor) is None:
                break
        assert pages == whole
        assert len(whole) == 6


@pytest.mark.parametrize("statements", WAYS)
async def test_what_is_erased_deleted_or_expired_is_not_found(opened, begin, sql, statements):
    """Its text is gone with it, also where the process that removes it does not search itself."""
    async with (
        opened(search=True, statements=statements) as store,
        opened(statements=statements) as other,
    ):
        for name in ("erased", "deleted", "forked"):
            await said(store, await begin(store, name), "password one", "password two")
        head = (await other.load("erased")).head
        fields = {"expected": head.revision, "commit_id": new_commit_id()}
        await other.erase("erased", {1: b"gone"}, **fields)
        assert await other.delete("deleted")
        source = (await other.load("forked")).head.revision.incarnation
        await other.fork("forked", "fork", upto=1, incarnation=source, commit_id=new_commit_id())
        assert set(await found(store, "password")) == {
            ("erased", 2),
            ("forked", 1),
            ("forked", 2),
            ("fork", 1),
        }
        assert sql("SELECT count(*) FROM {}.record_text")[0][0] == 4
        sql("UPDATE {}.session SET expires_ms = 0 WHERE id = 'fork'")
        assert ("fork", 1) not in await found(store, "password")
        assert await other.purge() == 1
        assert sql("SELECT count(*) FROM {}.record_text")[0][0] == 3


@pytest.mark.parametrize(
    "text", ["", "\0", "\ud800 half", "x" * 3_000_000, " ".join(map(str, range(200_000)))]
)
async def test_any_text_can_be_kept(opened, begin, text):
    """Also one that holds what PostgreSQL's texts cannot, or more words than an index entry."""
    async with opened(search=True) as store:
        head = await said(store, await begin(store), text)
        assert (await store.load("s")).head == head


async def test_a_store_without_texts_says_so(opened):
    """Searching without search = true is an error that names the option."""
    async with opened() as store:
        assert Capability.SEARCH not in store.capabilities
        with pytest.raises(StoreError, match="search = true"):
            await store.search("x")


@pytest.mark.parametrize("cursor", ["", "?", "bnVsbA==", "WzEsIDJd"])
async def test_a_bad_cursor_or_limit_is_refused(opened, cursor):
    """What `search` did not return is a ValueError."""
    async with opened(search=True) as store:
        with pytest.raises(ValueError, match="cursor"):
            await store.search("x", cursor=cursor)
        with pytest.raises(ValueError, match="limit"):
            await store.search("x", limit=0)
