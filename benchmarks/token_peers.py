"""How other frameworks count tokens, behind one call; each imports what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from turnkeep.content import (
    Item,
    Message,
    ToolCall,
    ToolResult,
    compact_json,
    message_text,
    result_text,
)

Chat = list[dict[str, Any]]
Count = Callable[[Chat], int]


def as_chat(items: Sequence[Item]) -> Chat:
    """Write items as OpenAI chat messages, each call a message of its own."""
    messages: Chat = []
    for item in items:
        if isinstance(item, Message):
            messages.append({"role": item.role, "content": message_text(item)})
        elif isinstance(item, ToolCall):
            function = {"name": item.name, "arguments": compact_json(item.arguments)}
            call = {"id": item.tool_call_id, "type": "function", "function": function}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif isinstance(item, ToolResult):
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": item.tool_call_id,
                    "name": item.name,
                    "content": result_text(item),
                }
            )
    return messages


def langchain() -> Count:
    """langchain-core: `count_tokens_approximately`."""
    from langchain_core.messages import convert_to_messages
    from langchain_core.messages.utils import count_tokens_approximately

    return lambda messages: int(count_tokens_approximately(convert_to_messages(messages)))


def litellm() -> Count:
    """litellm: `token_counter` for gpt-4o."""
    import os

    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm import token_counter

    return lambda messages: int(token_counter(model="gpt-4o", messages=messages))


def tutorial() -> Count:
    """The tutorial's formula with tiktoken: 4 a message, contents, names and arguments."""
    from turnkeep_tokens_tiktoken.vocabulary import reference

    encoding = reference("o200k_base")

    def count(messages: Chat) -> int:
        total = 0
        for message in messages:
            total += 4 + len(encoding.encode(message.get("content") or "", disallowed_special=()))
            for call in message.get("tool_calls", ()):
                total += len(encoding.encode(call["function"]["name"]))
                total += len(encoding.encode(call["function"]["arguments"]))
        return total

    return count


def agent_framework() -> Count:
    """agent-framework: characters over four of the serialized messages."""
    from agent_framework import CharacterEstimatorTokenizer  # type: ignore[import-not-found]  # may be absent

    tokenizer = CharacterEstimatorTokenizer()
    return lambda messages: sum(tokenizer.count_tokens(compact_json(each)) for each in messages)


def strands() -> Count:
    """strands: its models' own estimate, tiktoken over the request."""
    import asyncio

    from strands.models.openai import OpenAIModel  # type: ignore[import-not-found]  # may be absent

    model = OpenAIModel(client_args={"api_key": "none"}, model_id="gpt-4o")

    def count(messages: Chat) -> int:
        plain = [
            {
                "role": "assistant" if each["role"] == "assistant" else "user",
                "content": [{"text": str(each.get("content") or compact_json(each))}],
            }
            for each in messages
        ]
        return int(asyncio.run(model.count_tokens(plain)))

    return count


PEERS: dict[str, Callable[[], Count]] = {
    "tutorial formula, tiktoken": tutorial,
    "langchain-core, approximately": langchain,
    "litellm.token_counter": litellm,
    "agent-framework, estimate": agent_framework,
    "strands, count_tokens": strands,
}
