"""Listing, and the ids it lists."""

import os

import pytest

from turnkeep.store import Capability, Revision


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


# Listing


async def test_list_pages_newest_first_and_stable_under_writes(opened, begin, clock):
    """Pages by (created, id) show each session once although others come, go and change."""
    async with opened() as store:
        heads = {}
        for number in range(10):
            clock.now += number % 2  # pairs of equal times: the id decides
            heads[f"s{number}"] = await begin(store, f"s{number}")
        expected = sorted(heads, key=lambda name: (-heads[name].created.timestamp(), name))
        seen, cursor = [], None
        while True:
            page = await store.list(limit=3, cursor=cursor)
            seen += [head.session_id for head in page.heads]
            clock.now += 1
            await begin(store, f"new{len(seen)}")
            touched = heads[seen[0]]
            heads[seen[0]] = await store.append(
                seen[0], [], expected=touched.revision, commit_id=new_id()
            )
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == expected


async def test_list_shows_one_users_sessions_byte_for_byte(opened, begin):
    """Users that differ by case, trailing space or Unicode form are different; None lists all."""
    users = ["ann", "Ann", "ann ", "\u00e9", "e\u0301", None]
    async with opened() as store:
        assert Capability.LIST_ALL in store.capabilities
        for number, user in enumerate(users):
            await begin(store, f"s{number}", user_id=user)
        for number, user in enumerate(users[:-1]):
            page = await store.list(user_id=user)
            assert [head.session_id for head in page.heads] == [f"s{number}"]
        assert len((await store.list()).heads) == len(users)


async def test_list_sees_what_load_sees(opened, begin):
    """The head in a list is the head of a load, and a full page without a rest has no cursor."""
    async with opened() as store:
        await begin(store, records=3, user_id="u", ttl=60)
        page = await store.list(limit=1)
        assert page.heads == [(await store.load("s")).head]
        assert page.cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "\u00e9", "bnVsbA==", "WzEsMl0=", "WzEuNSwiYSJd"])
async def test_a_bad_cursor_is_an_error(opened, cursor):
    """What list did not return is no cursor: ValueError."""
    async with opened() as store:
        with pytest.raises(ValueError, match="cursor"):
            await store.list(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, True])
async def test_a_bad_limit_is_an_error(opened, begin, limit):
    """Limits below 1 are refused by load, list and purge."""
    async with opened() as store:
        await begin(store)
        for call in (
            store.load("s", limit=limit),
            store.list(limit=limit),
            store.purge(limit=limit),
        ):
            with pytest.raises(ValueError, match="limit"):
                await call


# Ids


@pytest.mark.parametrize(
    "name",
    ["a:b/../{c}*%_'\";--", " ", "\u00e9\U0001f600", "x" * 512, "\n\t", "1", "\ufeff", "\u200b"],
)
async def test_any_unicode_is_an_id(opened, begin, name):
    """Separators, quotes, blanks, emoji and 512 bytes round trip as session and user ids."""
    async with opened() as store:
        head = await begin(store, name, records=1, user_id=name)
        assert (await store.load(name)).head == head
        page = await store.list(user_id=name)
        assert page.heads == [head]
        await begin(store, "other", user_id="other")
        page = await store.list(limit=1)
        assert (await store.list(limit=1, cursor=page.cursor)).heads != page.heads


async def test_ids_differ_by_every_byte(opened, begin):
    """Case, composition, blanks and digits make different sessions."""
    names = ["a", "A", "a ", "\u00e9", "e\u0301", "1", "01", "1.0"]
    async with opened() as store:
        for name in names:
            await begin(store, name)
        assert len((await store.list()).heads) == len(names)


@pytest.mark.parametrize("name", ["", "x" * 513, "a\0b", "\ud800"])
async def test_what_is_no_id_is_refused_everywhere(opened, begin, name):
    """Empty, too long, with NUL or half a surrogate pair: ValueError by every method."""
    revision = Revision(b"12345678", 0)
    async with opened() as store:
        for call in (
            store.create(name, commit_id=new_id()),
            store.create("s", user_id=name, commit_id=new_id()),
            store.load(name),
            store.append(name, [], expected=revision, commit_id=new_id()),
            store.delete(name),
            store.list(user_id=name),
        ):
            with pytest.raises(ValueError, match="id"):
                await call
