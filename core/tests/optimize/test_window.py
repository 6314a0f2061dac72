"""`window`: what stays is what every provider takes for a beginning."""

import pytest

from turnkeep import Keeper, Message, ToolCall
from turnkeep.stores.memory import MemoryStore

TOOLS = [{"name": "read"}]


@pytest.mark.parametrize("profile", ["openai-chat", "anthropic", "gemini"])
@pytest.mark.parametrize("groups", [6, 7, 8])
async def test_without_the_first_message_an_answer_may_be_the_oldest_that_stays(profile, groups):
    """A short text stands before it then, so that the step is not discarded."""
    window = {"use": "window", "groups": groups, "keep_first": False}
    rules = {"max_tokens": 6_000, "pipeline": [window], "trigger": 0.6, "target": 0.1}
    reports = []
    async with Keeper(
        store=MemoryStore(), context={**rules, "profile": profile}, learn=False
    ) as keep:
        for number in range(12):
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=f"Read {number}"))
                for step in range(5):
                    request = await turn.request(tools=TOOLS)
                    reports += [request.rewritten] if request.rewritten else []
                    call = ToolCall(tool_call_id=f"c{number}{step}", name="read", arguments={})
                    [made] = (await turn.add_response([call])).tool_calls
                    await turn.add_result(made, f"file {step}: " + "some text " * 60)
    assert len(reports) > 3
    steps = [step for report in reports for step in report["steps"]]
    assert {step["name"] for step in steps} == {"window"}
    assert not any("problem" in step for step in steps)
