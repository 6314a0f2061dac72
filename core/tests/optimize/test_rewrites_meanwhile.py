"""What happens beside a rewrite: items that are added, calls that run, tools and caps that change."""

import asyncio
import json

import pytest

from turnkeep import ConfigError, Keeper, Message, StoreUnavailable, ToolCall
from turnkeep.content import Request
from turnkeep.optimize import recall as recall_module
from turnkeep.optimize.plan import Cover, Plan
from turnkeep.optimize.rules import ContextRules
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.letters import Letters

TOOLS = [{"name": "read"}, {"name": "write"}]


def keeper(store, optimizers=None, **context):
    context = {"max_tokens": 8_000, "recall": False, **context}
    return Keeper(store=store, counter=Letters(exact=True), context=context, optimizers=optimizers)


async def read(turn, number, size=900):
    call = ToolCall(tool_call_id=f"c{number}", name="read", arguments={"n": number})
    [made] = (await turn.add_response([call])).tool_calls
    await turn.add_result(made, f"value_{number} " + "x" * size)


class Slowly:
    """Covers the oldest groups, after a while."""

    def __init__(self):
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def plan(self, view):
        self.asked.set()
        await self.go.wait()
        old = [group for group in view.before_recent(2) if group.coverable]
        return Plan([Cover(group, group) for group in old])


async def test_an_item_that_is_added_during_a_rewrite_stays():
    """In the request that was waited for or in the next one, and after a reload."""
    store, slowly = MemoryStore(), Slowly()
    async with keeper(store, [slowly], trigger=0.5) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Go"))
            for number in range(5):
                await read(turn, number)
            asking = asyncio.create_task(turn.request(tools=TOOLS))
            await slowly.asked.wait()
            await turn.add(Message(role="user", content="stop_right_now"))
            slowly.go.set()
            assert (await asking).rewritten
            assert "stop_right_now" in str((await turn.request(tools=TOOLS)).to_openai_chat())
        async with keep.turn("s") as turn:
            assert turn.context.base
            assert "stop_right_now" in str(turn.context.items)
            assert len({entry.ref for entry in turn.context.entries}) == len(turn.context.items)


async def test_a_call_that_is_to_run_keeps_its_arguments():
    """Whoever runs it reads them from the context."""
    text = "lorem ipsum " * 500
    async with keeper(MemoryStore(), max_tokens=9_000) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        for number in range(4):
            await read(turn, number)
        call = ToolCall(tool_call_id="w", name="write", arguments={"content": text})
        await turn.add_response([call])
        await turn.request(tools=TOOLS)
        assert turn.open_calls == [call]


async def test_without_tools_of_its_own_a_program_gets_no_recall():
    """Else repair would keep only calls of that one tool."""
    async with keeper(MemoryStore(), recall=True) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        await read(turn, 1, size=10)
        request = await turn.request()
        assert request.request.tools == []
        assert "value_1" in str(request.to_openai_chat())


async def test_counts_of_other_caps_are_not_taken_over():
    """What was cut before stands whole now, and is counted so."""
    store = MemoryStore()
    async with keeper(store, arrival_cap=200) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        for number in range(12):
            await read(turn, number, size=3_000)
            await turn.request(tools=TOOLS)
        await turn.add_response("done")
    async with keeper(store, arrival_cap=0) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="More"))
        request = await turn.request(tools=TOOLS)
        assert request.report().tokens <= 8_000
        assert len(str(request.to_openai_chat()["messages"])) < 16_000


async def test_a_recall_that_fails_ends_no_turn(monkeypatch):
    """Where no process can be started, say; the model is told."""

    async def nothing(*_args, **_fields):
        raise FileNotFoundError("no interpreter")

    monkeypatch.setattr(recall_module.asyncio, "create_subprocess_exec", nothing)
    async with keeper(MemoryStore(), recall=True) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        await turn.request(tools=TOOLS)
        asked = ToolCall(tool_call_id="r", name="recall", arguments={"pattern": "a.c"})
        await turn.add_response([asked])
        assert turn.open_calls == []
        assert "could not be read back" in str((await turn.request(tools=TOOLS)).to_openai_chat())


async def test_a_damaged_record_is_told_by_recall_and_ends_no_turn():
    """The live context begins behind it, and is whole."""
    store = MemoryStore()
    async with keeper(store, [Slowly()], trigger=0.5, recall=True) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        await turn.request(tools=TOOLS)
        store._sessions["s"].records[0] = b"damaged"
        await turn.add_response(
            [ToolCall(tool_call_id="r", name="recall", arguments={"ref": "1.0"})]
        )
        assert turn.open_calls == []
        said = str((await turn.request(tools=TOOLS)).to_openai_chat())
        assert "could not be read back: session 's', record 1" in said


async def test_two_requests_at_once_answer_a_call_of_recall_once():
    """One waits for the other, as each may write."""

    class Away(MemoryStore):
        away = False

        async def load(self, *args, **fields):
            await asyncio.sleep(0)
            if self.away:
                self.away = False
                raise StoreUnavailable("away")
            return await super().load(*args, **fields)

    store = Away()
    async with keeper(store, recall=True) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        await turn.request(tools=TOOLS)
        store.away = True  # as the call is answered at once
        await turn.add_response(
            [ToolCall(tool_call_id="r", name="recall", arguments={"ref": "1.0"})]
        )
        assert len(turn.open_calls) == 1
        one, two = await asyncio.gather(*(turn.request(tools=TOOLS) for _ in range(2)))
        assert one.items == two.items
        assert turn.open_calls == []


async def test_a_request_may_hold_an_item_twice():
    """As a callback may leave it: each is shortened by itself."""
    async with keeper(MemoryStore(), max_tokens=3_000) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        await turn.add_response([Message(role="assistant", content="plan " * 400)])
        await turn.add(Message(role="user", content="Next"))
        first, answer, last = (await turn.request()).items
        twice = Request(contents=[first, answer, answer, last])
        shorter = await turn.reshape(twice, profile="openai-chat")
        assert shorter.report("openai-chat").tokens <= 3_000


async def test_a_step_whose_future_was_cancelled_is_skipped():
    """Only a cancellation of the run itself ends it."""

    class Waits:
        async def plan(self, view):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    async with keeper(MemoryStore(), [Waits()], trigger=0.3) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        for number in range(5):
            await read(turn, number)
        assert (await turn.request(tools=TOOLS)).report().tokens <= 8_000


def test_rules_as_an_object_know_their_preset():
    """What is set beside it goes before it."""
    assert ContextRules(max_tokens=10_000, preset="cheap").cap() == 250
    assert ContextRules(max_tokens=10_000, preset="cheap", arrival_cap=7).cap() == 7
    with pytest.raises(ValueError, match="reserve must be less"):
        ContextRules(max_tokens=100, reserve=100)
    with pytest.raises(ConfigError, match="need a limit"):
        Keeper(store=MemoryStore(), optimizers=[Slowly()])


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ({"lines": ["[" * 500, "{" * 500, "NaN"]}, True),
        ([[1, 2]] * 500, True),
        ({"a": (1, 2)}, False),
        (json.loads("[" * 95 + "]" * 95), False),
    ],
)
async def test_brackets_in_texts_are_no_depth(state, kept):
    """What a step remembers may hold any text, but not be nested without end."""

    class Remembers(Slowly):
        async def plan(self, view):
            self.go.set()
            return Plan((await super().plan(view)).edits, state)

    async with keeper(MemoryStore(), [Remembers()], trigger=0.5) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Go"))
        for number in range(5):
            await read(turn, number)
        await turn.request(tools=TOOLS)
        assert (turn.context.memory.get("remembers") == state) == kept


async def test_a_try_that_gained_nothing_is_remembered_by_the_next_turn():
    """It waits until the context has grown by a tenth, whoever goes on."""

    class Nothing:
        tries = 0

        async def plan(self, view):
            self.tries += 1

    store, nothing = MemoryStore(), Nothing()
    async with keeper(store, [nothing], max_tokens=40_000, trigger=0.2) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Go"))
            for number in range(10):
                await read(turn, number)
            await turn.request(tools=TOOLS)
            await turn.add_response("done")
        assert nothing.tries == 1
        for _ in range(5):
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content="And?"))
                await turn.request(tools=TOOLS)
                await turn.add_response("no")
        assert nothing.tries == 1
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="x" * 2_000))
            await turn.request(tools=TOOLS)
        assert nothing.tries == 2
