"""What the tests of sessions with a limit share: items, a keeper, and a request that is asked for."""

import base64

from turnkeep import (
    Keeper,
    Message,
    ToolCall,
    ToolResult,
)
from turnkeep.events import Checkpoint
from turnkeep.formats import get_profile
from turnkeep.stores.memory import MemoryStore

LINE = "The parser reads src/pkg/parser.py and goes on with line {}.\n"
LONG = "".join(LINE.format(number) for number in range(100))
PICTURE = base64.b64encode(b"\x89PNG" + bytes(3_000)).decode()


def user(text="Go on.", **extra):
    return Message(role="user", content=text, **extra)


def call(number=1, name="read_file", **arguments):
    return ToolCall(tool_call_id=f"c{number}", name=name, arguments=arguments)


def result(number=1, *content, name="read_file", **extra):
    return ToolResult(tool_call_id=f"c{number}", name=name, content=list(content), **extra)


def keeper(limit=2_000, store=None, optimizers=None, **rules):
    context = {"max_tokens": limit, "arrival_cap": 0, "recall": False, **rules}
    return Keeper(store=store or MemoryStore(), context=context, optimizers=optimizers, learn=False)


async def asked(items, *, profile="openai-chat", limit=2_000, turn_fields=None, **rules):
    """Keep items in a new session, and ask for its next request; gives both."""
    async with keeper(limit, **rules) as keep, keep.turn("s") as turn:
        await turn.add(*items)
        request = await turn.request(profile=profile, **(turn_fields or {}))
        body = request.to(profile, cache=False)
        assert get_profile(profile).check(body) == []
        assert request.report(profile).expected <= limit
        return request, body


async def checkpoints(keep):
    return [
        event for event in (await keep.sessions.get("s")).events if isinstance(event, Checkpoint)
    ]


def steps(count, text=LONG):
    items = [user("Read all of it.")]
    for number in range(count):
        items += [call(number, path=f"src/{number}.py"), result(number, text)]
    return items
