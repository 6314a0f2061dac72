"""Asked behind the conversation itself: its provider's cache is read, as the provider bills it."""

import json

import pytest

from turnkeep import Keeper, Message
from turnkeep.errors import ModelOverflow
from turnkeep.formats import PROFILE_NAMES
from turnkeep.model import ModelLimits
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.provider import Call, ProviderServer, Say
from turnkeep_memory_summarize import Summarize, SummarizeOptions

litellm = pytest.importorskip("turnkeep_model_litellm")

TOOLS = [{"name": "read_file", "parameters": {"type": "object"}}]
MODELS = {
    "openai-chat": "openai/gpt-4o-mini",
    "openai-responses": "openai/gpt-5",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-pro",
}
ASKS = "Its earlier part is to be replaced by a summary."


# What LiteLLM's import warns of: pytest would make errors of it.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (".*`ReadOnly` qualifier.*", ".*Accessing the.*attribute.*")
]


class Provider:
    """A provider that answers with a tool call, and with a summary where it is asked for one."""

    def __init__(self, summary):
        self.summary, self.calls = summary, 0
        self.asked = []

    def __call__(self, seen):
        if any(mark in json.dumps(seen.body) for mark in (ASKS, "<history>")):
            self.asked.append(seen)
            return Say(self.summary)
        self.calls += 1
        return Say(
            f"Step {self.calls}.", calls=[Call("read_file", {"path": f"src/{self.calls}.py"})]
        )


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("own", [True, False])
async def test_the_cached_prefix_is_read(profile, own, summary):
    """What was sent before comes from the cache; sent as data, nothing does, and none is written."""
    provider = Provider(summary())
    with ProviderServer(api_key="k", default=provider) as server:
        client = litellm.LitellmClient(
            MODELS[profile],
            api_key="k",
            api_base=server.base_url(profile),
            api="responses" if profile == "openai-responses" else "auto",
        )
        rules = {"max_tokens": 16_000, "trigger": 0.8, "target": 0.3, "arrival_cap": 0}
        options = SummarizeOptions(tokens=400, index=400, least=0)
        async with client, Summarize(client, options, own=own) as step:
            keep = Keeper(store=MemoryStore(), context=rules, optimizers=[step], model=client)
            reports = []
            async with keep, keep.turn("s") as turn:
                await turn.add(Message(role="user", content="Read everything."))
                while len(reports) < 2:
                    request = await turn.request(
                        instructions="Be brief.",
                        tools=TOOLS,
                        profile=profile,
                        model_id=client.model_id,
                    )
                    if request.rewritten is not None:
                        reports.append(request.rewritten)
                    response = await turn.add_response(await client.generate(request))
                    for call in response.tool_calls:
                        await turn.add_result(
                            call, f"file {call.arguments['path']}\n" + "some text " * 400
                        )
        assert server.rejected == []
        [told] = [each for each in reports[-1]["steps"] if each["name"] == "summarize"]
        assert "problem" not in told
        assert told["notes"]["way"] == ("in the conversation" if own else "own prompt")
        assert len(provider.asked) == 2
        for seen in provider.asked:
            before = server.requests[seen.number - 2]
            if own:  # all that was sent before is read; only the last step and the question are not
                assert seen.usage.cached_tokens >= 0.97 * before.usage.input_tokens
                assert seen.usage.cached_tokens >= 0.8 * seen.usage.input_tokens
                assert seen.body.get("tools") == before.body.get("tools")
                assert seen.body.get("tool_choice") == before.body.get("tool_choice")
            else:
                assert seen.usage.cached_tokens == 0
                assert profile != "anthropic" or seen.usage.cache_write_tokens == 0  # as asked for
        assert told["usage"]["cached_tokens"] == provider.asked[-1].usage.cached_tokens
        assert told["cost"] > 0


async def test_what_it_is_told(play, summary):
    """Which part is meant, where that ends, and that a summary stands in it."""
    game = play(summary(), summary())
    game.own = True
    await game.rewrites(2)
    first, second = (body["messages"] for body in game.model.requests)
    assert first[0]["content"] == "Be brief."
    assert [tool["function"]["name"] for tool in game.model.requests[0]["tools"]] == [
        "read_file",
        "recall",
    ]
    said = first[-1]["content"]
    assert said.startswith("The conversation pauses here. Its earlier part is to be replaced")
    kept = next(m for m in game.request.to("openai-chat")["messages"] if m["role"] == "assistant")
    assert "up to the place where the assistant says: “Step " in said
    assert kept["role"] == "assistant"
    assert "A summary of what came before stands in it" not in said
    assert "A summary of what came before stands in it" in second[-1]["content"]
    assert "<history>" not in json.dumps(game.model.requests)


async def test_it_ends_where_the_context_begins(play, summary):
    """The step that it is told to stop at is the first that stays."""
    game = play(summary())
    game.own = True
    await game.rewrites()
    said = game.model.requests[0]["messages"][-1]["content"]
    first = next(i for i in game.request.items if getattr(i, "role", "") == "assistant")
    assert f"up to the place where the assistant says: “{first.content}”" in said


async def test_a_window_too_small_for_it(play, summary):
    """What would not fit behind the conversation is sent as data, in chunks."""
    game = play(*[summary()] * 20, limits=ModelLimits(context_window=2_500))
    game.own = True
    await game.rewrites()
    assert game.step_report["notes"]["way"] == "own prompt"
    assert game.step_report["notes"]["chunks"] > 1


async def test_the_provider_says_that_it_is_too_large(play, summary):
    """Then it is sent as data, too."""
    game = play(ModelOverflow("too long"), summary())
    game.own = True
    await game.rewrites()
    assert game.step_report["notes"]["way"] == "own prompt"
    assert game.step_report["notes"]["calls"] == 2
    assert "problem" not in game.step_report


async def test_a_tool_call_in_the_conversation(play, summary):
    """The tools are there, so models use them: it is told not to, and the call is not made."""
    from turnkeep import ToolCall

    game = play(ToolCall(tool_call_id="x", name="read_file", arguments={}), summary())
    game.own = True
    await game.rewrites()
    assert "problem" not in game.step_report
    one, two = (body["messages"] for body in game.model.requests)
    assert one[:-1] == two[:-1]
    assert "it called a tool instead of answering" in two[-1]["content"]
    assert all(getattr(item, "tool_call_id", "") != "x" for item in game.request.items)
