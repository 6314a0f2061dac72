"""What a log says about any point of it."""

from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import Message, Ref
from turnkeep.context import Context
from turnkeep.events import Checkpoint, Event, Placed, Retract
from turnkeep.history import standing, standing_base, state_at


def said(text):
    return Event(content=[Message(role="user", content=text)])


def numbered(*events):
    return [event.stored_as(seq) for seq, event in enumerate(events, 1)]


def refs(events):
    """The items that stand after a whole log, read from its base on as a turn does."""
    base = standing_base(events)
    live = events[max(base - 1, 0) :]
    return [entry.ref for entry in Context(live, base=base).entries]


def test_a_rewind_brings_back_what_was_taken_back_later():
    """The session stands as it stood then, whatever was retracted since."""
    log = numbered(said("a"), said("b"), Retract(items=[Ref(1, 0)]), Retract(after=2))
    assert refs(log) == [Ref(1, 0), Ref(2, 0)]


def test_a_rewind_behind_a_rewind_is_the_older_past():
    """The walk from the end goes through the events that stood then."""
    log = numbered(said("a"), said("b"), Retract(after=1), said("c"), Retract(after=3), said("d"))
    assert refs(log) == [Ref(1, 0), Ref(6, 0)]
    assert refs(numbered(*log[:5], Retract(after=2))) == [Ref(1, 0), Ref(2, 0)]


def test_a_checkpoint_counts_again_once_its_voiding_is_rewound():
    """A retraction voids it; going back before the retraction takes that back."""
    kept = Checkpoint(contents=[Placed(seq=1, index=0, item=said("a").content[0])])
    log = numbered(said("a"), kept, said("b"), Retract(items=[Ref(1, 0)]))
    assert standing_base(log) == 0
    assert standing_base(numbered(*log, Retract(after=3))) == 2


def test_a_number_that_leads_nowhere_ends_the_walk():
    """A foreign log may name an event that comes later, or itself."""
    assert refs(numbered(said("a"), Retract(after=9))) == [Ref(1, 0)]
    assert refs(numbered(said("a"), Retract(after=2), said("b"))) == [Ref(1, 0), Ref(3, 0)]


def test_the_state_is_that_of_the_newest_event_that_stood_and_changed_it():
    """Events that were passed over say nothing."""
    log = numbered(
        said("a").carrying({"n": 1}),
        said("b").carrying({"n": 2}),
        Retract(after=1).carrying({"n": 1}),
        said("c"),
    )
    assert [state_at(log, seq, {"n": 1}) for seq in range(5)] == [
        {},
        {"n": 1},
        {"n": 2},
        {"n": 1},
        {"n": 1},
    ]


def test_a_state_that_no_event_changed_was_always_there():
    """An imported session has one from the beginning."""
    assert state_at(numbered(said("a"), said("b")), 1, {"kept": True}) == {"kept": True}


@st.composite
def logs(draw):
    """Logs with retractions and checkpoints at random, and what a naive reader says stands."""
    events, past = [], [[]]
    for seq in range(1, draw(st.integers(1, 12)) + 1):
        stands = list(past[-1])
        kind = draw(st.sampled_from(["say", "say", "take", "back", "checkpoint"]))
        if kind == "take" and any(ref.seq < seq for ref in stands):
            gone = draw(st.sampled_from(stands))
            event = Retract(items=[gone])
            stands.remove(gone)
        elif kind == "back":
            after = draw(st.integers(0, seq - 1))
            event, stands = Retract(after=after), list(past[after])
        elif kind == "checkpoint":
            event = Checkpoint(
                contents=[
                    Placed(seq=ref.seq, index=ref.index, item=said(f"{ref}").content[0])
                    for ref in stands
                ]
            )
        else:
            event = said(str(seq))
            stands.append(Ref(seq, 0))
        events.append(event.stored_as(seq))
        past.append(stands)
    return events, past


@given(logs())
def test_every_prefix_stands_as_it_was_written(log):
    """Read from the base on, as a turn does, it is what a reader of the whole keeps in mind."""
    events, past = log
    for seq in range(len(events) + 1):
        assert refs(events[:seq]) == past[seq]


@given(logs())
def test_what_stands_is_a_part_of_the_log_in_order(log):
    """Nothing is invented or moved, and the newest event is always among it."""
    events, _ = log
    kept = [event.seq for event in standing(events)]
    assert kept == sorted(set(kept))
    assert kept[-1] == len(events)
