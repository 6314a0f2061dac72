"""Large media are stored once; a checkpoint refers to them, and a request holds them again."""

import pytest

from turnkeep import CorruptSession, ImagePart, Keeper, Message, TextPart, ToolResult
from turnkeep.blobs import INLINE_LIMIT, refer
from turnkeep.content import BlobPart
from turnkeep.events import Checkpoint, Event, Placed
from turnkeep.log import Log
from turnkeep.store import new_commit_id
from turnkeep.stores.memory import MemoryStore

LARGE = ImagePart.from_bytes(b"x" * (INLINE_LIMIT + 3), "image/png")
SMALL = ImagePart.from_bytes(b"x" * INLINE_LIMIT, "image/png")


@pytest.mark.parametrize(
    "item",
    [
        Message(role="user", content=[TextPart(text="see"), LARGE]),
        ToolResult(tool_call_id="c", name="n", content=["see", LARGE]),
    ],
)
def test_large_inline_parts_become_references(item):
    """Where it is, what it is, and how large."""
    [first, blob] = refer(Placed(seq=4, index=1, item=item)).item.content
    assert first == item.content[0]
    assert blob == BlobPart(seq=4, index=1, part=1, size=INLINE_LIMIT + 3, media_type="image/png")


@pytest.mark.parametrize("content", ["text", [SMALL], [ImagePart(url="https://example.org/x.png")]])
def test_small_parts_and_urls_stay(content):
    """Nothing else is touched."""
    placed = Placed(seq=1, index=0, item=Message(role="user", content=content))
    assert refer(placed) is placed


async def session_with(*events, base):
    store = MemoryStore()
    log = Log(store, await store.create("s", commit_id=new_commit_id()))
    await log.append(list(events), base=base)
    return store


async def test_a_request_behind_a_checkpoint_holds_the_original():
    """The live context is as if the checkpoint had repeated it."""
    seen = Message(role="user", content=[TextPart(text="see"), LARGE])
    kept = Checkpoint(contents=[refer(Placed(seq=1, index=0, item=seen))])
    store = await session_with(Event(content=[seen]), kept, base=2)
    async with Keeper(store=store) as keep, keep.turn("s") as turn:
        assert turn.context.items == [seen]
        body = (await turn.request()).to_openai_chat()
    assert LARGE.data in body["messages"][0]["content"][1]["image_url"]["url"]


async def test_a_reference_that_leads_nowhere_is_corruption():
    """It is told with the event it names."""
    lost = Message(role="user", content=[BlobPart(seq=1, index=0, part=5, size=1)])
    store = await session_with(
        Event(content=[Message(role="user", content="x")]),
        Checkpoint(contents=[Placed(seq=1, index=0, item=lost)]),
        base=2,
    )
    with pytest.raises(CorruptSession, match="record 1"):
        async with Keeper(store=store) as keep, keep.turn("s"):
            pass
