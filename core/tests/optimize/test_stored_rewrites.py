"""Rewrites and the store: whatever happens to the write, the old or the new context stands whole."""

import asyncio

import pytest

from turnkeep import ImagePart, Keeper, Message, StoreUnavailable, TextPart, ToolCall
from turnkeep import log as log_module
from turnkeep.events import Checkpoint
from turnkeep.optimize.plan import Plan, Replace
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore

BIG = "A" * 400_000
"""A picture of 300 kB, as base64."""


class Letters:
    """Counts characters, but not those of the picture."""

    name = "letters"

    def count_texts(self, texts):
        return [len(text) if len(text) < 100_000 else 10 for text in texts]

    def exact(self, model):
        return True


@pytest.fixture(autouse=True)
def no_retries(monkeypatch):
    """Each fault comes out at once."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())


def keeper(store, **fields):
    context = {"max_tokens": 8_000, "trigger": 0.5, "recall": False}
    return Keeper(store=store, counter=Letters(), context=context, **fields)


async def fill(turn, picture=False):
    """Bring a context to where its next request rewrites it."""
    await turn.add(Message(role="user", content="Read them all"))
    for number in range(5):
        call = ToolCall(tool_call_id=f"c{number}", name="read")
        [made] = (await turn.add_response([call])).tool_calls
        value = [TextPart(text="x" * 900)]
        if picture and number == 4:
            value.append(ImagePart(data=BIG, media_type="image/png"))
        await turn.add_result(made, value if picture else "x" * 900)


@pytest.mark.parametrize("fault", ["lose answer", "refuse", "cancel before", "cancel after"])
@pytest.mark.parametrize("picture", [False, True])
async def test_a_request_asked_for_again_stands_on_one_rewrite(fault, picture):
    """The write was lost, or its answer; nothing is doubled, and large pictures are whole."""
    store = FaultyStore(MemoryStore(), [])
    async with keeper(store) as keep:
        async with keep.turn("s") as turn:
            await fill(turn, picture)
            items = len(turn.context.items)
            store.plan = [fault]
            with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
                await turn.request()
            request = await turn.request()
            assert (BIG in str(request.to_anthropic())) == picture
            assert request.report("anthropic").tokens <= 8_000
            assert 0 < len(turn.context.items) <= items
            here = request.to_anthropic()
        kept = [e for e in (await keep.sessions.get("s")).events if isinstance(e, Checkpoint)]
        assert len(kept) == 1
        async with keep.turn("s") as turn:
            assert (await turn.request()).to_anthropic() == here


async def test_a_picture_of_a_shortened_result_is_stored_once():
    """The checkpoint refers to the event that holds it, by its place there."""
    store = MemoryStore()
    context = {"max_tokens": 20_000, "trigger": 0.2, "arrival_cap": 500, "recall": False}
    async with Keeper(store=store, counter=Letters(), context=context) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Look"))
            for number in range(9):
                call = ToolCall(tool_call_id=f"c{number}", name="read")
                [made] = (await turn.add_response([call])).tool_calls
                value = [TextPart(text="y" * 2_000), TextPart(text="z")]
                if number == 8:
                    value.append(ImagePart(data=BIG, media_type="image/png"))
                await turn.add_result(made, value)
            request = await turn.request()
            assert request.rewritten
            here = request.to_openai_chat()
        async with keep.turn("s") as turn:
            assert (await turn.request()).to_openai_chat() == here
        loaded = await store.load("s", after=turn.context.base - 1)
        assert len(loaded.records[0]) < 100_000


@pytest.mark.parametrize("state", [{"a": float("nan")}, {"a": "\ud800"}, {1: 2}, object()])
async def test_what_a_step_wants_to_remember_must_be_json(state):
    """Else its plan is discarded, and the run goes on."""

    class Remembers:
        async def plan(self, view):
            entry = next(e for e in view.entries if e.item.type == "tool_result")
            return Plan([Replace(entry, ["short"])], state)

    async with keeper(MemoryStore(), optimizers=[Remembers()]) as keep, keep.turn("s") as turn:
        await fill(turn)
        await turn.request()
        assert turn.context.base == 0
        assert "short" not in str(turn.context.items)
