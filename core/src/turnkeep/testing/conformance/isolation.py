"""Ids: what they may hold, and that nothing in them means anything."""

from __future__ import annotations

import os
from typing import Final

import pytest

from turnkeep.errors import SessionExists
from turnkeep.store import new_commit_id
from turnkeep.testing.conformance.base import NOBODY, Base, Case, covers, invalid

ODD: Final = {
    "separators": "a:b/c\\d|e",
    "dots": "../..",
    "braces": "{a}{}",
    "wildcards": "*?[a]%_",
    "quotes": "'\"`;--",
    "blanks": " \n\t ",
    "emoji": "\U0001f600\u200b",
    "digits": "0001.0",
}
ALIKE: Final = {
    "case": ("k", "K"),
    "case beyond ASCII": ("stra\u00dfe\u00e9", "STRASSE\u00c9"),
    "composition": ("\u00e9", "e\u0301"),
    "blank at the end": ("k", "k "),
    "blank in front": ("k", " k"),
    "number": ("1", "1.0"),
    "wildcard": ("k%", "kxx"),
    "escape": ("k/l", "k%2Fl"),
    "path": ("k/../l", "l"),
    "width": ("k", "\uff4b"),
}
BAD: Final = {"empty": "", "too long": "x" * 513, "NUL": "a\0b", "surrogate": "\ud800"}


class Isolation(Base):
    """What ids show."""

    @pytest.mark.parametrize("kind", list(ODD))
    @covers("S29", "D7")
    async def test_any_character_may_stand_in_an_id(self, case: Case, kind: str) -> None:
        """Separators, wildcards, quotes, blanks and emoji are kept as they are."""
        name = case.use_id(ODD[kind] + case.new_id())
        head = await case.begin(b"1", session_id=name)
        assert head.session_id == name
        assert list((await case.whole(name)).records) == [b"1"]
        assert (await case.whole(name)).head == head
        assert await case.store.delete(name)

    @pytest.mark.parametrize("kind", list(ODD))
    @covers("S29", "D7")
    async def test_any_character_may_stand_in_a_user_id(self, case: Case, kind: str) -> None:
        """A user id is an id too: kept, and found by `list`, as it is."""
        user = ODD[kind] + os.urandom(8).hex()
        head = await case.begin(user_id=user)
        assert head.user_id == user
        assert [each.user_id for each in (await case.store.list(user_id=user)).heads] == [user]

    @covers("S30", "D7")
    async def test_ids_of_512_bytes_differ_in_the_last(self, case: Case) -> None:
        """Two session ids of 512 bytes that share 511 are two sessions."""
        stem = case.new_id().ljust(510, "x")
        for end in ("aa", "ab"):
            await case.begin(end.encode(), session_id=case.use_id(stem + end))
        for end in ("aa", "ab"):
            assert list((await case.whole(stem + end)).records) == [end.encode()]

    @covers("S30", "D7")
    async def test_the_limit_is_in_bytes(self, case: Case) -> None:
        """256 characters of two bytes each are an id, 257 are none."""
        name = case.use_id(case.new_id().ljust(256, "\u00e9")[:256])
        name = case.use_id(name + "\u00e9" * ((512 - len(name.encode())) // 2))
        head = await case.begin(session_id=name)
        assert (await case.whole(name)).head == head
        with invalid():
            await case.begin(session_id=name + "\u00e9")

    @pytest.mark.parametrize("kind", list(ALIKE))
    @covers("S31", "D7")
    async def test_ids_are_compared_byte_for_byte(self, case: Case, kind: str) -> None:
        """Ids that differ in case, composition, blanks, escapes … are different sessions."""
        stem = case.new_id()
        names = [case.use_id(f"{each}{stem}{each}") for each in ALIKE[kind]]
        for name in names:
            await case.begin(name.encode(), session_id=name)
        for name in names:
            assert list((await case.whole(name)).records) == [name.encode()]
        assert await case.store.delete(names[0])
        assert list((await case.whole(names[1])).records) == [names[1].encode()]

    @pytest.mark.parametrize("kind", list(ALIKE))
    @covers("S31", "D7")
    async def test_user_ids_are_compared_byte_for_byte(self, case: Case, kind: str) -> None:
        """`list` shows a user's own sessions, not those of one who is called nearly alike."""
        stem = os.urandom(8).hex()
        users = [f"{each}{stem}{each}" for each in ALIKE[kind]]
        for user in users:
            await case.begin(user_id=user)
        for user in users:
            assert [each.user_id for each in (await case.store.list(user_id=user)).heads] == [user]

    @covers("S28", "D7")
    async def test_a_session_id_is_taken_for_every_user(self, case: Case) -> None:
        """Session ids are global: the id of one user's session is no free id for another."""
        head = await case.begin(user_id="ann")
        with pytest.raises(SessionExists):
            await case.begin(session_id=head.session_id, user_id="bob")
        assert (await case.whole(head.session_id)).head.user_id == "ann"

    @pytest.mark.parametrize("kind", list(BAD))
    @covers("S19", "S30", "D7")
    async def test_what_is_no_id_is_refused(self, case: Case, kind: str) -> None:
        """Empty, too long, with NUL or half a surrogate pair: a ValueError by every method."""
        name, store = BAD[kind], case.store
        for calling in (
            lambda: store.create(name, commit_id=new_commit_id()),
            lambda: store.load(name),
            lambda: store.append(name, [], expected=NOBODY, commit_id=new_commit_id()),
            lambda: store.delete(name),
        ):
            with invalid():
                await calling()

    @pytest.mark.parametrize("kind", list(BAD))
    @covers("S19", "S30", "D7")
    async def test_what_is_no_user_id_is_refused(self, case: Case, kind: str) -> None:
        """The same holds for user ids, in `create` and in `list`."""
        user, store = BAD[kind], case.store
        for calling in (
            lambda: store.create(case.new_id(), user_id=user, commit_id=new_commit_id()),
            lambda: store.list(user_id=user),
        ):
            with invalid():
                await calling()
