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


def talk(count):
    """Make a conversation without tools; each answer begins and goes on differently."""
    items = [Message(role="user", content="Tell me about them.")]
    for number in range(count):
        items += [
            Message(role="assistant", content=f"answer {number}: " + f"talk{number} " * 60),
            Message(role="user", content=f"question {number}"),
        ]
    return items


def steps_with_thoughts(count, call_id="c{}"):
    """Make steps with a text in front of each call."""
    items = [Message(role="user", content="Read everything.")]
    for number in range(count):
        made = call_id.format(number)
        items += [
            Message(role="assistant", content=f"{number} thinking aloud " * 30),
            ToolCall(tool_call_id=made, name="read_file", arguments={"n": number}),
            ToolResult(tool_call_id=made, name="read_file", content=[f"line {number}\n" * 50]),
        ]
    return items


def texts_anew(make):
    """Put a text of its own in place of each answer's, as a new message."""

    def anew(item):
        if isinstance(item, Message) and item.role == "assistant":
            return Message(role="assistant", content=make(item.content))
        return item

    return anew


@pytest.mark.parametrize(
    "make",
    [
        lambda text: text[:60],
        lambda text: text[-300:],
        lambda text: text[4:100],
        lambda text: f"{text[:80]}… (shortened)",
        lambda text: f"{text[:80]} […] {text[-80:]}",
    ],
)
async def test_a_new_message_stands_for_the_one_it_is_made_of(make):
    """Where others of its kind were left out before and behind it: its text tells."""
    edits, after = await applied(
        lambda items: [items[0], *map(texts_anew(make), items[5:8]), *items[10:]], talk(6)
    )
    first, second = (edit for edit in edits if isinstance(edit, Replace))
    assert [first.entry.item, second.entry.item] == talk(6)[5:8:2]
    assert first.content.startswith(make(talk(6)[5].content))
    assert "#6.0" in first.content
    assert len(after) == 7


async def test_a_step_is_known_by_what_is_left_of_it():
    """Whatever its new text is, it goes with the call behind it; whole steps before it are gone."""
    for make in (lambda text: text[:60], lambda text: "(left out)"):
        edits, after = await applied(
            lambda items, make=make: [items[0], *map(texts_anew(make), items[7:])],
            steps_with_thoughts(4),
        )
        replaced = [edit.entry.item for edit in edits if isinstance(edit, Replace)]
        assert replaced == [steps_with_thoughts(4)[place] for place in (7, 10)]
        assert [edit.text for edit in edits if isinstance(edit, Cover)] == [None]
        assert len(after) == 7


@pytest.mark.parametrize("call_id", ["c{}", "call_0"])
async def test_new_calls_and_results_are_told_by_their_ids(call_id):
    """And where ids come again, by what is left of their texts."""

    def whole_step_anew(items):
        text, call, result = items[4:7]
        return [
            items[0],
            text.model_copy(update={"content": text.content[:40]}),
            call.model_copy(update={"arguments": {**call.arguments}}),
            result.model_copy(update={"content": [result.content[0][:20]]}),
            *items[10:],
        ]

    log = steps_with_thoughts(4, call_id)
    edits, after = await applied(whole_step_anew, log)
    assert [edit.entry.item for edit in edits if isinstance(edit, Replace)] == [log[4], log[6]]
    assert [type(edit) for edit in edits].count(Cover) == 2
    assert len(after) == 7


async def test_what_could_stand_for_several_is_an_error():
    """A reference to another item would be worse than no plan; the error says what helps."""
    function = texts_anew(lambda text: "(an old answer)")
    with pytest.raises(BadEdit, match="in place"):
        await applied(lambda items: [items[0], *map(function, items[-4:])], talk(6))


async def test_of_equal_messages_any_is_as_good():
    """What recall reads back is the same text."""
    log = talk(1)
    log = [*log, *log[1:], *log[1:], *log[1:]]
    edits, _ = await applied(
        lambda items: [items[0], *map(texts_anew(lambda text: text[:60]), items[-4:])], log
    )
    assert sum(isinstance(edit, Replace) for edit in edits) == 2


async def test_a_long_session_is_compared_in_time():
    """Whatever is new of it: what cannot be told apart quickly is an error."""
    log = talk(3_000)
    function = texts_anew(lambda text: text[:60])
    edits, _ = await applied(lambda items: [*map(function, items[:-3]), *items[-3:]], log)
    assert len(edits) == 2_999
    with pytest.raises(BadEdit):
        await applied(lambda items: [items[0], *map(function, items[1:-1:4]), items[-1]], log)


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
