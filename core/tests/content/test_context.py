"""What the events of a session leave standing."""

from turnkeep.content import Message, Ref, ToolCall, ToolResult
from turnkeep.context import Context
from turnkeep.events import Checkpoint, Decision, Event, Placed, Retract
from turnkeep.history import standing_base


def user(text):
    return Message(role="user", content=text)


def call(name, id="c", **fields):
    return ToolCall(tool_call_id=id, name=name, **fields)


def result(id="c"):
    return ToolResult(tool_call_id=id, name="t", content=["r"])


def log(*contents):
    events = [item if isinstance(item, Event) else Event(content=[item]) for item in contents]
    return [event.stored_as(seq) for seq, event in enumerate(events, 1)]


def texts(context):
    return [item.content for item in context.items]


def test_items_stand_in_order_with_their_identity():
    """An item is known by its event's seq and its index."""
    context = Context(log(Event(content=[user("a"), user("b")]), user("c")))
    assert [entry.ref for entry in context.entries] == [Ref(1, 0), Ref(1, 1), Ref(2, 0)]


def test_partial_events_are_left_out():
    """A cut stream stays in the log only."""
    assert texts(Context(log(user("a"), Event(content=[user("b")], partial=True)))) == ["a"]


def test_retracted_items_are_gone():
    """Single items and everything after an event can be taken back."""
    assert texts(Context(log(user("a"), user("b"), user("c"), Retract(items=[Ref(2, 0)])))) == [
        "a",
        "c",
    ]
    assert texts(Context(log(user("a"), user("b"), user("c"), Retract(after=1), user("d")))) == [
        "a",
        "d",
    ]


def test_a_checkpoint_stands_for_what_is_before_it():
    """Loaded from its base, a context is the checkpoint's contents and what follows."""
    kept = Checkpoint(contents=[Placed(seq=1, index=0, item=user("first"))])
    events = log(user("first"), user("dropped"), kept, user("new"))
    context = Context(events[2:], base=3)
    assert texts(context) == ["first", "new"]
    assert context.entries[0].ref == Ref(1, 0)


def test_a_voided_checkpoint_is_passed_over():
    """A checkpoint that holds something taken back does not count any more."""
    kept = Checkpoint(contents=[Placed(seq=1, index=0, item=user("b"))])
    events = log(user("a"), kept, user("c"), Retract(items=[Ref(1, 0)]))
    assert standing_base(events[:3]) == 2
    assert standing_base(events) == 0
    assert texts(Context(events, base=0)) == ["c"]


def test_a_retraction_behind_a_checkpoint_leaves_it_standing():
    """Taking back what came later voids nothing."""
    events = log(user("a"), Checkpoint(), user("b"), Retract(after=2))
    assert standing_base(events) == 2


def test_open_calls_are_those_of_the_last_step_without_result():
    """A result answers the latest open call with its id; older steps want none any more."""
    events = log(
        user("u"),
        call("old"),
        user("v"),
        Event(content=[call("x", "1"), call("y", "2"), call("z", "1")]),
        result("1"),
    )
    assert [entry.item.name for entry in Context(events).open_calls()] == ["x", "y"]


def test_calls_that_need_approval_are_pending_until_decided():
    """Pending is derived from the log: gated, open, undecided."""
    events = log(
        user("u"), Event(content=[call("safe", "1"), call("gated", "2", needs_approval=True)])
    )
    context = Context(events)
    assert [entry.item.name for entry in context.pending()] == ["gated"]
    context.add(Decision(call=Ref(2, 1), tool_call_id="2", approved=True).stored_as(3))
    assert context.pending() == []
    assert [entry.item.name for entry in context.open_calls()] == ["safe", "gated"]
