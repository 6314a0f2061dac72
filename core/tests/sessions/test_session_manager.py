"""Whole sessions: the tutorial's API."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from turnkeep import (
    BaseSessionManager,
    ContentError,
    Event,
    InMemorySessionManager,
    Keeper,
    Message,
    Session,
    SessionConflict,
    SessionManager,
    StoreUnavailable,
    ToolCall,
)
from turnkeep import log as log_module
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore


def event(text="hi"):
    return Event(execution_id="run", author="user", content=[Message(role="user", content=text)])


async def test_what_is_saved_is_there():
    """Events and state come back; events know their seqs."""
    manager = InMemorySessionManager()
    session = await manager.create("user-123", "ann")
    session.events = [*session.events, event("a"), event("b")]
    session.state["pending"] = [1]
    await manager.save(session)
    back = await manager.get("user-123")
    assert [e.content[0].content for e in back.events] == ["a", "b"]
    assert ([e.seq for e in back.events], back.state, back.user_id) == (
        [1, 2],
        {"pending": [1]},
        "ann",
    )


async def test_a_second_create_is_a_value_error():
    """As in the tutorial."""
    manager = InMemorySessionManager()
    await manager.create("s")
    with pytest.raises(ValueError, match="exists"):
        await manager.create("s")


async def test_get_of_nothing_is_none():
    """As in the tutorial."""
    assert await InMemorySessionManager().get("s") is None


async def test_sessions_can_be_looked_through():
    """`_sessions` maps ids to sessions with events and state."""
    manager = InMemorySessionManager()
    session = await manager.get_or_create("s")
    session.events.append(event())
    await manager.save(session)
    assert {name: len(kept.events) for name, kept in manager._sessions.items()} == {"s": 1}


async def test_get_or_create_races_to_one_session():
    """Of callers at once all get the same session."""
    manager = InMemorySessionManager()
    made = await asyncio.gather(*(manager.get_or_create("s") for _ in range(10)))
    assert len({session._loaded.log.head.revision for session in made}) == 1


async def test_saving_again_and_again_appends_only_what_is_new():
    """A session object can be used over many saves."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    for number in range(3):
        session.events.append(event(str(number)))
        await manager.save(session)
        await manager.save(session)
    assert [e.content[0].content for e in (await manager.get("s")).events] == ["0", "1", "2"]


async def test_of_two_savers_one_conflicts():
    """Nobody's turn is overwritten or interleaved silently."""
    manager = InMemorySessionManager()
    await manager.create("s")
    one, two = await manager.get("s"), await manager.get("s")
    one.events.append(event("one"))
    two.events.append(event("two"))
    await manager.save(one)
    with pytest.raises(SessionConflict):
        await manager.save(two)
    assert [e.content[0].content for e in (await manager.get("s")).events] == ["one"]


@pytest.mark.parametrize("change", [
    lambda session: session.events[0].content.append(Message(role="user", content="slipped in")),
    lambda session: session.events.reverse(),
    lambda session: session.events.pop(),
    lambda session: session.events.insert(1, event()),
    lambda session: session.events.append(session.events[0].model_copy(update={"seq": None})),
])  # fmt: skip
async def test_an_edited_history_is_refused(change):
    """The log only grows; the message says how to take something back."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events += [event("a"), event("b")]
    await manager.save(session)
    session = await manager.get("s")
    change(session)
    with pytest.raises(ContentError, match="'s'"):
        await manager.save(session)
    assert len((await manager.get("s")).events) == 2


async def test_a_tail_of_the_history_is_enough():
    """A session that holds only its newest events can be saved."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events += [event("a"), event("b")]
    await manager.save(session)
    session.events = [session.events[-1], event("c")]
    await manager.save(session)
    assert len((await manager.get("s")).events) == 3


async def test_changed_state_travels_with_an_event():
    """The log carries each state, so that it can be restored later."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.state["n"] = 1
    await manager.save(session)
    session.state["n"] = True
    session.events.append(event())
    await manager.save(session)
    back = await manager.get("s")
    assert [e.state for e in back.events] == [{"n": 1}, {"n": True}]
    assert back.state["n"] is True


async def test_a_session_made_by_hand_is_saved():
    """A session that came from elsewhere is matched by its event ids."""
    manager = InMemorySessionManager()
    session = Session(session_id="s", events=[event("a")], created_at=datetime(2026, 1, 1))
    assert session.created_at.tzinfo is not None
    await manager.save(session)
    again = Session.model_validate_json(session.model_dump_json())
    again.events.append(event("b"))
    await manager.save(again)
    assert [e.content[0].content for e in (await manager.get("s")).events] == ["a", "b"]


async def test_a_session_moves_to_another_manager():
    """Saved elsewhere, it begins there with all its events."""
    one, two = InMemorySessionManager(), InMemorySessionManager()
    session = await one.create("s")
    session.events.append(event("a"))
    await one.save(session)
    await two.save(session)
    assert [e.id for e in (await two.get("s")).events] == [session.events[0].id]


async def test_somebody_elses_session_is_not_found():
    """A call that names another user finds nothing and deletes nothing."""
    manager = InMemorySessionManager()
    await manager.create("s", "ann")
    assert await manager.get("s", user_id="bob") is None
    assert not await manager.delete("s", user_id="bob")
    with pytest.raises(ValueError):
        await manager.get_or_create("s", "bob")
    assert await manager.delete("s", user_id="ann")


async def test_state_that_is_not_json_is_refused_before_anything_is_written():
    """The path is named, and the events are not half saved."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events.append(event())
    session.state["when"] = datetime.now(UTC)
    with pytest.raises(ContentError, match="when is datetime"):
        await manager.save(session)
    assert (await manager.get("s")).events == []


async def test_listing_describes_sessions():
    """A listing has owner, number of events and times."""
    manager = SessionManager(MemoryStore(), ttl=60)
    session = await manager.create("s", "ann")
    session.events.append(event())
    await manager.save(session)
    [info], cursor = await manager.list(user_id="ann")
    assert (info.session_id, info.user_id, info.events, info.busy, cursor) == (
        "s",
        "ann",
        1,
        False,
        None,
    )
    assert info.expires_at > info.updated_at >= info.created_at


def test_anybodys_manager_gets_get_or_create():
    """The base class needs three methods and gives the fourth."""

    class Mine(BaseSessionManager):
        def __init__(self):
            self.kept = {}

        async def create(self, session_id, user_id=None):
            self.kept[session_id] = Session(session_id=session_id, user_id=user_id)
            return self.kept[session_id]

        async def get(self, session_id):
            return self.kept.get(session_id)

        async def save(self, session):
            self.kept[session.session_id] = session

    mine = Mine()
    assert asyncio.run(mine.get_or_create("s", "u")) is asyncio.run(mine.get_or_create("s"))


async def test_state_may_change_again_and_again():
    """An event carries the state as it was then, not the object that goes on changing."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    for number in (1, 2, 3):
        session.state["n"] = number
        session.state["deep"] = {"list": [number]}
        await manager.save(session)
    back = await manager.get("s")
    assert [e.state["n"] for e in back.events] == [1, 2, 3]
    assert back.state == {"n": 3, "deep": {"list": [3]}}


async def test_a_save_repeated_after_a_lost_answer_doubles_nothing(monkeypatch):
    """Also with more events and another state than at the first try."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())
    store = FaultyStore(MemoryStore(), ["lose answer", "lose answer"])
    manager = SessionManager(store)
    session = await manager.create("s")
    for number in (1, 2):
        session.events.append(event(str(number)))
        session.state["n"] = number
        with pytest.raises(StoreUnavailable):
            await manager.save(session)
    session.events.append(event("3"))
    session.state["n"] = 3
    await manager.save(session)
    back = await manager.get("s")
    assert [e.content[0].content for e in back.events] == ["1", "2", "3"]
    assert [e.state["n"] for e in back.events] == [1, 2, 3]
    assert back.state == {"n": 3}


@pytest.mark.parametrize("fault", ["lose answer", "cancel after"])
async def test_a_change_of_state_alone_may_lose_its_answer(monkeypatch, fault):
    """The event that carried it is the session's too, once it is known to be kept."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())
    manager = SessionManager(FaultyStore(MemoryStore(), [None, fault]))
    session = await manager.create("s")
    session.events.append(event("a"))
    await manager.save(session)
    session.state["n"] = 1
    with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
        await manager.save(session)
    session.events.append(event("b"))
    session.state["n"] = 2
    await manager.save(session)
    assert [(e.seq, e.author, e.state) for e in session.events] == [
        (1, "user", None), (2, "system", {"n": 1}), (3, "user", {"n": 2}),
    ]  # fmt: skip
    assert (await manager.get("s")).events == session.events


async def test_an_event_that_was_not_kept_carries_no_state():
    """Added to the session as it is by then, it says nothing of a state that never was."""
    manager = InMemorySessionManager()
    await manager.create("s")
    mine, theirs = await manager.get("s"), await manager.get("s")
    theirs.state = {"by": "them"}
    await manager.save(theirs)
    new = event("mine")
    mine.state = {"by": "me"}
    mine.events.append(new)
    with pytest.raises(SessionConflict):
        await manager.save(mine)
    again = await manager.get("s")
    again.events.append(new)
    await manager.save(again)
    assert (await manager.at("s", 2)).state == {"by": "them"}
    assert (await manager.fork("s", "t")).state == {"by": "them"}


async def test_a_save_whose_answer_was_lost_has_closed_a_dead_turn_too():
    """The next save does not take it for running."""
    store = FaultyStore(MemoryStore())
    async with Keeper(store=store) as keep:
        turn = await keep.turn("s").__aenter__()
        await turn.add(event("a").content[0])
        turn._lease._stop_pulse()
    manager = SessionManager(store, turn_timeout=0.05)
    await asyncio.sleep(0.06)
    session = await manager.get("s")
    session.events.append(event("b"))
    store.plan = ["cancel after"]
    with pytest.raises(asyncio.CancelledError):
        await manager.save(session)
    session.events.append(event("c"))
    await manager.save(session)
    assert [e.content[0].content for e in (await manager.get("s")).events] == ["a", "b", "c"]


async def test_a_value_that_only_looks_equal_is_an_edit():
    """True is not 1."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events.append(Event(content=[ToolCall(tool_call_id="c", name="n", arguments={"a": 1})]))
    await manager.save(session)
    session.events[0].content[0].arguments["a"] = True
    with pytest.raises(ContentError, match="event 1 was changed"):
        await manager.save(session)


async def test_a_round_tripped_tail_is_matched_by_id():
    """Events that came back without their seqs are recognised wherever they stand."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events += [event("a"), event("b")]
    await manager.save(session)
    tail = Session.model_validate_json(session.model_dump_json())
    tail.events = [tail.events[-1], event("c")]
    await manager.save(tail)
    assert [e.content[0].content for e in (await manager.get("s")).events] == ["a", "b", "c"]


async def test_a_session_loaded_elsewhere_keeps_its_fence():
    """Saved through another manager of the same store, it conflicts if somebody wrote since."""
    inner = MemoryStore()
    one, two = SessionManager(FaultyStore(inner)), SessionManager(FaultyStore(inner))
    await one.create("s")
    mine, theirs = await one.get("s"), await two.get("s")
    theirs.state["their"] = 1
    await two.save(theirs)
    mine.state["mine"] = 1
    with pytest.raises(SessionConflict):
        await two.save(mine)
    assert (await one.get("s")).state == {"their": 1}


async def test_a_fresh_object_does_not_wipe_a_session():
    """A Session made by hand for an id that has a history is a conflict."""
    manager = InMemorySessionManager()
    session = await manager.create("s")
    session.events.append(event())
    session.state["n"] = 1
    await manager.save(session)
    with pytest.raises(SessionConflict, match="get it first"):
        await manager.save(Session(session_id="s"))
    assert (await manager.get("s")).state == {"n": 1}


async def test_a_refused_save_leaves_no_event_behind():
    """A conflict adds nothing to the session in hand."""
    manager = InMemorySessionManager()
    await manager.create("s")
    one, two = await manager.get("s"), await manager.get("s")
    one.state["n"] = 1
    await manager.save(one)
    two.state["n"] = 2
    with pytest.raises(SessionConflict):
        await manager.save(two)
    assert two.events == []


async def test_a_listing_survives_notes_that_cannot_be_read():
    """The row says so; the others are listed."""
    manager = InMemorySessionManager()
    for name in ("good", "bad"):
        await manager.create(name)
    head = (await manager.store.load("bad")).head
    await manager.store.append("bad", [], expected=head.revision, commit_id=b"x", meta=b"[")
    infos, _ = await manager.list()
    assert {info.session_id: bool(info.problem) for info in infos} == {"good": False, "bad": True}


async def test_a_session_expires_after_a_day_of_inactivity():
    """The tutorial's exercise: each save begins the 24 hours anew; then it is not found."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    sessions = SessionManager(MemoryStore(clock=lambda: now), ttl=24 * 3600)
    session = await sessions.create("s")
    now += timedelta(hours=23)
    session.events.append(Event(content=[Message(role="user", content="Hi")]))
    await sessions.save(session)
    now += timedelta(hours=23)
    assert await sessions.get("s") is not None
    now += timedelta(hours=1)
    assert await sessions.get("s") is None
    assert [info async for info in sessions.all()] == []
    assert await sessions.purge() == 1
    assert (await sessions.create("s")).events == []
