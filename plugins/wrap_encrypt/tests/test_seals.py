"""What a seal holds, what breaks it, and which key it wants."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.errors import CorruptSession, SessionConflict
from turnkeep.manager import SessionManager
from turnkeep.store import Capability, Record, new_commit_id
from turnkeep.stores.coded import Place
from turnkeep.stores.memory import MemoryStore
from turnkeep_wrap_encrypt.keys import Keyring
from turnkeep_wrap_encrypt.store import EncryptedStore

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
)
PLACES = st.builds(
    Place,
    IDS,
    st.sampled_from(["record", "state", "meta"]),
    st.integers(0, 2**40),
    st.binary(max_size=8),
)


def encrypted(inner=None, keys=None, key="old", **options):
    return EncryptedStore(inner or MemoryStore(), Keyring(keys or {"old": OLD}, key), **options)


async def begun(store, *data, session_id="s", **fields):
    head = await store.create(session_id, commit_id=new_commit_id())
    return await appended(store, head, *data, **fields)


async def appended(store, head, *data, **fields):
    return await store.append(
        head.session_id,
        [Record(each) for each in data],
        expected=head.revision,
        commit_id=new_commit_id(),
        **fields,
    )


@given(PLACES, st.binary(max_size=500))
def test_any_bytes_come_back_from_their_place(place, data):
    """And what is kept holds none of them, but by chance."""
    store = encrypted()
    sealed = store.encode(place, data)
    assert store.decode(place, sealed) == data
    assert len(sealed) == len(data) + 33 + len("old")
    assert sealed != store.encode(place, data)
    assert len(data) < 8 or data not in sealed


@given(PLACES, PLACES, st.binary(max_size=50))
def test_a_seal_holds_in_no_other_place(place, other, data):
    """Nor for another kind, seq or life of the same session."""
    store = encrypted()
    if place != other:
        with pytest.raises(ValueError, match="cannot be decrypted with key 'old'"):
            store.decode(other, store.encode(place, data))


@given(PLACES, st.binary(max_size=60), st.data(), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place, data, drawn, change):
    """Wherever it is; also with plain data allowed, but for the first three, which tell a seal."""
    store = encrypted()
    sealed = bytearray(store.encode(place, data))
    where = drawn.draw(st.integers(0, len(sealed) - 1))
    sealed[where] ^= change
    with pytest.raises(ValueError):
        store.decode(place, bytes(sealed))
    if where > 2:
        with pytest.raises(ValueError):
            encrypted(allow_plain=True).decode(place, bytes(sealed))


@given(PLACES, st.binary(max_size=60), st.data())
def test_a_cut_seal_is_noticed(place, data, drawn):
    """At every length."""
    store = encrypted()
    sealed = store.encode(place, data)
    with pytest.raises(ValueError):
        store.decode(place, sealed[: drawn.draw(st.integers(0, len(sealed) - 1))])


@given(st.binary(max_size=200))
def test_foreign_bytes_are_never_content(data):
    """Unless plain data is allowed and they are no seal."""
    with pytest.raises(ValueError):
        encrypted().decode(Place("s", "state"), data)


async def test_the_store_sees_no_content():
    """Neither of records, nor of state and meta; nor the plain text for a search."""
    inner = MemoryStore()
    seen = []

    async def append(session_id, records, **fields):
        seen.extend(records)
        return await MemoryStore.append(inner, session_id, records, **fields)

    inner.append = append
    store = encrypted(inner)
    head = await store.create("s", state=b"a secret", commit_id=b"1")
    record = Record(b"a secret", text="a secret", usage={"input_tokens": 1})
    await store.append(
        "s", [record], expected=head.revision, commit_id=b"2", meta=b"a secret", state=b"a secret"
    )
    assert b"secret" not in repr(vars(inner)).encode()
    assert (seen[0].text, seen[0].usage) == (None, {"input_tokens": 1})


@pytest.mark.parametrize("how", ["change", "swap", "other session", "other life", "plain"])
async def test_records_that_were_tampered_with_are_named(how):
    """Each way is CorruptSession with session and seq; the record before it can be read."""
    inner = MemoryStore()
    store = encrypted(inner)
    if how == "other life":
        await begun(store, b"1", b"2", b"3")
        earlier = inner._sessions["s"].records[1]
        await store.delete("s")
    await begun(store, b"1", b"2", b"3")
    await begun(store, b"1", b"2", b"3", session_id="t")
    records = inner._sessions["s"].records
    records[1] = {
        "change": records[1][:-1] + bytes([records[1][-1] ^ 1]),
        "swap": records[2],
        "other session": inner._sessions["t"].records[1],
        "other life": how == "other life" and earlier,
        "plain": b"2",
    }[how]
    with pytest.raises(CorruptSession) as caught:
        await encrypted(inner).load("s", after=0)
    assert (caught.value.session_id, caught.value.seq) == ("s", 2)
    assert (await store.load("s", after=0, limit=1)).records == [b"1"]


async def test_a_state_and_a_meta_that_were_tampered_with_are_named():
    """With seq 0; a list shows the session all the same, with a meta that core refuses."""
    inner = MemoryStore()
    store = encrypted(inner)
    await begun(store, b"1", meta=b'{"turn":"t"}', state=b"{}")
    session = inner._sessions["s"]
    state, session.state = session.state, session.head.meta
    with pytest.raises(CorruptSession, match="its state: it cannot be decrypted") as caught:
        await store.load("s")
    assert caught.value.seq == 0
    session.state, session.head = state, session.head._replace(meta=state)
    with pytest.raises(CorruptSession, match="its meta: it cannot be decrypted") as caught:
        await store.load("s")
    [head] = (await store.list()).heads
    assert head.meta == state
    [info], _ = await SessionManager(store).list()
    assert "its meta is not JSON" in info.problem


async def test_a_wrong_key_and_a_missing_one_are_told_apart():
    """Both by the key's name; no message holds a key."""
    inner = MemoryStore()
    await begun(encrypted(inner), b"1")
    with pytest.raises(CorruptSession, match="with key 'old': that key was another one"):
        await encrypted(inner, {"old": NEW}).load("s")
    with pytest.raises(CorruptSession, match=r"'old', which \[session.encrypt\] keys does not"):
        await encrypted(inner, {"new": NEW}, "new").load("s")


async def test_keys_rotate():
    """New data is written with the new key, and both are read, as long as both are there."""
    inner = MemoryStore()
    await begun(encrypted(inner), b"1")
    both = encrypted(inner, {"old": OLD, "new": NEW}, "new")
    head = (await both.load("s")).head
    await appended(both, head, b"2", state=b"{}")
    assert (await both.load("s")).records == [b"1", b"2"]
    new = encrypted(inner, {"new": NEW}, "new")
    assert (await new.load("s", after=1)).records == [b"2"]
    with pytest.raises(CorruptSession, match="'old'"):
        await new.load("s", after=0)


async def test_what_was_stored_plain_is_read_only_where_that_is_allowed():
    """What is written then is sealed."""
    inner = MemoryStore()
    await begun(inner, b"1", meta=b"{}")
    with pytest.raises(CorruptSession, match=r"not encrypted; .*allow_plain"):
        await encrypted(inner).load("s")
    store = encrypted(inner, allow_plain=True)
    found = await store.load("s")
    assert (found.records, found.state, found.head.meta) == ([b"1"], b"{}", b"{}")
    await appended(store, found.head, b"2")
    assert (await store.load("s")).records == [b"1", b"2"]
    assert b"2" not in inner._sessions["s"].records


async def test_an_append_to_an_unseen_session_knows_its_seq():
    """A handle that never read the session asks for the head first, and only then."""
    inner = MemoryStore()
    head = await begun(encrypted(inner), b"1", b"2")
    loads = []

    async def load(*args, **fields):
        loads.append(fields)
        return await MemoryStore.load(inner, *args, **fields)

    inner.load = load
    store = encrypted(inner)
    head = await appended(store, head, b"3")
    assert (len(loads), loads[0]["known"]) == (1, head.revision._replace(version=1))
    head = await appended(store, head, b"4")
    await appended(store, head, state=b"[]")
    assert len(loads) == 1
    assert (await store.load("s", after=0)).records == [b"1", b"2", b"3", b"4"]


async def test_no_append_gets_a_wrong_seq():
    """Of a revision that has passed, one that may still come, another life: all conflict."""
    inner = MemoryStore()
    first = await begun(encrypted(inner), b"1")
    head = await appended(encrypted(inner), first, b"2", meta=b"m")
    revision = head.revision
    for other in (
        first.revision,
        revision._replace(version=9),
        revision._replace(incarnation=b"another!"),
    ):
        with pytest.raises(SessionConflict) as caught:
            await appended(encrypted(inner), head._replace(revision=other), b"x")
        assert caught.value.head == head
    assert (await encrypted(inner).load("s", after=0)).records == [b"1", b"2"]


async def test_a_server_that_lost_what_it_had_acknowledged_is_noticed():
    """As after a failover: an append sealed for a place that is another now is no silent loss."""
    inner = MemoryStore()
    ours = encrypted(inner)
    head = await begun(ours, b"1")
    before = copy.deepcopy(inner._sessions)
    head = await appended(ours, head, b"2", b"3")
    inner._sessions = before  # lost
    theirs = encrypted(inner)
    await appended(theirs, (await theirs.load("s")).head, b"other")
    with pytest.raises(CorruptSession, match="has lost appends that had returned"):
        await appended(ours, head, b"4")


async def test_an_erased_record_is_sealed_anew():
    """In its place, and the old seal is gone."""
    inner = MemoryStore()
    store = encrypted(inner)
    head = await begun(store, b"1", b"a secret", b"3")
    before = list(inner._sessions["s"].records)
    await store.erase("s", {2: b"gone"}, expected=head.revision, commit_id=b"e", meta=b"m")
    assert (await store.load("s", after=0)).records == [b"1", b"gone", b"3"]
    assert inner._sessions["s"].records[1] not in before


async def test_a_fork_is_sealed_for_its_own_session():
    """Core copies by loading and appending; the source's own seals would not hold there."""
    inner = MemoryStore()
    store = encrypted(inner)
    assert Capability.FORK not in store.capabilities
    assert Capability.FORK in inner.capabilities
    manager = SessionManager(store)
    session = await manager.create("s")
    session.state["a"] = 1
    await manager.save(session)
    fork = await manager.fork("s", "t")
    assert (fork.state, len(fork.events)) == ({"a": 1}, 1)
    assert inner._sessions["s"].records[0] != inner._sessions["t"].records[0]


def test_each_session_has_a_key_of_its_own():
    """By which the limit of random nonces is one of a session."""
    ring = Keyring({"old": OLD}, "old")
    nonce = bytes(12)
    assert ring.cipher("old", "s").encrypt(nonce, b"1", None) != ring.cipher("old", "t").encrypt(
        nonce, b"1", None
    )
    assert ring.cipher("old", "s") is ring.cipher("old", "s")


def test_the_stored_form_does_not_change():
    """What was sealed by the first version is opened for ever."""
    sealed = bytes.fromhex(SEALED)
    place = Place("sitzung ü", "record", 7, b"12345678")
    assert encrypted().decode(place, sealed) == b'{"v":1}'


SEALED = "ff746501036f6c646b6727bc537b0999cc88184bd0a4197048bb59ab875598813bff7fb249742c77655e17"
