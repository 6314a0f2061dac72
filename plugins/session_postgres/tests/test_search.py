"""Searching the texts of records, with `search = true`."""

import base64

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


@pytest.mark.parametrize("statements", WAYS)
async def test_texts_kept_since_a_process_was_opened_are_removed_by_it_too(
    opened, begin, sql, statements
):
    """It knew of no table of texts; it erases, deletes, purges, forks and replaces all the same."""
    for way in ("erase", "delete", "purge", "fork", "create"):
        sql("DROP SCHEMA IF EXISTS {} CASCADE")
        async with (
            opened(statements=statements) as old,
            opened(search=True, statements=statements) as new,
        ):
            head = await said(new, await begin(new, user_id="ann", ttl=3600), "one secret")
            fields = {"commit_id": new_commit_id()}
            if way == "erase":
                await old.erase("s", {1: b"gone"}, expected=head.revision, **fields)
            elif way == "delete":
                assert await old.delete("s")
            elif way == "fork":
                of = head.revision.incarnation
                await old.fork("s", "t", upto=1, incarnation=of, **fields)
                assert await found(new, "secret") == [("t", 1), ("s", 1)]
                continue
            else:
                sql("UPDATE {}.session SET expires_ms = 1")
                if way == "purge":
                    assert await old.purge() == 1
                else:
                    await old.create("s", **fields)
            assert sql("SELECT count(*) FROM {}.record_text") == [(0,)]


@pytest.mark.parametrize("statements", WAYS)
async def test_texts_left_behind_are_not_those_of_a_later_session(opened, begin, sql, statements):
    """Somebody removes a session without them: nobody finds them, nor are they in the way."""
    async with opened(search=True, statements=statements) as store:
        source = await said(store, await begin(store, "source"), "other")
        for way in ("create", "fork"):
            await said(store, await begin(store, user_id="ann"), "secret", "secret")
            sql(*(f"DELETE FROM {{}}.{each} WHERE id = 's'" for each in ["session"]))
            sql(
                *(f"DELETE FROM {{}}.{each} WHERE session_id = 's'" for each in ("record", "state"))
            )
            if way == "create":
                head = await begin(store, user_id="bob")
            else:
                of = source.revision.incarnation
                more = {"user_id": "bob", "commit_id": new_commit_id()}
                head = await store.fork("source", "s", upto=1, incarnation=of, **more)
            assert await found(store, "secret", user_id="bob") == []
            assert sql("SELECT count(*) FROM {}.record_text WHERE body = 'secret'") == [(0,)]
            head = await said(store, head, "mine")
            assert await found(store, "mine", user_id="bob") == [("s", head.seq)]
            await store.delete("s")


async def test_texts_of_the_first_version_are_migrated(opened, begin, sql):
    """Those of sessions that are there are found still; others are gone."""
    async with opened(search=True) as store:
        await said(store, await begin(store), "kept word")
    sql(
        "ALTER TABLE {}.record_text DROP COLUMN incarnation CASCADE",
        "ALTER TABLE {}.record_text ADD CONSTRAINT record_text_pkey PRIMARY KEY (session_id, seq)",
        "INSERT INTO {}.record_text VALUES ('gone', 1, 'lost word', 'word')",
        "UPDATE {}.schema_version SET version = 1 WHERE component = 'search'",
    )
    with pytest.raises(StoreError, match="ddl --search"):
        async with opened(create_schema=False):
            pass
    async with opened(search=True) as store:
        assert await found(store, "word") == [("s", 1)]
        await said(store, (await store.load("s")).head, "word")
        assert await found(store, "word") == [("s", 2), ("s", 1)]


@pytest.mark.parametrize(
    "query",
    [
        "-" * 20_000,
        "-" * 1000,
        "x" * 1_500_000,
        "a or " * 300_000,
        '"' * 999,
        "(" * 1000,
        " or ".join(["a"] * 200),
        "\ud800" * 1000,
    ],
    ids=range(8),
)
async def test_a_query_that_cannot_be_understood_finds_nothing(opened, begin, query):
    """However long or nested it is; and the store goes on."""
    async with opened(search=True, statement_timeout=5) as store:
        await said(store, await begin(store), "word")
        assert await found(store, query) == []
        assert await found(store, "word") == [("s", 1)]


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


DEEP = base64.urlsafe_b64encode(b"[" * 100_000).decode()


@pytest.mark.parametrize("cursor", ["", "?", "bnVsbA==", "WzEsIDJd", DEEP], ids=range(5))
async def test_a_bad_cursor_or_limit_is_refused(opened, cursor):
    """What `search` did not return is a ValueError."""
    async with opened(search=True) as store:
        with pytest.raises(ValueError, match="cursor"):
            await store.search("x", cursor=cursor)
        with pytest.raises(ValueError, match="cursor"):
            await store.list(cursor=cursor)
        with pytest.raises(ValueError, match="limit"):
            await store.search("x", limit=0)
