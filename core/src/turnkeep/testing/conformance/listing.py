"""Listing sessions."""

from __future__ import annotations

import asyncio

import pytest

from turnkeep.store import Capability, Head
from turnkeep.testing.conformance.base import Base, Case, covers, invalid


async def _all(case: Case, user: str, limit: int) -> list[Head]:
    """Read all pages of one user."""
    heads: list[Head] = []
    cursor: str | None = None
    while True:
        page = await case.store.list(user_id=user, limit=limit, cursor=cursor)
        assert len(page.heads) <= limit
        heads += page.heads
        cursor = page.cursor
        if cursor is None:
            return heads
        assert len(heads) < 100, "the pages never end"


class Listing(Base):
    """What `list` shows."""

    @covers("S44", "D8")
    async def test_sessions_are_listed_newest_first(self, case: Case) -> None:
        """By the time of creation, not of the last change."""
        user = case.new_id("user")
        heads = []
        for _ in range(4):
            heads.append(await case.begin(user_id=user))
            await asyncio.sleep(0.005)
        heads[0] = await case.append(heads[0], b"1")
        page = await case.store.list(user_id=user)
        assert list(page.heads) == heads[::-1]

    @covers("S44", "D8")
    async def test_pages_have_no_gap_and_no_overlap(self, case: Case) -> None:
        """Pages of three, of one and of all show each of seven sessions once, in one order."""
        user = case.new_id("user")
        names = {(await case.begin(user_id=user)).session_id for _ in range(7)}
        orders = [
            [head.session_id for head in await _all(case, user, limit)] for limit in (3, 1, 100)
        ]
        assert orders[0] == orders[1] == orders[2]
        assert set(orders[0]) == names
        assert len(orders[0]) == 7

    @covers("S44", "D8")
    async def test_pages_are_stable_under_writes(self, case: Case) -> None:
        """Sessions that come, go and change between two pages move no other one."""
        user = case.new_id("user")
        heads = []
        for _ in range(8):
            heads.append(await case.begin(user_id=user))
            await asyncio.sleep(0.002)
        first = await case.store.list(user_id=user, limit=3)
        await case.begin(user_id=user)
        await case.begin(user_id=user)
        await case.store.delete(first.heads[2].session_id)
        for head in (heads[0], heads[3]):
            await case.append(head, b"1")
        rest = await case.store.list(user_id=user, limit=100, cursor=first.cursor)
        seen = [head.session_id for head in [*first.heads, *rest.heads]]
        assert seen == [head.session_id for head in heads[::-1]]

    @covers("D8")
    async def test_a_cursor_outlives_the_session_that_it_names(self, case: Case) -> None:
        """With the last session of a page deleted, the next page still follows it."""
        user = case.new_id("user")
        for _ in range(4):
            await case.begin(user_id=user)
        names = [head.session_id for head in await _all(case, user, 100)]
        first = await case.store.list(user_id=user, limit=2)
        for head in first.heads:
            await case.store.delete(head.session_id)
        rest = await case.store.list(user_id=user, limit=2, cursor=first.cursor)
        assert [head.session_id for head in rest.heads] == names[2:]

    @covers("D8")
    async def test_a_full_page_without_a_rest_has_no_cursor(self, case: Case) -> None:
        """Two sessions with limit 2: both, and no cursor; with limit 1: one, and a cursor."""
        user = case.new_id("user")
        for _ in range(2):
            await case.begin(user_id=user)
        page = await case.store.list(user_id=user, limit=2)
        assert (len(page.heads), page.cursor) == (2, None)
        page = await case.store.list(user_id=user, limit=1)
        assert len(page.heads) == 1
        assert isinstance(page.cursor, str)

    @covers("S45", "D8")
    async def test_a_user_sees_only_their_own(self, case: Case) -> None:
        """Neither another user's sessions nor those of nobody; a stranger sees none."""
        ann, bob = case.new_id("user"), case.new_id("user")
        own = [await case.begin(user_id=ann), await case.begin(user_id=ann)]
        await case.begin(user_id=bob)
        await case.begin()
        page = await case.store.list(user_id=ann)
        assert {head.session_id for head in page.heads} == {head.session_id for head in own}
        page = await case.store.list(user_id=case.new_id("user"))
        assert (list(page.heads), page.cursor) == ([], None)

    @covers("D8")
    async def test_list_shows_the_heads_that_load_shows(self, case: Case) -> None:
        """Seq, revision, meta, times and ttl in a list are the current ones."""
        user = case.new_id("user")
        head = await case.begin(b"1", user_id=user, ttl=60)
        head = await case.append(head, b"2", meta=b"m", base=1)
        assert list((await case.store.list(user_id=user)).heads) == [head]
        assert (await case.whole(head.session_id)).head == head

    @covers("D8")
    async def test_without_a_user_all_sessions_are_listed(self, case: Case) -> None:
        """With the capability `list_all`: of every user, and of none."""
        case.needs(Capability.LIST_ALL)
        wanted = {
            (await case.begin(user_id=user)).session_id for user in (None, case.new_id("user"))
        }
        seen: set[str] = set()
        cursor: str | None = None
        while not wanted <= seen:
            page = await case.store.list(cursor=cursor)
            seen |= {head.session_id for head in page.heads}
            cursor = page.cursor
            if cursor is None:
                break
        assert wanted <= seen

    @pytest.mark.parametrize("cursor", ["", "?", "\u00e9", "bnVsbA==", "[1]", "0", "-1"])
    @covers("D8")
    async def test_a_bad_cursor_is_refused(self, case: Case, cursor: str) -> None:
        """What `list` did not return is a ValueError."""
        with invalid():
            await case.store.list(user_id=case.new_id("user"), cursor=cursor)

    @covers("D8")
    async def test_a_list_refuses_a_limit_below_1(self, case: Case) -> None:
        """A limit below 1 is a ValueError."""
        for limit in (0, -1):
            with invalid():
                await case.store.list(user_id=case.new_id("user"), limit=limit)
