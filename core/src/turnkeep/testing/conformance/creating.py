"""Creating sessions."""

from __future__ import annotations

import asyncio

import pytest

from turnkeep.errors import SessionExists
from turnkeep.store import Head, new_commit_id
from turnkeep.testing.conformance.base import Base, Case, covers


class Creating(Base):
    """What `create` shows."""

    @covers("S1")
    async def test_a_new_session_is_empty_at_version_0(self, case: Case) -> None:
        """Create answers with the head that load then finds: version 0, no records."""
        name = case.new_id()
        head = await case.begin(session_id=name, user_id="u", state=b'{"a":1}', ttl=60)
        assert (head.session_id, head.user_id, head.ttl) == (name, "u", 60)
        assert (head.revision.version, head.seq, head.base, head.meta) == (0, 0, 0, b"")
        found = await case.whole(name)
        assert (found.head, found.state) == (head, b'{"a":1}')
        assert (found.first, list(found.records), found.more) == (1, [], False)

    @covers("S1")
    async def test_a_session_needs_no_user_and_no_ttl(self, case: Case) -> None:
        """What create is not given is: no user, no expiry, an empty object as state."""
        head = await case.begin()
        assert (head.user_id, head.ttl, head.expires) == (None, None, None)
        assert (await case.whole(head.session_id)).state == b"{}"

    @covers("S2")
    async def test_an_existing_session_is_not_created_again(self, case: Case) -> None:
        """A second create of one id is SessionExists and changes nothing."""
        head = await case.begin(b"a", b"b")
        with pytest.raises(SessionExists):
            await case.begin(session_id=head.session_id, state=b"[]")
        found = await case.whole(head.session_id)
        assert (found.head, found.state, list(found.records)) == (head, b"{}", [b"a", b"b"])

    @covers("S3", "D2")
    async def test_of_many_creators_one_wins(self, case: Case) -> None:
        """Eight creates of one id at once, by two handles: one head, seven SessionExists."""
        name = case.new_id()
        async with case.open() as other:
            results = await asyncio.gather(
                *[
                    case.begin(session_id=name, store=store)
                    for store in (case.store, other)
                    for _ in range(4)
                ],
                return_exceptions=True,
            )
        kinds = sorted(type(result).__name__ for result in results)
        assert kinds == ["Head"] + ["SessionExists"] * 7
        [head] = [result for result in results if isinstance(result, Head)]
        assert (await case.whole(name)).head == head

    @covers("S4")
    async def test_of_many_who_get_or_create_all_have_the_same_session(self, case: Case) -> None:
        """Load, else create, else load again: eight at once end with one incarnation."""
        name = case.new_id()

        async def get_or_create() -> bytes:
            if (found := await case.store.load(name)) is not None:
                return found.head.revision.incarnation
            try:
                return (await case.begin(session_id=name)).revision.incarnation
            except SessionExists:
                return (await case.whole(name)).head.revision.incarnation

        assert len(set(await asyncio.gather(*[get_or_create() for _ in range(8)]))) == 1

    @covers("D3")
    async def test_a_create_whose_answer_was_lost_can_be_repeated(self, case: Case) -> None:
        """The same commit id answers with the head that it made, by another handle too."""
        name, key = case.new_id(), new_commit_id()
        head = await case.store.create(name, user_id="u", state=b"[1]", commit_id=key)
        async with case.open() as other:
            for store in (case.store, other):
                again = await store.create(name, user_id="u", state=b"[1]", commit_id=key)
                assert again == head

    @covers("D2")
    async def test_each_session_has_an_incarnation_of_its_own(self, case: Case) -> None:
        """Ten new sessions have ten different incarnations."""
        heads = [await case.begin() for _ in range(10)]
        assert len({head.revision.incarnation for head in heads}) == 10
