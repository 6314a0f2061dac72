"""Plain functions as optimizers: what they give back becomes edits, or an error of the step."""

import pytest

from turnkeep import Keeper, Message, ToolCall, ToolResult
from turnkeep.optimize.edits import BadEdit, apply
from turnkeep.optimize.plain import as_optimizer
from turnkeep.optimize.plan import Cover, Replace
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.optimizers import OptimizerConformance
from turnkeep.testing.optimizers.bench import Bench
from turnkeep.testing.optimizers.scenes import Scene, limited, long_log, numbered

pytest_plugins = ["turnkeep.testing.plugin"]


def view_of(items):
    log = numbered(items)
    return Bench(limited(Scene("openai-chat", log, list(log), 1), 0.5)).view()


async def applied(function, items=None):
    """Give the edits of a function, and the items that they leave."""
    view = view_of(items or long_log(4))
    plan = await as_optimizer(function).plan(view)
    if plan is None:
        return [], [entry.item for entry in view.entries]
    return list(plan.edits), [entry.item for entry in apply(view, plan)]


def shortened(items):
    """Shorten old results, as new items."""
    return [
        item.model_copy(update={"content": [f"cut #{place + 1}.0"]})
        if isinstance(item, ToolResult)
        else item
        for place, item in enumerate(items)
    ]


async def test_what_stays_makes_no_edits():
    """All items, their copies, or None: there is nothing to do."""
    for function in (lambda items: items, lambda items: None, tuple):
        assert (await applied(function))[0] == []


async def test_shorter_items_become_replacements():
    """A new item of the same kind in the same place, or one that was changed in place."""
    edits, after = await applied(shortened)
    assert [type(edit) for edit in edits] == [Replace] * 4
    assert after[2].content == ["cut #3.0"]

    def in_place(items):
        items[2].content[:] = ["cut"]
        items[1].arguments.clear()
        return items

    edits, after = await applied(in_place)
    assert len(edits) == 2
    assert after[2].content == ["cut", "[shortened, recall #3.0]"]
    assert after[1].arguments == {}


async def test_what_is_left_out_is_covered_with_nothing():
    """A window over the items, by whole groups."""
    edits, after = await applied(lambda items: [items[0], *items[-2:]])
    assert [(type(edit), edit.text) for edit in edits] == [(Cover, None)]
    assert len(after) == 3


async def test_a_text_of_the_users_role_stands_for_the_groups_around_it():
    """A summary, put where the groups stood."""
    note = Message(role="user", content="They were read.")

    async def summing(items):
        return [items[0], note, *items[-2:]]

    edits, after = await applied(summing)
    assert [edit.text for edit in edits] == ["They were read."]
    assert after[1] == note
    assert len(after) == 4


def half_a_group(items):
    return [item for item in items if not isinstance(item, ToolResult)]


def backwards(items):
    return items[::-1]


def twice(items):
    return [*items, items[-1]]


def renamed(items):
    return [*items[:1], items[1].model_copy(update={"name": "other"}), *items[2:]]


def as_error(items):
    return [*items[:2], items[2].model_copy(update={"status": "error"}), *items[3:]]


def from_nowhere(items):
    return [*items, ToolCall(tool_call_id="new", name="x")]


def with_a_text_too_many(items):
    return [*items, Message(role="user", content="And that.")]


def as_another_kind(items):
    return [Message(role="assistant", content="x"), *items[1:]]


HOSTILE = [
    half_a_group,
    backwards,
    twice,
    renamed,
    as_error,
    from_nowhere,
    with_a_text_too_many,
    as_another_kind,
    lambda items: "text",
    lambda items: ["text"],
    lambda items: [None],
    lambda items: [{}],
    lambda items: 1,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_what_no_edit_can_say_is_an_error(number):
    """A new order, a part of a group, a changed name, things that are no items."""
    with pytest.raises(BadEdit):
        await applied(HOSTILE[number])


def behead(items):
    return items[1:]


def blow_up(items):
    return [
        item.model_copy(update={"content": ["x" * 50_000]})
        if isinstance(item, ToolResult)
        else item
        for item in items
    ]


@pytest.mark.parametrize("function", [behead, blow_up])
async def test_what_an_edit_may_not_do_is_refused_as_for_any_step(function):
    """A diff is no way around the rules of edits."""
    with pytest.raises(BadEdit):
        await applied(function)


async def test_the_functions_items_are_copies():
    """What it does to them and then forgets changes nothing."""
    items = long_log(3)
    before = [item.model_dump() for item in items]

    def spoil(given):
        for item in given:
            if isinstance(item, ToolResult):
                item.content.clear()
        given.clear()

    assert (await applied(spoil, items))[0] == []
    assert [item.model_dump() for item in items] == before


async def test_a_keeper_goes_on_without_a_function_that_fails():
    """Whatever it gives, the request fits and is made."""
    for function in HOSTILE:
        context = {"max_tokens": 1_500, "recall": False}
        optimizers = [as_optimizer(function)]
        keeper = Keeper(store=MemoryStore(), context=context, optimizers=optimizers, learn=False)
        async with keeper as keep, keep.turn("s") as turn:
            await turn.add(*long_log(8))
            request = await turn.request()
            assert "problem" in str(request.rewritten["steps"])
            assert request.report().expected <= 1_500


def cut_old_results(items):
    """Cut long results that stand before the user's newest message."""
    users = [n for n, item in enumerate(items) if getattr(item, "role", "") == "user"]
    return [
        cut(item) if number < max(users, default=0) else item for number, item in enumerate(items)
    ]


def cut(item):
    text = "".join(piece for piece in getattr(item, "content", []) if isinstance(piece, str))
    if (
        not isinstance(item, ToolResult)
        or len(text) < 800
        or (item.model_extra or {}).get("pinned")
    ):
        return item
    return item.model_copy(update={"content": [text[:100]]})


class TestPlain(OptimizerConformance):
    examples = 10

    def optimizer(self):
        return as_optimizer(cut_old_results)
