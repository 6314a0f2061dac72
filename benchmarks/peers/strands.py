"""strands-agents: its conversation managers and its ContextManager, on an agent that is not run.

As documented (strandsagents.com, "Conversation management"): managers edit `agent.messages` in
place and what they removed is gone; SlidingWindow is applied after each turn of a user, before
each call with `per_turn`, and at a share of the window with `proactive_compression`. The agent is
a real one with its hooks; messages are appended and `BeforeModelCallEvent` is fired as its event
loop does it. Nothing here refuses a request that is too long, so what only reacts to a refusal
(SummarizingConversationManager by default, the emergency truncation) does nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import (
    SlidingWindowConversationManager,
    SummarizingConversationManager,
)
from strands.event_loop.event_loop import _estimate_input_tokens
from strands.hooks import BeforeModelCallEvent
from strands.models.model import Model
from strands.tools.tools import PythonAgentTool

from peers.base import Count, Desk, Peer, Session, assistant_items, inputs_of, results_of
from turnkeep.content import Item, Message, message_text, result_text
from turnkeep.formats.profile import SYSTEM_WRAPPER
from turnkeep.repair.steps import Step

DEFAULT_WINDOW = 200_000
"""What strands takes where a model does not say its window."""

_FRAME = re.compile(r"\s*(</?content>|Please summarize this conversation\.|-*\s*\[\w+\])\s*")
"""What frames the messages to summarize: delimiters, roles, and the request itself."""

# It warns at each call at which it finds nothing to do.
logging.getLogger("strands").setLevel(logging.ERROR)


def text_of(block: Any) -> str:
    """Give the text of a content block for the summarizer."""
    if "toolResult" in block:
        return "\n".join(part.get("text", "") for part in block["toolResult"]["content"])
    if "toolUse" in block:
        return f"{block['toolUse']['name']} {block['toolUse']['input']}"
    return str(block.get("text", ""))


class FakeModel(Model):
    """Says its window, counts by strands' own way, and answers with an extract."""

    def __init__(self, desk: Desk, window: int) -> None:
        self.desk = desk
        self.config = {"context_window_limit": window, "model_id": "extractive-fake"}

    def update_config(self, **model_config: Any) -> None:
        self.config.update(model_config)

    def get_config(self) -> Any:
        return self.config

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        # Abstract in strands, and asked for by none of its managers: to be seen if it ever is.
        raise NotImplementedError("no manager of strands asks for structured output")

    async def stream(self, messages: Any, *_: Any, **named: Any) -> AsyncIterator[Any]:  # type: ignore[override]  # of its many parameters two are read
        texts = [text_of(block) for message in messages for block in message["content"]]
        covered = [text for text in texts if not _FRAME.fullmatch(text)]
        prompt = "\n".join([named.get("system_prompt") or "", *texts])
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        yield {"contentBlockDelta": {"delta": {"text": self.desk.summarize(covered, prompt)}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("outputs are recorded: no tool is ever run")


class Managed(Session):
    """An agent whose messages are managed in place."""

    def __init__(self, desk: Desk, window: int = DEFAULT_WINDOW, **managers: Any) -> None:
        super().__init__(desk)
        tools = [
            PythonAgentTool(
                tool.name,
                {
                    "name": tool.name,
                    "description": tool.description or tool.name,
                    "inputSchema": {"json": tool.parameters},
                },
                _never,
            )
            for tool in desk.tools
        ]
        made = {name: make() for name, make in managers.items()}
        self.agent = Agent(
            model=FakeModel(desk, window),
            system_prompt=desk.system or None,
            tools=tools,
            callback_handler=None,
            load_tools_from_directory=False,
            **made,
        )
        self.begun = False

    async def put(self, role: Any, content: list[Any]) -> None:
        with self.desk.ledger.meter():
            await self.agent._append_messages({"role": role, "content": content})

    async def add(self, step: Step) -> None:
        texts, calls = assistant_items(step)
        content: list[Any] = [{"text": text} for text in texts]
        content += [
            {
                "toolUse": {
                    "toolUseId": call.tool_call_id,
                    "name": call.name,
                    "input": call.arguments,
                }
            }
            for call in calls
        ]
        if content:
            await self.put("assistant", content)
        results = [
            {
                "toolResult": {
                    "toolUseId": result.tool_call_id,
                    "status": result.status,
                    "content": [{"text": result_text(result)}],
                }
            }
            for result in results_of(step)
        ]
        if results:
            await self.put("user", results)
        inputs = inputs_of(step)
        if inputs and self.begun:
            # The turn of the user before is over: this is when strands applies its manager.
            with self.desk.ledger.meter():
                self.agent.conversation_manager.apply_management(self.agent)
        self.begun = True
        for message in inputs:
            await self.put("user", [{"text": self.user_text(message)}])

    def user_text(self, message: Message) -> str:
        """Write a message as a user's: strands has two roles."""
        text = message_text(message)
        if message.role != "user":
            text = SYSTEM_WRAPPER.format(text)
            self.desk.book.alias("user", text, message)
        return text

    async def request(self) -> Sequence[Any]:
        agent = self.agent
        with self.desk.ledger.meter():
            projected = await _estimate_input_tokens(agent)
            await agent.hooks.invoke_callbacks_async(
                BeforeModelCallEvent(
                    agent=agent, invocation_state={}, projected_input_tokens=projected
                )
            )
        return agent.messages

    def everything(self) -> Sequence[Any]:
        return self.agent.messages

    def items(self, messages: Sequence[Any]) -> list[Item]:
        book = self.desk.book
        found: list[Item] = []
        for message in messages:
            blocks = message["content"]
            if not book.keeps_order:
                # Its formatter for OpenAI writes one message with texts, and calls beside them.
                blocks = sorted(blocks, key=lambda block: "toolUse" in block)
            for block in blocks:
                if "toolUse" in block:
                    use = block["toolUse"]
                    found.append(book.call(use["toolUseId"], use["name"], use["input"]))
                elif "toolResult" in block:
                    result = block["toolResult"]
                    found.append(book.result(result["toolUseId"], text_of(block)))
                else:
                    found.append(book.message(message["role"], block["text"]))
        return found


def peers(limit: int, count: Count) -> list[Peer]:
    """Give strands' managers with their settings; it counts by cl100k_base or by length."""
    sliding, summarizing = SlidingWindowConversationManager, SummarizingConversationManager
    made: list[tuple[str, str, Any]] = [
        (
            "strands sliding, defaults",
            "SlidingWindowConversationManager(): window_size=40 messages, applied after each turn",
            partial(Managed, conversation_manager=sliding),
        ),
        (
            "strands sliding, per call",
            "the same, per_turn=True",
            partial(Managed, conversation_manager=partial(sliding, per_turn=True)),
        ),
        (
            "strands sliding, proactive",
            (
                f"the same, per_turn=True, proactive_compression=True (0.7), context_window_limit "
                f"{limit}"
            ),
            partial(
                Managed,
                window=limit,
                conversation_manager=partial(sliding, per_turn=True, proactive_compression=True),
            ),
        ),
        (
            "strands summary",
            (
                "SummarizingConversationManager(proactive_compression=True (0.7)), "
                "summary_ratio=0.3, preserve_recent_messages=10 (defaults), "
                f"context_window_limit {limit}; without "
                "proactive_compression it only reacts to a refusal"
            ),
            partial(
                Managed,
                window=limit,
                conversation_manager=partial(summarizing, proactive_compression=True),
            ),
        ),
        (
            "strands context, defaults",
            (
                'context_manager="auto": results over 1500 tokens cut to 750, all summarized at '
                f"0.85, context_window_limit {DEFAULT_WINDOW} (default)"
            ),
            partial(Managed, context_manager=lambda: "auto"),
        ),
        (
            "strands context",
            f"the same, context_window_limit {limit}",
            partial(Managed, window=limit, context_manager=lambda: "auto"),
        ),
        (
            "strands agentic",
            (
                'context_manager="agentic": results over 8000 tokens cut to 750, all summarized at '
                f"1.0, context_window_limit {limit}; its tools for the model are not played"
            ),
            partial(Managed, window=limit, context_manager=lambda: "agentic"),
        ),
    ]
    return [Peer(name, settings, start, count) for name, settings, start in made]
