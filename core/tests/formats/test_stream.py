"""Finished streams become one answer, cut ones a partial one."""

import pytest

from turnkeep import ContentError, Keeper, Message, Reasoning, ToolCall, Usage
from turnkeep.formats.response import read_response
from turnkeep.stores.memory import MemoryStore


def chunk(finish=None, usage=None, **delta):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta or finish else []
    return {"object": "chat.completion.chunk", "choices": choices, "usage": usage}


def piece(index, id=None, name=None, arguments=None):
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


OPENAI = [
    chunk(role="assistant", content=""),
    chunk(content="Let me "),
    chunk(content="see."),
    chunk(tool_calls=[piece(0, "a", "look", "")]),
    chunk(tool_calls=[piece(0, arguments='{"at"')]),
    chunk(tool_calls=[piece(1, "b", "look", "{}")]),
    chunk(tool_calls=[piece(0, arguments=": 1}")]),
    chunk(finish="tool_calls"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 3}),
]
ANTHROPIC = [
    {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Let me "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "see."}},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "a", "name": "look", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"at"'}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}},
    {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "b", "name": "look", "input": {}}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]  # fmt: skip
SAID = [
    Message(role="assistant", content="Let me see."),
    ToolCall(tool_call_id="a", name="look", arguments={"at": 1}),
    ToolCall(tool_call_id="b", name="look"),
]


@pytest.mark.parametrize("stream", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_finished_stream_is_one_answer(stream):
    """Texts and arguments are put together, usage is read."""
    parsed = read_response(stream)
    assert [item for item in parsed.items if not isinstance(item, Reasoning)] == SAID
    assert (parsed.usage.input_tokens, parsed.usage.output_tokens, parsed.partial) == (9, 3, False)
    assert type(parsed.usage) is Usage


def test_thinking_keeps_its_signature():
    """The block is as if it had come in one piece."""
    [thought] = [item for item in read_response(ANTHROPIC).items if isinstance(item, Reasoning)]
    assert thought.data == {"type": "thinking", "thinking": "Hm.", "signature": "sig"}


@pytest.mark.parametrize("stream", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
async def test_a_stream_cut_anywhere_is_kept_as_partial(stream):
    """In the log, with what had come; not in the next request; the turn goes on."""
    async with Keeper(store=MemoryStore()) as keep:
        for cut in range(1, len(stream) - 2):
            async with keep.turn(f"s{cut}") as turn:
                await turn.add(Message(role="user", content="Hi"))
                step = await turn.add_response(stream[:cut])
                assert step.event.partial
                assert step.tool_calls == []
                assert len((await turn.request()).to_openai_chat()["messages"]) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        [{"type": "content_block_delta", "index": 0, "delta": {}}],
        [{"type": "content_block_start", "content_block": {}}],
        [{"object": "chat.completion.chunk", "choices": [{"delta": {"content": 3}}]}],
        [{"object": "chat.completion.chunk", "choices": 3}],
        [{}],
        [[]],
    ],
)
def test_pieces_that_do_not_fit_are_refused(pieces):
    """With ContentError, whatever they are."""
    with pytest.raises(ContentError):
        read_response(pieces)
