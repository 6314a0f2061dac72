"""Sessions of the APIs whose answers hold reasoning: kept, imported, and sent back as it came."""

import json

import pytest

from turnkeep import Keeper, Message, ToolDefinition
from turnkeep.formats import get_profile
from turnkeep.stores.memory import MemoryStore
from turnkeep.transfer import read_file

RESPONSES = {
    "object": "response",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"},
        {
            "type": "function_call",
            "id": "fc_1",
            "status": "completed",
            "call_id": "c1",
            "name": "run",
            "arguments": "{}",
        },
    ],
    "usage": {"input_tokens": 9, "output_tokens": 3},
}
CALL = {"functionCall": {"id": "c1", "name": "run", "args": {}}, "thoughtSignature": "c2ln"}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [CALL]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3},
}
BOTH = [
    pytest.param("openai-responses", RESPONSES, RESPONSES["output"], id="openai-responses"),
    pytest.param("gemini", GEMINI, [GEMINI["candidates"][0]["content"]], id="gemini"),
]


def sent(request, name):
    body = request.to_gemini() if name == "gemini" else request.to_openai_responses()
    assert get_profile(name).check(body) == []
    return body["contents" if name == "gemini" else "input"]


@pytest.mark.parametrize(("name", "response", "said"), BOTH)
async def test_an_answer_goes_back_after_it_was_kept(name, response, said):
    """Through a store, byte for byte; each request begins with the one before."""
    tools = [ToolDefinition(name="run")]
    async with Keeper(store=MemoryStore()) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
            first = sent(await turn.request(tools=tools), name)
            step = await turn.add_response(response)
            await turn.add_result(step.tool_calls[0], "ok")
        async with keep.turn("s") as turn:
            again = sent(await turn.request(tools=tools), name)
    assert json.dumps(again[: len(first) + len(said)]) == json.dumps([*first, *said])
    assert step.event.usage.input_tokens == 9


@pytest.mark.parametrize(("name", "response", "said"), BOTH)
def test_a_request_body_in_a_file_is_a_session(name, response, said, tmp_path):
    """Its format is told by its content, and its items are those of the request."""
    asked = Message(role="user", content="Hi")
    profile = get_profile(name)
    items = [asked, *profile.parse_response(response).items]
    path = tmp_path / "request.json"
    path.write_text(json.dumps(profile.payload(messages=profile.render(items))), encoding="utf-8")
    [session] = read_file(str(path))
    assert [item for event in session.events for item in event.content] == items
