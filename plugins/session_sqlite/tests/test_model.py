"""The store against the one in memory: whatever is done to both, both answer alike."""

import asyncio
import itertools
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnkeep.errors import StoreError
from turnkeep.store import KEEP, Head, Loaded, NotModified, Page, Record, Revision
from turnkeep.stores.memory import MemoryStore
from turnkeep_session_sqlite.store import SqliteStore

IDS = st.sampled_from(["a", "A", "b/\u00e9", "c"])
USERS = st.sampled_from([None, "u", "U"])
# Few values, so that retries, conflicts, expiry and equal times happen often.
KEYS = st.integers(0, 3)
BYTES = st.one_of(st.none(), st.binary(max_size=8))
TTLS = st.sampled_from([None, 1, 2.5])
LIMITS = st.one_of(st.none(), st.integers(1, 4))

OPERATIONS = st.one_of(
    st.tuples(st.just("create"), IDS, USERS, st.binary(max_size=8), TTLS, KEYS),
    st.tuples(
        st.just("append"),
        IDS,
        st.integers(0, 3),  # records
        st.sampled_from(["head", "head", "head", "older", "alien"]),
        KEYS,
        BYTES,
        BYTES,
        st.one_of(st.none(), st.integers(0, 6)),
        st.one_of(st.just(KEEP), TTLS),
    ),
    st.tuples(
        st.just("load"),
        IDS,
        st.one_of(st.none(), st.integers(0, 8)),
        LIMITS,
        st.sampled_from(["none", "head", "older"]),
    ),
    st.tuples(st.just("delete"), IDS, st.sampled_from(["none", "head", "older"])),
    st.tuples(st.just("list"), USERS, st.integers(1, 3)),
    st.tuples(st.just("purge"), st.integers(1, 3)),
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 400, 1000, 3000, -500])),
    st.tuples(st.just("reopen")),
)


class Pair:
    """Both stores, on one clock that the test moves."""

    def __init__(self, path):
        self.path = path
        self.ms = 1_700_000_000_000
        self.memory = MemoryStore(clock=lambda: datetime.fromtimestamp(self.ms / 1000, UTC))
        self.sqlite = None
        self.numbers = itertools.count()

    async def open(self):
        if self.sqlite is not None:
            await self.sqlite.close()
        self.sqlite = await SqliteStore.open(self.path, synchronous="normal", clock=lambda: self.ms)

    async def revision(self, store, name, which):
        """The revision a caller would give: of now, of one append ago, or of another life."""
        found = await store.load(name)
        if which == "none" or found is None:
            return None if which == "none" else Revision(b"elsewhere", 0)
        revision = found.head.revision
        if which == "older":
            return Revision(revision.incarnation, revision.version - 1)
        return revision if which == "head" else Revision(b"elsewhere", revision.version)

    async def one(self, store, operation, data):
        """Do an operation; gives its outcome in a form that both stores share."""
        kind, *rest = operation
        try:
            match kind:
                case "create":
                    name, user, state, ttl, key = rest
                    return shape(
                        await store.create(
                            name, user_id=user, state=state, ttl=ttl, commit_id=b"%d" % key
                        )
                    )
                case "append":
                    name, _, which, key, meta, state, base, ttl = rest
                    found = await store.load(name)
                    if base is not None:
                        base = min(base, (found.head.seq if found else 0) + len(data))
                    return shape(
                        await store.append(
                            name,
                            [Record(each) for each in data],
                            expected=await self.revision(store, name, which),
                            commit_id=b"%d" % key,
                            meta=meta,
                            state=state,
                            base=base,
                            ttl=ttl,
                        )
                    )
                case "load":
                    name, after, limit, which = rest
                    known = await self.revision(store, name, which)
                    return shape(await store.load(name, after=after, limit=limit, known=known))
                case "delete":
                    name, which = rest
                    return await store.delete(
                        name, expected=await self.revision(store, name, which)
                    )
                case "list":
                    user, limit = rest
                    pages, cursor = [], None
                    while True:
                        page = await store.list(user_id=user, limit=limit, cursor=cursor)
                        pages.append(shape(page))
                        if (cursor := page.cursor) is None:
                            return pages
                case "purge":
                    total = 0  # which ones a limit leaves for later is not promised
                    while gone := await store.purge(limit=rest[0]):
                        total += gone
                    return total
        except StoreError as error:
            return type(error), shape(getattr(error, "head", None))


def shape(value):
    """What must be equal: all but the random incarnation and the opaque cursor."""
    match value:
        case Head():
            return value._replace(revision=value.revision.version)
        case Loaded():
            return value._replace(head=shape(value.head), records=list(value.records))
        case NotModified():
            return value._replace(head=shape(value.head))
        case Page():
            return [shape(head) for head in value.heads], value.cursor is None
        case _:
            return value


async def play(path, operations):
    """Do all operations to both stores and compare each outcome, then everything kept."""
    pair = Pair(path)
    await pair.open()
    try:
        for operation in operations:
            if operation[0] == "tick":
                pair.ms += operation[1]
            elif operation[0] == "reopen":
                await pair.open()
            else:
                data = []
                if operation[0] == "append":
                    data = [b"%d" % next(pair.numbers) for _ in range(operation[2])]
                expected = await pair.one(pair.memory, operation, data)
                assert await pair.one(pair.sqlite, operation, data) == expected
        for name in ("a", "A", "b/\u00e9", "c"):
            load = ("load", name, 0, None, "none")
            assert await pair.one(pair.sqlite, load, []) == await pair.one(pair.memory, load, [])
    finally:
        await pair.sqlite.close()


def compare(operations):
    """Play on a fresh file."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "x.db", operations))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(OPERATIONS, min_size=1, max_size=40))
def test_it_answers_like_the_store_in_memory(operations):
    """Any run of creates, appends, retries, loads, deletes, lists, purges and clock steps."""
    compare(operations)


@pytest.mark.prove
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(OPERATIONS, min_size=10, max_size=120))
def test_it_answers_like_the_store_in_memory_for_long(operations):
    """The same with thousands of longer runs."""
    compare(operations)


async def test_the_model_is_no_stub(tmp_path):
    """The comparison notices a difference: a store that forgets a record is caught."""

    class Forgetful(SqliteStore):
        async def append(self, name, data, **more):
            return await super().append(name, data[:-1], **more)

    pair = Pair(tmp_path / "x.db")
    await pair.open()
    try:
        for store in (pair.memory, pair.sqlite):
            await store.create("a", commit_id=b"1")
        pair.sqlite.__class__ = Forgetful
        operation = ("append", "a", 1, "head", 2, None, None, None, KEEP)
        expected = await pair.one(pair.memory, operation, [b"x"])
        assert await pair.one(pair.sqlite, operation, [b"x"]) != expected
    finally:
        await pair.sqlite.close()
