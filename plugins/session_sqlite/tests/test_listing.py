"""Listing, with a clock that the test moves; the rest is in the conformance suite."""

import os

import pytest


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


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


@pytest.mark.parametrize("cursor", ["", "x", "\u00e9", "bnVsbA==", "WzEsMl0=", "WzEuNSwiYSJd"])
async def test_a_bad_cursor_is_an_error(opened, cursor):
    """What list did not return is no cursor: ValueError."""
    async with opened() as store:
        with pytest.raises(ValueError, match="cursor"):
            await store.list(cursor=cursor)


@pytest.mark.parametrize("limit", [True, False])
async def test_a_truth_value_is_no_limit(opened, begin, limit):
    """A truth value is no number to load, list and purge."""
    async with opened() as store:
        await begin(store)
        for call in (
            store.load("s", limit=limit),
            store.list(limit=limit),
            store.purge(limit=limit),
        ):
            with pytest.raises(ValueError, match="limit"):
                await call
