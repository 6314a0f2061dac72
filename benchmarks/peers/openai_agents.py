"""openai-agents: ToolOutputTrimmer, a filter of each call's input that stores nothing.

OpenAIResponsesCompactionSession is not run: OpenAI's server does the compaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from agents.extensions import ToolOutputTrimmer
from agents.run_config import CallModelData, ModelInputData

from peers.base import Count, Desk, Peer, Session, assistant_items, inputs_of, results_of
from turnkeep.content import Item, compact_json, message_text, result_text
from turnkeep.repair.steps import Step


class Trimmer(Session):
    """Input items of the Responses API; the filter gets all of them at each call."""

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        self.trimmer = ToolOutputTrimmer(**settings)
        self.input: list[Any] = []

    async def add(self, step: Step) -> None:
        texts, calls = assistant_items(step)
        self.input += [{"role": "assistant", "content": text} for text in texts]
        self.input += [
            {
                "type": "function_call",
                "call_id": call.tool_call_id,
                "name": call.name,
                "arguments": compact_json(call.arguments),
            }
            for call in calls
        ]
        self.input += [
            {
                "type": "function_call_output",
                "call_id": result.tool_call_id,
                "output": result_text(result),
            }
            for result in results_of(step)
        ]
        self.input += [
            {"role": message.role, "content": message_text(message)} for message in inputs_of(step)
        ]

    async def request(self) -> Sequence[Any]:
        agent: Any = None
        instructions = self.desk.system or None
        given: Any = CallModelData(
            model_data=ModelInputData(input=list(self.input), instructions=instructions),
            agent=agent,
            context=None,
        )
        with self.desk.ledger.meter():
            return self.trimmer(given).input

    def everything(self) -> Sequence[Any]:
        return self.input

    def items(self, messages: Sequence[Any]) -> list[Item]:
        book = self.desk.book
        found: list[Item] = []
        for message in messages:
            kind = message.get("type")
            if kind == "function_call":
                call = book.said(message["call_id"])
                if message["arguments"] == compact_json(call.arguments):
                    found.append(call)
                else:
                    arguments = json.loads(message["arguments"])
                    found.append(book.call(message["call_id"], message["name"], arguments))
            elif kind == "function_call_output":
                found.append(book.result(message["call_id"], message["output"]))
            else:
                found.append(book.message(message["role"], message["content"]))
        return found


def peers(limit: int, count: Count) -> list[Peer]:
    """Give the trimmer with its settings; it knows no budget of tokens."""
    del limit
    made: list[tuple[str, str, Any]] = [
        (
            "openai-agents trimmer",
            (
                "ToolOutputTrimmer(): recent_turns=2, max_output_chars=500, preview_chars=200, all "
                "defaults; it has no budget to set"
            ),
            Trimmer,
        ),
        (
            "openai-agents trimmer, 1 turn",
            "the same, recent_turns=1 (the least)",
            partial(Trimmer, recent_turns=1),
        ),
    ]
    return [Peer(name, settings, start, count) for name, settings, start in made]
