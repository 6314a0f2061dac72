"""Microsoft agent-framework: its compaction strategies.

As documented (learn.microsoft.com, "Compaction"): strategies annotate the messages they are given
(excluded, token counts, groups) and insert summaries; what is not excluded is sent. Here one list
is kept through the whole session, which is the most that its persistence promises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from agent_framework import (
    CharacterEstimatorTokenizer,
    ChatResponse,
    Content,
    ContextWindowCompactionStrategy,
    SlidingWindowStrategy,
    SummarizationStrategy,
    TokenBudgetComposedStrategy,
    ToolResultCompactionStrategy,
    TruncationStrategy,
)
from agent_framework import Message as ChatMessage
from agent_framework._compaction import apply_compaction

from peers.base import Count, Desk, Peer, Session, assistant_items, inputs_of, results_of
from turnkeep.content import Item, compact_json, message_text, result_text
from turnkeep.repair.steps import Step

_ENTRY = re.compile(r"^(?=\d+\. \[)", re.MULTILINE)


class FakeClient:
    """A chat client that answers with an extract of the transcript it is shown."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def get_response(self, messages: Sequence[Any], **_: Any) -> Any:
        prompt = "\n".join(message.text for message in messages)
        texts = [part for part in _ENTRY.split(messages[-1].text) if part]
        return ChatResponse(
            messages=[ChatMessage(role="assistant", contents=[self.desk.summarize(texts, prompt)])]
        )


class Tokens:
    """Our counter as a tokenizer of theirs."""

    def __init__(self, count: Count) -> None:
        self.count = count

    def count_tokens(self, text: str) -> int:
        return self.count(text)


class Compaction(Session):
    """One list of messages, annotated by a strategy at each call."""

    def __init__(self, desk: Desk, make: Any, tokenizer: Any = None) -> None:
        super().__init__(desk)
        self.strategy = make(desk)
        self.tokenizer = tokenizer
        self.messages: list[Any] = []

    def put(self, role: str, contents: list[Any]) -> None:
        self.messages.append(ChatMessage(role=role, contents=contents))

    async def add(self, step: Step) -> None:
        texts, calls = assistant_items(step)
        if texts or calls:
            said = [Content.from_text(text) for text in texts]
            made = [
                Content.from_function_call(
                    call.tool_call_id, call.name, arguments=compact_json(call.arguments)
                )
                for call in calls
            ]
            self.put("assistant", [*said, *made])
        results = results_of(step)
        if results:
            # The results of parallel calls are one message, as its own loop writes them.
            self.put(
                "tool",
                [
                    Content.from_function_result(result.tool_call_id, result=result_text(result))
                    for result in results
                ],
            )
        for message in inputs_of(step):
            self.put(message.role, [Content.from_text(message_text(message))])

    async def request(self) -> Sequence[Any]:
        with self.desk.ledger.meter():
            return await apply_compaction(
                self.messages, strategy=self.strategy, tokenizer=self.tokenizer
            )

    def everything(self) -> Sequence[Any]:
        return self.messages

    def items(self, messages: Sequence[Any]) -> list[Item]:
        book = self.desk.book
        found: list[Item] = []
        for message in messages:
            for part in message.contents:
                if part.type == "function_call":
                    found.append(book.said(part.call_id))
                elif part.type == "function_result":
                    found.append(book.result(part.call_id, part.result or ""))
                else:
                    found.append(book.message(str(message.role), part.text))
        return found


def peers(limit: int, count: Count) -> list[Peer]:
    """Give agent-framework's strategies with their settings."""
    tokens = Tokens(count)

    def composed(desk: Desk, tokenizer: Any) -> Any:
        return TokenBudgetComposedStrategy(
            token_budget=limit,
            tokenizer=tokenizer,
            strategies=[
                ToolResultCompactionStrategy(),
                SummarizationStrategy(client=FakeClient(desk), target_count=4, threshold=2),
                SlidingWindowStrategy(keep_last_groups=20),
            ],
        )

    def window(_: Desk, **settings: Any) -> Any:
        return ContextWindowCompactionStrategy(**settings)

    estimate = CharacterEstimatorTokenizer()
    made: list[tuple[str, str, Any]] = [
        (
            "agent-framework sliding",
            "SlidingWindowStrategy(keep_last_groups=20), as in its docstring",
            partial(Compaction, make=lambda _: SlidingWindowStrategy(keep_last_groups=20)),
        ),
        (
            "agent-framework summary, defaults",
            (
                "SummarizationStrategy: target_count=4, threshold=2, "
                "max_summary_input_tokens=8000, all defaults"
            ),
            partial(Compaction, make=lambda desk: SummarizationStrategy(client=FakeClient(desk))),
        ),
        (
            "agent-framework summary, tuned",
            (
                "SummarizationStrategy(target_count=20, threshold=40, "
                "max_summary_input_tokens=None); it counts messages, not tokens"
            ),
            partial(
                Compaction,
                make=lambda desk: SummarizationStrategy(
                    client=FakeClient(desk),
                    target_count=20,
                    threshold=40,
                    max_summary_input_tokens=None,
                ),
            ),
        ),
        (
            "agent-framework window, docs",
            (
                "ContextWindowCompactionStrategy(max_context_window_tokens=128000, "
                "max_output_tokens=16384), as in its docstring; eviction 0.5, truncation 0.8, "
                "keep_last_tool_call_groups=4, counted as length/4 (defaults)"
            ),
            partial(
                Compaction,
                make=partial(window, max_context_window_tokens=128_000, max_output_tokens=16_384),
            ),
        ),
        (
            "agent-framework window",
            f"the same with an input budget of {limit}",
            partial(
                Compaction,
                make=partial(window, max_context_window_tokens=limit, max_output_tokens=0),
            ),
        ),
        (
            "agent-framework window, tuned",
            f"the same, input budget {limit}, preserve_first_user_group, counted by o200k_base",
            partial(
                Compaction,
                make=partial(
                    window,
                    max_context_window_tokens=limit,
                    max_output_tokens=0,
                    tokenizer=tokens,
                    preserve_first_user_group=True,
                ),
            ),
        ),
        (
            "agent-framework truncation, tuned",
            (
                f"TruncationStrategy(max_n={limit}, compact_to={limit // 4}, "
                "preserve_first_user_group), counted by o200k_base"
            ),
            partial(
                Compaction,
                make=lambda _: TruncationStrategy(
                    max_n=limit,
                    compact_to=limit // 4,
                    tokenizer=tokens,
                    preserve_first_user_group=True,
                ),
                tokenizer=tokens,
            ),
        ),
        (
            "agent-framework composed",
            (
                f"TokenBudgetComposedStrategy(token_budget={limit}): tool results (keep 1, "
                "default), summary (4, 2, defaults), sliding window (20 groups), counted as "
                "length/4"
            ),
            partial(Compaction, make=partial(composed, tokenizer=estimate), tokenizer=estimate),
        ),
        (
            "agent-framework composed, o200k",
            "the same, counted by o200k_base",
            partial(Compaction, make=partial(composed, tokenizer=tokens), tokenizer=tokens),
        ),
    ]
    return [Peer(name, settings, start, count) for name, settings, start in made]
