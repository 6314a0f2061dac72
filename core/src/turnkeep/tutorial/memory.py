"""The tutorial's functions about a request's size."""

from __future__ import annotations

import json
from functools import cache

from turnkeep.agent.llm import LlmRequest
from turnkeep.errors import ConfigError, PluginError
from turnkeep.tokens.counter import TokenCounter, counter_for
from turnkeep.tutorial.llm import build_messages

__all__ = ["count_tokens"]

PER_MESSAGE = 4


def count_tokens(request: LlmRequest, model_id: str = "gpt-4") -> int:
    """Count a request as the tutorial does, with tiktoken's vocabulary for the model.

    4 for each message, and the tokens of its text, of its calls' names and arguments (as JSON), and
    of each tool's definition (as JSON). Pictures count nothing; `turnkeep tokens` counts as
    providers do. Raises ConfigError, with the line that installs it, where tiktoken's plugin is
    missing.
    """
    texts: list[str] = []
    messages = build_messages(request)
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            texts += [part["text"] for part in content if isinstance(part.get("text"), str)]
        for call in message.get("tool_calls") or ():
            function = call.get("function", {})
            texts += [function.get("name") or "", function.get("arguments") or ""]
    texts += [json.dumps(tool.tool_definition) for tool in request.tools]
    counts = counter_for(_tiktoken(), model_id).count_texts([text for text in texts if text])
    return PER_MESSAGE * len(messages) + sum(counts)


@cache
def _tiktoken() -> TokenCounter:
    """Open tiktoken's counter through discovery, once in a process."""
    import asyncio
    import logging
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from turnkeep.hookspecs import Env
    from turnkeep.plugins import Plugins

    try:
        spec = Plugins(warn=False).counter("tiktoken")
    except (ConfigError, PluginError) as error:
        raise type(error)(f"count_tokens counts with tiktoken: {error}") from error
    env = Env(data_dir=Path(), logger=logging.getLogger("turnkeep"))

    async def opened() -> TokenCounter:
        async with spec.open(spec.options(), env) as counter:
            return counter  # it holds nothing that closing would let go of

    # A loop may be running here; opening wants one of its own.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, opened()).result()
