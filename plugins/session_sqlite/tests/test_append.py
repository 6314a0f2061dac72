"""Creating and appending, as far as the conformance suite does not ask for it."""

import os

import pytest

from turnkeep.errors import SessionExists
from turnkeep.store import Record


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


def records(*texts):
    """Make records of these texts."""
    return [Record(text.encode()) for text in texts]


async def test_a_create_whose_answer_was_lost_can_be_repeated(opened, begin):
    """The same commit_id at version 0 answers with the head it made; another is SessionExists."""
    async with opened() as store:
        key = new_id()
        head = await store.create("s", commit_id=key)
        assert await store.create("s", commit_id=key) == head
        for again in (new_id(), key):  # even where an append used the create's key
            head = await store.append("s", [], expected=head.revision, commit_id=again)
            with pytest.raises(SessionExists):
                await store.create("s", commit_id=key)


async def test_a_base_beyond_the_log_is_refused(opened, begin):
    """A base that is no record of the session is a ValueError, and nothing is written."""
    async with opened() as store:
        head = await begin(store, records=2)
        for base in (-1, 4):
            with pytest.raises(ValueError, match="base"):
                await store.append(
                    "s", records("x"), expected=head.revision, commit_id=new_id(), base=base
                )
        assert (await store.load("s")).head == head


async def test_durability_follows_the_option(opened, tmp_path):
    """synchronous=full survives a power loss, normal the kill of the process."""
    async with opened() as full, opened(synchronous="normal") as normal:
        assert (full.durability, normal.durability) == ("power", "process")
        assert full.name == "sqlite"
