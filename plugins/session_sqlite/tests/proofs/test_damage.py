"""Damaged files: what cannot be read is named, never skipped, and what is whole can be read."""

import os
import re
import sqlite3

import pytest

from turnkeep.codec import decode_event
from turnkeep.errors import CorruptSession, StoreError
from turnkeep.store import Record

PAGE = 4096
SESSIONS = 60
BIG = 20_000
"""Bytes of the session "big"'s records, each of which fills pages of its own."""


def data(session, seq, size=200):
    """A record that tells whose it is."""
    return (f"{session} {seq} " * size)[:size].encode()


@pytest.fixture
def pages(path):
    """Pages of the file, by what they hold: the tables' and the indexes' trees, and their kinds."""

    def find():
        connection = sqlite3.connect(path)
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))
        connection.close()
        content = path.read_bytes()
        return {name: _leaves(content, root) for name, root in roots.items()}

    return find


def _leaves(content, number):
    """Leaf pages under a page (https://sqlite.org/fileformat.html#b_tree_pages)."""
    page = content[(number - 1) * PAGE : number * PAGE]
    kind, cells = page[0], int.from_bytes(page[3:5])
    if kind in {0x0A, 0x0D}:
        return [number]
    pointers = [int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell]) for cell in range(cells)]
    children = [int.from_bytes(page[at : at + 4]) for at in pointers]
    children.append(int.from_bytes(page[8:12]))
    return [leaf for child in children for leaf in _leaves(content, child)]


def overwrite(path, number, filling):
    """Put other bytes in the place of a page of a closed file."""
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write((filling * PAGE)[:PAGE])


async def fill(store):
    """Sessions of ten small records, made in turn so that a page holds several sessions' records."""
    heads = {}
    for number in range(SESSIONS):
        name = f"s{number:02}"
        head = await store.create(name, commit_id=b"1", user_id="me", state=name.encode())
        records = [Record(data(name, seq)) for seq in range(1, 11)]
        heads[name] = await store.append(
            name, records, expected=head.revision, commit_id=os.urandom(16)
        )
    head = await store.create("big", commit_id=b"1", state=b"big")
    records = [Record(data("big", seq, BIG)) for seq in range(1, 6)]
    heads["big"] = await store.append("big", records, expected=head.revision, commit_id=b"2")
    return heads


async def survey(store, heads):
    """Load everything; gives the errors, by session. What is loaded without one must be whole."""
    errors = {}
    for name, head in heads.items():
        try:
            found = await store.load(name, after=0)
        except StoreError as error:
            errors[name] = error
            continue
        assert found is not None, f"{name} was skipped"
        assert (found.head, found.state) == (head, name.encode())
        size = BIG if name == "big" else 200
        assert list(found.records) == [data(name, n, size) for n in range(1, head.seq + 1)]
    return errors


FILLINGS = [
    b"\xff",
    pytest.param(b"\0", marks=pytest.mark.prove),
    pytest.param(b"not a page of sqlite", marks=pytest.mark.prove),
]


@pytest.mark.parametrize("filling", FILLINGS)
async def test_a_damaged_page_of_records_is_named(opened, path, pages, filling):
    """CorruptSession tells the first record that is lost; all before it, and others, still load."""
    async with opened() as store:
        heads = await fill(store)
    leaves = pages()["event"]
    overwrite(path, leaves[len(leaves) // 2], filling)
    async with opened() as store:
        errors = await survey(store, heads)
        assert 1 <= len(errors) <= 3
        for name, error in errors.items():
            assert isinstance(error, CorruptSession)
            assert error.session_id == name
            assert "damaged" in str(error)
            if error.seq > 1:
                before = await store.load(name, after=0, limit=error.seq - 1)
                assert list(before.records) == [data(name, n) for n in range(1, error.seq)]
            with pytest.raises(CorruptSession):
                await store.load(name, after=error.seq - 1, limit=1)


async def test_a_damaged_part_of_a_large_record_is_named(opened, path, pages):
    """A record of several pages, one of which is damaged: CorruptSession with its number."""
    async with opened() as store:
        heads = await fill(store)
    content = path.read_bytes()
    first = content.index(data("big", 3, BIG)[6000:6100]) // PAGE + 1
    overwrite(path, first, b"\xff")
    async with opened() as store:
        errors = await survey(store, heads)
        assert {name: error.seq for name, error in errors.items()} == {"big": 3}
        assert len((await store.load("big", after=3)).records) == 2


async def test_damage_within_a_records_bytes_is_found_where_it_is_decoded(opened, begin, path):
    """SQLite has no checksums of pages: bytes that are no event any more are refused by the codec."""
    text = b'{"text": "' + b"x" * 100 + b'"}'
    async with opened() as store:
        head = await begin(store)
        await store.append("s", [Record(text)], expected=head.revision, commit_id=b"2")
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(text))
        file.write(b"\0" * 20)
    async with opened() as store:
        (record,) = (await store.load("s")).records
        with pytest.raises(CorruptSession, match="record 1"):
            decode_event(record, 1, session_id="s")


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("table", ["session", "state"])
async def test_a_damaged_page_of_sessions_is_told(opened, path, pages, table, filling):
    """StoreError says what to do; sessions of other pages load, and nothing is taken for absent."""
    async with opened() as store:
        heads = await fill(store)
        if table == "state":  # several pages of states
            for name, head in heads.items():
                heads[name] = await store.append(
                    name, [], expected=head.revision, commit_id=b"3", state=name.encode()
                )
    leaves = pages()[table]
    overwrite(path, leaves[0], filling)
    async with opened() as store:
        errors = await survey(store, heads)
        assert errors
        assert len(errors) < len(heads) or len(leaves) == 1
        for name, error in errors.items():
            assert re.search(f"{path} is damaged.*backup", str(error))
            with pytest.raises(StoreError):
                await store.create(name, commit_id=b"4")
        if table == "session":
            with pytest.raises(StoreError, match="damaged"):
                await store.list(user_id="me")


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize(
    ("index", "loads"),
    [
        ("sqlite_autoindex_event_1", "some"),
        ("sqlite_autoindex_session_1", "none"),
        ("session_by_user", "all"),
        ("session_by_age", "all"),
    ],
)
async def test_a_damaged_index_is_told(opened, path, pages, index, loads, filling):
    """What needs it is an error, never an empty answer; what does not, works."""
    async with opened() as store:
        heads = await fill(store)
    overwrite(path, pages()[index][0], filling)
    async with opened() as store:
        errors = await survey(store, heads)
        if loads == "all":
            assert not errors
            with pytest.raises(StoreError, match="damaged"):
                await store.list(user_id="me" if index == "session_by_user" else None)
            head = heads["s00"]
            await store.append("s00", [Record(b"x")], expected=head.revision, commit_id=b"5")
        else:
            assert errors
            assert len(errors) < len(heads) or loads == "none"
            assert "damaged" in str(next(iter(errors.values())))


@pytest.mark.parametrize("kept", [1, 3])
async def test_a_file_cut_short_is_told(opened, path, kept):
    """StoreError with the way out; the file is not touched, and nothing is taken for absent."""
    async with opened() as store:
        await fill(store)
    with path.open("r+b") as file:
        file.truncate(PAGE * kept)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path} is damaged.*restore a backup"):
        async with opened():
            pass
    assert path.read_bytes() == before


async def test_a_damaged_first_page_is_told(opened, path):
    """StoreError says that it may be damage, and to restore a backup; the file is not touched."""
    async with opened() as store:
        await fill(store)
    overwrite(path, 1, b"\0")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path} is no SQLite database.*backup"):
        async with opened():
            pass
    assert path.read_bytes() == before
