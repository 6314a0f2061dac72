"""Creating and appending: numbers, versions, conflicts and repeated calls."""

import asyncio
import os

import pytest

from turnkeep.errors import SessionConflict, SessionExists, SessionNotFound, StoreClosed
from turnkeep.store import Loaded, Record, Revision


def new_id():
    """Make an idempotency key."""
    return os.urandom(16)


def records(*texts):
    """Make records of these texts."""
    return [Record(text.encode()) for text in texts]


# Creating


async def test_a_new_session_is_empty_at_version_0(opened):
    """`create` answers with what load then finds: version 0, no records, the given state."""
    async with opened() as store:
        head = await store.create("s", user_id="u", state=b'{"a":1}', commit_id=new_id())
        assert head.revision.version == 0
        assert (head.seq, head.base, head.meta, head.user_id) == (0, 0, b"", "u")
        found = await store.load("s")
        assert isinstance(found, Loaded)
        assert (found.head, found.state, found.first, found.records) == (head, b'{"a":1}', 1, [])
        assert not found.more


async def test_an_existing_session_is_not_created_again(opened, begin):
    """A second create of one id raises SessionExists and changes nothing."""
    async with opened() as store:
        head = await begin(store, records=2)
        with pytest.raises(SessionExists, match="'s' exists already"):
            await store.create("s", state=b"[]", commit_id=new_id())
        assert (await store.load("s")).head == head


async def test_of_many_creators_one_wins(opened):
    """Eight creates of one id at once: one head, seven SessionExists."""
    async with opened() as store:
        tries = [store.create("s", commit_id=new_id()) for _ in range(8)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert (
            sorted(type(result).__name__ for result in results) == ["Head"] + ["SessionExists"] * 7
        )


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


# Appending


async def test_records_are_numbered_from_1_without_gaps(opened, begin):
    """Appends of 2, 0 and 3 records give seqs 1 to 5, versions 1 to 3."""
    async with opened() as store:
        head = await begin(store)
        for texts, seq, version in (("ab", 2, 1), ("", 2, 2), ("cde", 5, 3)):
            head = await store.append(
                "s", records(*texts), expected=head.revision, commit_id=new_id()
            )
            assert (head.seq, head.revision.version) == (seq, version)
        found = await store.load("s", after=0)
        assert (found.first, list(found.records)) == (1, [b"a", b"b", b"c", b"d", b"e"])


async def test_a_thousand_records_and_a_large_one_fit_in_one_append(opened, begin):
    """1,000 records, and one of 8 MB, come back byte for byte and in order."""
    async with opened() as store:
        head = await begin(store, "many", records=1000)
        assert head.seq == 1000
        assert list((await store.load("many")).records) == [b"%d" % n for n in range(1, 1001)]
        head = await begin(store, "large")
        large = os.urandom(8 << 20)
        await store.append("large", [Record(large)], expected=head.revision, commit_id=new_id())
        assert (await store.load("large")).records == [large]


async def test_what_is_not_given_stays(opened, begin):
    """meta, state and base change only where an append names them."""
    async with opened() as store:
        head = await begin(store, records=2, state=b'{"a":1}')
        head = await store.append(
            "s",
            records("3"),
            expected=head.revision,
            commit_id=new_id(),
            meta=b'{"m":1}',
            state=b'{"b":2}',
            base=3,
        )
        assert (head.meta, head.base) == (b'{"m":1}', 3)
        head = await store.append("s", records("4"), expected=head.revision, commit_id=new_id())
        found = await store.load("s")
        assert found.head == head
        assert (head.meta, head.base, found.state) == (b'{"m":1}', 3, b'{"b":2}')


async def test_a_stale_writer_conflicts_and_writes_nothing(opened, begin):
    """A wrong version raises SessionConflict with the current head; the session is unchanged."""
    async with opened() as store:
        first = await begin(store)
        head = await store.append("s", records("a"), expected=first.revision, commit_id=new_id())
        with pytest.raises(SessionConflict) as caught:
            await store.append(
                "s",
                records("lost"),
                expected=first.revision,
                commit_id=new_id(),
                meta=b"lost",
                state=b"lost",
            )
        assert caught.value.head == head
        found = await store.load("s")
        assert (found.head, found.state, found.records) == (head, b"{}", [b"a"])


async def test_a_handle_of_an_earlier_life_conflicts_at_equal_versions(opened, begin):
    """After delete and create the incarnation differs, so version 0 of before is refused."""
    async with opened() as store:
        old = await begin(store)
        await store.delete("s")
        new = await begin(store)
        assert old.revision.version == new.revision.version
        assert old.revision.incarnation != new.revision.incarnation
        with pytest.raises(SessionConflict):
            await store.append("s", [], expected=old.revision, commit_id=new_id())
        with pytest.raises(SessionConflict):
            await store.delete("s", expected=old.revision)


async def test_an_append_to_nothing_is_not_found(opened):
    """`append` to an id that was never created raises SessionNotFound, which is a KeyError."""
    async with opened() as store:
        with pytest.raises(SessionNotFound, match="no session 'none'") as caught:
            await store.append("none", [], expected=Revision(b"12345678", 0), commit_id=new_id())
        assert isinstance(caught.value, KeyError)


async def test_an_append_whose_answer_was_lost_can_be_repeated(opened, begin):
    """The same commit_id answers with the stored head and writes nothing twice."""
    async with opened() as store:
        head = await begin(store)
        key = new_id()
        first = await store.append("s", records("a"), expected=head.revision, commit_id=key)
        again = await store.append("s", records("a"), expected=head.revision, commit_id=key)
        assert first == again
        assert (await store.load("s")).records == [b"a"]


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


# Closing


async def test_a_closed_store_says_so(opened):
    """Every method of a closed store raises StoreClosed; closing again is fine."""
    revision = Revision(b"12345678", 0)
    async with opened() as store:
        await store.close()
        for call in (
            store.create("s", commit_id=new_id()),
            store.load("s"),
            store.append("s", [], expected=revision, commit_id=new_id()),
            store.delete("s"),
            store.list(),
            store.purge(),
        ):
            with pytest.raises(StoreClosed, match="sqlite store is closed"):
                await call
        await store.close()


async def test_close_waits_for_appends_in_flight(opened, begin):
    """Appends submitted before close are kept, and their callers get their heads."""
    async with opened() as store, opened():  # the file stays open for another store
        heads = [await begin(store, f"s{number}") for number in range(20)]
        appends = [
            asyncio.create_task(
                store.append(
                    head.session_id, records("a"), expected=head.revision, commit_id=new_id()
                )
            )
            for head in heads
        ]
        await asyncio.sleep(0)
        await asyncio.gather(store.close(), store.close())
        assert [append.result().seq for append in appends] == [1] * 20
    async with opened() as store:
        for head in heads:
            assert (await store.load(head.session_id)).records == [b"a"]


async def test_durability_follows_the_option(opened, tmp_path):
    """synchronous=full survives a power loss, normal the kill of the process."""
    async with opened() as full, opened(synchronous="normal") as normal:
        assert (full.durability, normal.durability) == ("power", "process")
        assert full.name == "sqlite"
