"""`compress`: what becomes smaller, what stays as it is, what is refused."""

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeep.errors import CorruptSession
from turnkeep.manager import SessionManager
from turnkeep.store import Record, new_commit_id
from turnkeep.stores import coded
from turnkeep.stores.coded import Place
from turnkeep.stores.compress import MAGIC, CompressedStore, CompressOptions
from turnkeep.stores.memory import MemoryStore

HERE = Place("s", "record", 1)
TEXT = b'{"v":1,"type":"event","content":[{"type":"message","role":"user"}]}' * 20


def compressed(inner=None, **options):
    return CompressedStore(inner or MemoryStore(), CompressOptions(**options))


async def begun(store, *data, session_id="s", **fields):
    head = await store.create(session_id, commit_id=new_commit_id())
    records = [Record(each) for each in data]
    return await store.append(
        session_id, records, expected=head.revision, commit_id=new_commit_id(), **fields
    )


DATA = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=40).map(lambda data: MAGIC + data),
    st.binary(max_size=9).map(lambda data: data * 60),
)


@given(DATA, st.integers(0, 300), st.integers(1, 9))
@example(MAGIC + b"z", 0, 6)
@example(b"", 0, 6)
def test_any_bytes_come_back(data, above, level):
    """Also those that look compressed; and none are kept larger than by the four of an escape."""
    store = compressed(above=above, level=level)
    kept = store.encode(HERE, data)
    assert store.decode(HERE, kept) == data
    assert len(kept) <= len(data) + (4 if data.startswith(MAGIC) else 0)


@given(st.binary(min_size=1, max_size=300).filter(lambda data: not data.startswith(MAGIC)))
def test_what_was_stored_before_is_read(data):
    """Whatever it is: no text begins like compressed data."""
    assert compressed(above=0).decode(HERE, data) == data


@given(st.data(), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(drawn, change):
    """Behind the magic: an error, or (flags of zlib that say nothing) the very same content."""
    store = compressed()
    kept = bytearray(store.encode(HERE, TEXT))
    kept[drawn.draw(st.integers(len(MAGIC), len(kept) - 1))] ^= change
    try:
        assert store.decode(HERE, bytes(kept)) in {TEXT, bytes(kept[4:])}
    except ValueError as error:
        assert "compressed" in str(error)


def test_what_is_short_or_does_not_shrink_stays_as_it_is():
    """Byte for byte, so that it can be read without the wrapper, too."""
    store = compressed(above=len(TEXT))
    assert store.encode(HERE, TEXT[:-1]) == TEXT[:-1]
    assert len(store.encode(HERE, TEXT)) < len(TEXT) / 4
    noise = bytes(range(256))
    assert compressed(above=0).encode(HERE, noise) == noise


def test_a_bomb_is_not_unpacked():
    """Neither one that says how large it is, nor one that lies: memory stays bounded."""
    packed = zlib.compress(bytes(50_000_000))
    store = compressed(limit=1000)
    for size in (50_000_000, 2**63):
        with pytest.raises(ValueError, match="it says that it has"):
            store.decode(HERE, MAGIC + b"z" + size.to_bytes(8, "big") + packed)
    for size in (10, 1000):
        with pytest.raises(ValueError, match="not as many as written"):
            store.decode(HERE, MAGIC + b"z" + size.to_bytes(8, "big") + packed)


def test_what_is_above_the_limit_is_kept_as_it_is():
    """So it can be read back."""
    store = compressed(limit=500)
    assert store.encode(HERE, TEXT) == TEXT


@pytest.mark.parametrize("seq", [0, 2])
async def test_what_is_damaged_is_named(seq):
    """A record by its seq, the state with 0."""
    inner = MemoryStore()
    await begun(compressed(inner), TEXT, TEXT)
    session, bad = inner._sessions["s"], MAGIC + b"?"
    if seq:
        session.records[seq - 1] = bad
    else:
        session.state = bad
    with pytest.raises(CorruptSession, match="a form that this version does not know") as caught:
        await compressed(inner).load("s")
    assert (caught.value.session_id, caught.value.seq) == ("s", seq)


async def test_state_and_meta_are_compressed_too():
    """They may be as large as records."""
    inner = MemoryStore()
    store = compressed(inner)
    await begun(store, state=TEXT, meta=TEXT)
    session = inner._sessions["s"]
    assert max(len(session.state), len(session.head.meta)) < len(TEXT) / 4
    found = await store.load("s")
    assert (found.state, found.head.meta) == (TEXT, TEXT)
    assert (await store.list()).heads == [found.head]


async def test_large_values_are_coded_in_a_thread(monkeypatch):
    """What comes back is the same."""
    monkeypatch.setattr(coded, "IN_THREAD", 1)
    store = compressed()
    await begun(store, TEXT, state=TEXT)
    found = await store.load("s")
    assert (found.records, found.state) == ([TEXT], TEXT)


async def test_forks_and_erasures_work_inside():
    """The store copies compressed records by itself, and erases them."""
    store = compressed()
    head = await begun(store, TEXT, b"2")
    fork = await store.fork(
        "s", "t", upto=1, incarnation=head.revision.incarnation, state=TEXT, commit_id=b"f"
    )
    found = await store.load("t")
    assert (found.head, found.records, found.state) == (fork, [TEXT], TEXT)
    await store.erase("s", {1: TEXT * 2}, expected=head.revision, commit_id=b"e")
    assert (await store.load("s")).records == [TEXT * 2, b"2"]


async def test_sessions_from_before_the_wrapper_go_on():
    """Written without it, read and continued with it."""
    inner = MemoryStore()
    session = await SessionManager(inner).create("s")
    session.state["a"] = "x" * 1000
    await SessionManager(inner).save(session)
    manager = SessionManager(compressed(inner))
    session = await manager.get("s")
    session.state["a"] = "y" * 1000
    await manager.save(session)
    assert (await manager.get("s")).state == {"a": "y" * 1000}
    assert len(inner._sessions["s"].state) < 100
