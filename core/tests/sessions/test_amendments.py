"""Taking back, going back, forking, erasing: on any store."""

import json
import logging

import pytest

from turnkeep import (
    ContentError,
    CorruptSession,
    Event,
    Keeper,
    Message,
    Ref,
    Retract,
    SessionBusy,
    SessionExists,
    SessionManager,
    SessionNotFound,
    StoreError,
    StoreUnavailable,
    Tombstone,
    ToolCall,
    scoped_id,
)
from turnkeep import log as log_module
from turnkeep.content import ToolResult
from turnkeep.events import Checkpoint, Decision, Placed
from turnkeep.formats.jsonl import SessionFile
from turnkeep.store import Capability
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore
from turnkeep.transfer import import_session


class Plain(MemoryStore):
    """A store without further powers."""

    capabilities = frozenset({Capability.LIST_ALL})


@pytest.fixture(params=[MemoryStore, Plain])
def sessions(request):
    return SessionManager(request.param())


def user(text):
    return Message(role="user", content=text)


async def keep(sessions, *texts, session_id="s", user_id=None):
    session = await sessions.get_or_create(session_id, user_id)
    session.events += [Event(content=[user(text)]) for text in texts]
    await sessions.save(session)
    return session


async def context(sessions, session_id="s"):
    """The texts of the live context, as the next turn reads it."""
    async with (
        Keeper(store=sessions.store) as keeper,
        keeper.turn(session_id) as turn,
    ):
        return [item.content for item in turn.context.items]


async def test_an_item_is_taken_back(sessions):
    """It is left out of requests and stays in the log."""
    await keep(sessions, "a", "b", "c")
    event = await sessions.retract("s", Ref(2, 0))
    assert (event.seq, event.author) == (4, "user")
    assert await context(sessions) == ["a", "c"]
    assert len((await sessions.get("s")).events) == 4


async def test_a_session_goes_back(sessions):
    """Items and state are as they were; what came later stays in the log."""
    session = await sessions.create("s")
    for number, text in enumerate(["a", "b", "c"]):
        session.events.append(Event(content=[user(text)]))
        session.state = {"n": number}
        await sessions.save(session)
    await sessions.rewind("s", 2)
    assert await context(sessions) == ["a", "b"]
    assert (await sessions.get("s")).state == {"n": 1}
    await sessions.rewind("s", 3)  # and forward again: the log holds it all
    assert await context(sessions) == ["a", "b", "c"]
    assert (await sessions.get("s")).state == {"n": 2}
    await sessions.rewind("s", 0)
    assert await context(sessions) == []
    assert (await sessions.get("s")).state == {}


async def test_the_past_can_be_looked_at(sessions):
    """`at` gives events and state of then, also of what was taken back."""
    session = await keep(sessions, "a", "b")
    session.state = {"late": True}
    await sessions.save(session)
    await sessions.rewind("s", 1)
    past = await sessions.at("s", 2)
    assert ([event.seq for event in past.events], past.state) == ([1, 2], {})
    with pytest.raises(ContentError, match="from 0 to 4"):
        await sessions.at("s", 5)


async def test_a_checkpoint_does_not_hide_a_retraction(sessions):
    """What it holds word for word is gone from the context with it."""
    await keep(sessions, "secret", "b")
    session = await sessions.get("s")
    session.events.append(
        Checkpoint(
            author="system",
            contents=[Placed(seq=1, index=0, item=user("secret"))],
        )
    )
    await sessions.save(session)
    assert await context(sessions) == ["secret"]
    await sessions.retract("s", Ref(1, 0))
    assert await context(sessions) == ["b"]


async def test_wrong_targets_are_refused(sessions):
    """With the session, what is wrong, and what is there; nothing is written."""
    await keep(sessions, "a")
    for call, message in (
        (sessions.rewind("s", 2), r"session 's' has no event 2: name one from 0 to 1"),
        (sessions.rewind("s", -1), "has no event -1"),
        (sessions.retract("s", Ref(1, 1)), "event 1 has no item 1; it holds 1"),
        (sessions.retract("s", Ref(0, 0)), "has no event 0: name one from 1 to 1"),
        (sessions.retract("s"), "name either items"),
        (sessions.fork("s", "t", at=2), "has no event 2"),
    ):
        with pytest.raises(ContentError, match=message):
            await call
    assert (await sessions.head("s")).revision.version == 1
    with pytest.raises(SessionNotFound):
        await sessions.rewind("missing", 0)


async def test_a_running_turn_is_not_disturbed(sessions):
    """Taking back waits for nobody: it is told that a turn runs."""
    async with Keeper(store=sessions.store) as keeper, keeper.turn("s") as turn:
        await turn.add(user("a"))
        with pytest.raises(SessionBusy):
            await sessions.rewind("s", 0)
        fork = await sessions.fork("s", "t")  # this only reads
        assert [event.seq for event in fork.events] == [1]
    await sessions.rewind("s", 0)


async def test_a_turn_that_died_is_closed_on_the_way():
    """Its silence is over: the amendment takes the session over."""
    sessions = SessionManager(MemoryStore(), turn_timeout=0.05)
    async with Keeper(store=sessions.store) as keeper:
        turn = await keeper.turn("s").__aenter__()
        await turn.add(user("a"))
        turn._lease._stop_pulse()
        stale = SessionManager(sessions.store, turn_timeout=0.0)
        await stale.rewind("s", 0)
        [info] = [info async for info in sessions.all()]
        assert not info.busy


async def test_a_fork_goes_its_own_way(sessions):
    """It has the events, the state, the owner and the origin; neither hears of the other again."""
    await keep(sessions, "a", "b", user_id="ann")
    fork = await sessions.fork("s", "t", at=1)
    assert [event.content[0].content for event in fork.events] == ["a"]
    assert fork.user_id == "ann"
    await keep(sessions, "c", session_id="t")
    await keep(sessions, "d")
    assert await context(sessions, "t") == ["a", "c"]
    assert await context(sessions) == ["a", "b", "d"]
    stored = await sessions.get("s")
    assert fork.events[0].id == stored.events[0].id


async def test_a_fork_restores_the_state_of_its_point(sessions):
    """The state of then, not of now."""
    session = await keep(sessions, "a")
    for number in (1, 2):
        session.state = {"n": number}
        await sessions.save(session)
    assert (await sessions.fork("s", "t", at=2)).state == {"n": 1}


async def test_the_same_fork_again_finds_the_first(sessions):
    """Until something has been added to it; another session is never touched."""
    await keep(sessions, "a")
    first = sessions.head_of(await sessions.fork("s", "t"))
    again = sessions.head_of(await sessions.fork("s", "t"))
    assert again.revision == first.revision
    await keep(sessions, "b", session_id="t")
    with pytest.raises(SessionExists):
        await sessions.fork("s", "t")
    with pytest.raises(SessionExists):
        await sessions.fork("s", "s")


@pytest.mark.parametrize("at", [1, None])
async def test_an_erasure_amid_a_fork_is_of_the_fork_too(at):
    """State and base are those of the log as it was copied, whoever was first."""

    class Raced(MemoryStore):
        before = None

        async def fork(self, *args, **fields):
            if self.before is not None:
                before, self.before = self.before, None
                await before
            return await super().fork(*args, **fields)

    store = Raced()
    sessions = SessionManager(store)
    session = await keep(sessions, "the password is hunter2")
    session.state = {"password": "hunter2"}
    await sessions.save(session)
    session.events.append(Checkpoint(contents=[Placed(seq=1, index=0, item=user("hunter2"))]))
    session.events.append(Event(content=[user("b")]))
    session.state = {}
    await sessions.save(session)
    store.before = sessions.erase("s", [1, 2])
    fork = await sessions.fork("s", "t", at=at)
    assert store.before is None
    assert (await store.load("t", after=0)).head.base == 0
    assert "hunter2" not in fork.model_dump_json()
    assert await context(sessions, "t") == ([] if at else ["b"])


async def test_a_fork_that_is_written_to_is_not_made_anew():
    """Whoever did found it by the same fork: it goes its own way, and that is told."""

    class Raced(MemoryStore):
        async def fork(self, *args, **fields):
            made = await super().fork(*args, **fields)
            plain = SessionManager(MemoryStore())
            plain.store._sessions = self._sessions
            await plain.erase("s", [1])
            await keep(plain, "theirs", session_id="t")
            return made

    sessions = SessionManager(Raced())
    session = await keep(sessions, "a")
    session.state = {"n": 1}
    await sessions.save(session)
    with pytest.raises(SessionExists):
        await sessions.fork("s", "t")
    assert (await sessions.get("t")).events[-1].content[0].content == "theirs"


async def test_a_fork_that_an_erasure_met_is_mended_by_the_same_fork(monkeypatch):
    """Where what was to make it anew was cut off; one that was written to stays."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())

    class Raced(MemoryStore):
        before, away = None, False

        async def fork(self, *args, **fields):
            if self.before is not None:
                before, self.before = self.before, None
                await before
            return await super().fork(*args, **fields)

        async def delete(self, *args, **fields):
            if self.away:
                raise StoreUnavailable("away")
            return await super().delete(*args, **fields)

    store = Raced()
    sessions = SessionManager(store)
    session = await keep(sessions, "a")
    session.events.append(Event(content=[user("the pin is 42")]))
    session.state = {"pin": 42}
    await sessions.save(session)
    session.state = {}
    await sessions.save(session)
    store.before, store.away = sessions.erase("s", [2]), True
    with pytest.raises(StoreUnavailable):
        await sessions.fork("s", "t", at=2)
    store.away = False
    fork = await sessions.fork("s", "t", at=2)
    assert fork.state == {}
    await keep(sessions, "b", session_id="t")
    with pytest.raises(SessionExists):
        await sessions.fork("s", "t", at=2)


async def test_a_fork_keeps_what_was_taken_back_taken_back(sessions):
    """Its context is the one of its point."""
    await keep(sessions, "a", "b")
    await sessions.retract("s", Ref(1, 0))
    await sessions.fork("s", "t")
    assert await context(sessions, "t") == ["b"]
    await sessions.fork("s", "u", at=2)
    assert await context(sessions, "u") == ["a", "b"]


async def test_an_event_is_erased():
    """A tombstone says that something stood there, and nothing of it is left anywhere."""
    sessions = SessionManager(MemoryStore())
    await keep(sessions, "a", "secret", "c")
    assert await sessions.erase("s", [2], reason="a key") == [2]
    session = await sessions.get("s")
    stone = session.events[1]
    assert isinstance(stone, Tombstone)
    assert (stone.was, stone.reason, stone.content) == ("event", "a key", [])
    assert await context(sessions) == ["a", "c"]
    assert b"secret" not in b"".join(
        record for loaded in sessions.store.snapshot() for record in loaded.records
    )


async def test_what_repeats_an_erased_event_goes_with_it():
    """The arguments of decisions on its calls, and later checkpoints."""
    sessions = SessionManager(MemoryStore())
    session = await keep(sessions, "a")
    call = ToolCall(tool_call_id="c", name="t", arguments={"k": "secret"}, needs_approval=True)
    session.events += [
        Event(author="assistant", content=[call]),
        Decision(call=Ref(2, 0), tool_call_id="c", approved=True, arguments={"k": "secret"}),
        Event(author="tool", content=[ToolResult(tool_call_id="c", name="t", content=["ok"])]),
        Checkpoint(author="system", contents=[Placed(seq=2, index=0, item=call)]),
    ]
    await sessions.save(session)
    assert (await sessions.head("s")).base == 5
    assert await sessions.erase("s", [2]) == [2, 3, 5]
    assert (await sessions.head("s")).base == 0
    assert await sessions.erase("s", [2]) == []
    events = (await sessions.get("s")).events
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Event", "Tombstone", "Decision", "Event", "Tombstone"]
    assert (events[2].approved, events[2].arguments) == (True, None)


async def states(sessions, *found, session_id="s"):
    session = await sessions.get_or_create(session_id)
    for state in found:
        session.state = state
        await sessions.save(session)
    return session


async def test_an_erased_state_is_not_left_in_what_restored_it():
    """A rewind carries the old state again; current, past and forks tell it no more."""
    sessions = SessionManager(MemoryStore())
    await states(sessions, {"key": "secret"}, {"key": "none"})
    await sessions.rewind("s", 1)
    await states(sessions, {"key": "clean"})
    assert await sessions.erase("s", [1]) == [1, 3]
    stored = [record for loaded in sessions.store.snapshot() for record in loaded.records]
    assert b"secret" not in b"".join(stored)
    assert (await sessions.at("s", 1)).state == {}
    assert (await sessions.fork("s", "t", at=1)).state == {}


async def test_where_a_state_was_erased_the_one_of_now_does_not_appear():
    """The tombstone knows that there was another one."""
    sessions = SessionManager(MemoryStore())
    await keep(sessions, "a")
    await states(sessions, {"a": 1})
    await sessions.erase("s", [2])
    assert (await sessions.at("s", 1)).state == {}
    assert (await sessions.get("s")).state == {"a": 1}


async def test_erasing_a_retraction_brings_nothing_back():
    """It says nothing but what was taken back; that stays so."""
    sessions = SessionManager(MemoryStore())
    await keep(sessions, "a", "private")
    await sessions.rewind("s", 1)
    await sessions.erase("s", [3])
    assert await context(sessions) == ["a"]


async def test_erasing_a_decision_lets_no_call_wait_again():
    """A tool that has run must not run twice."""
    sessions = SessionManager(MemoryStore())
    call = ToolCall(tool_call_id="c", name="pay", needs_approval=True)
    async with Keeper(store=sessions.store) as keeper:
        async with keeper.turn("s") as turn:
            await turn.add(user("pay"))
            await turn.add_response(call)
        async with keeper.turn("s") as turn:
            await turn.decide(turn.pending[0], approved=True, arguments={"card": "secret"})
        await sessions.erase("s", [3])
        async with keeper.turn("s") as turn:
            assert not turn.pending
            assert turn.open_calls


async def test_erasing_again_tries_again():
    """A store that could not empty its log then may do so now; nothing new is named."""

    class Counting(MemoryStore):
        erasures = 0

        async def erase(self, *args, **fields):
            self.erasures += 1
            return await super().erase(*args, **fields)

    sessions = SessionManager(Counting())
    await keep(sessions, "secret")
    assert await sessions.erase("s", [1]) == [1]
    assert await sessions.erase("s", [1]) == []
    assert sessions.store.erasures == 2


async def test_an_imported_state_is_found_again(sessions):
    """No event tells the state that a session began with; its head does."""
    state = {"cart": [1, 2]}
    file = SessionFile("s", state=state, events=[Event(content=[user("a")])])
    await import_session(sessions.store, file)
    await states(sessions, {"cart": []})
    assert (await sessions.at("s", 1)).state == state
    await sessions.fork("s", "t", at=1)
    await states(sessions, {"cart": [9]}, session_id="t")
    await sessions.rewind("t", 1)
    assert (await sessions.get("t")).state == state
    await sessions.rewind("s", 1)
    assert (await sessions.get("s")).state == state


async def test_a_rewind_tells_true_from_one(sessions):
    """They are equal in Python, and different in JSON."""
    await states(sessions, {"on": True}, {"on": 1})
    await sessions.rewind("s", 1)
    assert (await sessions.get("s")).state["on"] is True


async def test_going_back_is_not_saved_by_hand(sessions):
    """It would leave log and state apart."""
    session = await keep(sessions, "a", "b")
    session.events.append(Retract(after=1))
    with pytest.raises(ContentError, match="use `rewind`"):
        await sessions.save(session)


@pytest.mark.parametrize(
    "meta",
    [
        {"forked": [1]},
        {"header": "x"},
        {"imported": [1]},
        {"imported": {"created": "yesterday"}},
        {"imported": {"updated": "2026-01-01T00:00:00"}},
        {"turn": 3},
        {"first_state": None},
    ],
)
async def test_notes_of_another_hand_are_told_and_hide_no_other_session(sessions, meta):
    """The listing names the problem; the session itself is corrupt."""
    await keep(sessions, "a", session_id="good")
    session = await keep(sessions, "b", session_id="odd")
    head = sessions.head_of(session)
    await sessions.store.append(
        "odd", [], expected=head.revision, commit_id=b"x", meta=json.dumps(meta).encode()
    )
    found = {info.session_id: info.problem async for info in sessions.all()}
    assert found["good"] is None
    assert "its meta: " in found["odd"]
    with pytest.raises(CorruptSession, match="its meta: "):
        await sessions.get("odd")


async def test_a_session_read_before_an_erasure_cannot_bring_it_back():
    """Its revision is an old one."""
    sessions = SessionManager(MemoryStore())
    before = await keep(sessions, "secret")
    await sessions.erase("s", [1])
    before.events.append(Event(content=[user("b")]))
    with pytest.raises(StoreError, match="another writer"):
        await sessions.save(before)


async def test_a_store_that_cannot_erase_says_so():
    """It would only write beside the secret."""
    sessions = SessionManager(Plain())
    await keep(sessions, "secret")
    with pytest.raises(StoreError, match="the memory store cannot erase single events; delete"):
        await sessions.erase("s", [1])


async def test_another_user_finds_nothing(sessions):
    """Whatever is asked for, it is as if the session did not exist."""
    await keep(sessions, "a", user_id="ann")
    for call in (
        sessions.rewind("s", 0, user_id="bob"),
        sessions.retract("s", Ref(1, 0), user_id="bob"),
        sessions.fork("s", "t", user_id="bob"),
        sessions.at("s", 0, user_id="bob"),
    ):
        with pytest.raises(SessionNotFound):
            await call
    assert await sessions.head("s", user_id="bob") is None
    assert await sessions.get("s", user_id="bob") is None
    assert not await sessions.delete("s", user_id="bob")
    assert await sessions.head("t") is None
    assert await sessions.get("s", user_id="ann") is not None


@pytest.mark.parametrize("fault", ["lose answer", "refuse"])
async def test_a_lost_answer_is_repeated(fault, caplog):
    """A retraction whose answer was lost stands once."""
    caplog.set_level(logging.ERROR)
    store = FaultyStore(MemoryStore())
    sessions = SessionManager(store)
    await keep(sessions, "a", "b")
    store.plan = [fault]
    await sessions.rewind("s", 1)
    assert len((await sessions.get("s")).events) == 3


def test_scoped_ids_never_meet():
    """Different triples give different ids, whatever stands in them."""
    assert scoped_id("app", "ann", "1") == "app/ann/1"
    parts = ["a", "/", "a/b", "%2F", "%", "a%2Fb", "//", "Ü", "b"]
    made = {scoped_id(a, b, c) for a in parts for b in parts for c in parts}
    assert len(made) == len(parts) ** 3
    with pytest.raises(ContentError, match="scoped session id has 1 to 512 bytes"):
        scoped_id("a" * 300, "b" * 300, "c")
    with pytest.raises(ContentError, match="a user id has 1 to 512"):
        scoped_id("a", "", "c")
