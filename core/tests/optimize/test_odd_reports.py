"""Reports of a provider that cannot be of what we see: a session goes on all the same."""

import pytest

from turnkeep import Keeper, Message
from turnkeep.content import FilePart, TextPart, Usage
from turnkeep.model import ModelAnswer
from turnkeep.stores.memory import MemoryStore

FILE = FilePart(url="https://example.org/a.pdf", media_type="application/pdf")


async def requests_after(report, content, *, pinned=False):
    """Send a message, take a report far above our count, and go on; gives the next requests."""
    found = []
    async with Keeper(store=MemoryStore(), context={"max_tokens": 100_000}, learn=False) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content=content, pinned=pinned))
            await turn.request()
            answer = [Message(role="assistant", content="It is about cats")]
            usage = Usage(input_tokens=report, output_tokens=5)
            await turn.add_response(ModelAnswer(items=answer, usage=usage))
        for number in range(3):
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=f"{number}?"))
                found.append(await turn.request())
                await turn.add_response(answer)
    return found


def holds_file(request):
    return any("example.org" in str(item) for item in request.items)


async def test_a_document_that_counts_for_more_than_the_limit_is_taken_out():
    """No formula knows the size of what stands at a URL; the report does."""
    requests = await requests_after(120_000, [TextPart(text="Summarize"), FILE])
    assert not any(map(holds_file, requests))
    assert [bool(request.rewritten) for request in requests] == [True, False, False]


async def test_one_that_may_not_be_touched_stays():
    """What was reported is left out of account then: the provider may have the room."""
    requests = await requests_after(120_000, [TextPart(text="Summarize"), FILE], pinned=True)
    assert all(map(holds_file, requests))


@pytest.mark.parametrize("report", [101_000, 150_000, 10**9])
async def test_a_report_of_something_else_takes_nothing_from_a_small_context(report):
    """As where a hosted tool sums up calls of its own: the next report counts again."""
    requests = await requests_after(report, "word " * 500)
    assert [len(request.items) for request in requests] == [3, 5, 7]
    assert not any(request.rewritten for request in requests)
