"""LangChain: trim_messages, ClearToolUsesEdit, SummarizationMiddleware.

As documented (docs.langchain.com, "Short-term memory", "Built-in middleware"; docstrings of the
versions run): trim_messages and ContextEditingMiddleware work on a copy at each call and leave the
history alone; SummarizationMiddleware replaces the messages of the state.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    SummarizationMiddleware,
)
from langchain.agents.middleware.types import ModelRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult

from peers.base import (
    MARK,
    SUMMARY_CHARS,
    Count,
    Desk,
    Peer,
    Session,
    assistant_items,
    inputs_of,
    results_of,
)
from turnkeep.content import Item, Message, compact_json, message_text, result_text
from turnkeep.repair.steps import Step

PLACEHOLDER = "Previous conversation was too long to summarize."
ROLES: dict[type[BaseMessage], str] = {
    HumanMessage: "user",
    SystemMessage: "system",
    AIMessage: "assistant",
}


class FakeModel(BaseChatModel):
    """Answers every prompt with an extract of it."""

    desk: Any
    most: int = SUMMARY_CHARS

    @property
    def _llm_type(self) -> str:
        return "extractive-fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = "\n".join(str(message.text) for message in messages)
        marked = re.findall(r"<message type=[^>]*>(.*?)</message>", prompt, re.DOTALL)
        texts = [html.unescape(re.sub(r"<[^>]*>", " ", text)).strip() for text in marked]
        summary = self.desk.summarize(
            texts or [str(message.text) for message in messages[:-1]], prompt, self.most
        )
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=summary))])


def counter(count: Count) -> Callable[[Sequence[BaseMessage]], int]:
    """Count messages by our counter, each once: texts, names, arguments, 4 a message."""
    known: dict[tuple[str | None, str], int] = {}

    def of(message: BaseMessage) -> int:
        key = (message.id, str(message.content))
        if message.id is None or key not in known:
            total = 4 + count(str(message.text))
            for call in getattr(message, "tool_calls", ()):
                total += count(call["name"]) + count(compact_json(call["args"]))
            known[key] = total
        return known[key]

    return lambda messages: sum(map(of, messages))


class LangChain(Session):
    """A history as messages, with ids as LangGraph gives them."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.messages: list[BaseMessage] = []
        self.number = 0
        if self.holds_system and desk.leading:
            # One message, as agents have it: trim_messages and langmem keep only the very first.
            self.messages.append(SystemMessage(content=desk.system, id=self.name()))

    def name(self) -> str:
        self.number += 1
        return f"m{self.number}"

    def inputs(self, found: Sequence[Message]) -> None:
        for message in found:
            kind = HumanMessage if message.role == "user" else SystemMessage
            self.messages.append(kind(content=message_text(message), id=self.name()))

    async def add(self, step: Step) -> None:
        texts, calls = assistant_items(step)
        if texts or calls:
            content: Any = [{"type": "text", "text": text} for text in texts]
            self.messages.append(
                AIMessage(
                    content=texts[0] if len(texts) == 1 else content or "",
                    id=self.name(),
                    tool_calls=[
                        {
                            "name": call.name,
                            "args": call.arguments,
                            "id": call.tool_call_id,
                            "type": "tool_call",
                        }
                        for call in calls
                    ],
                )
            )
        for result in results_of(step):
            self.messages.append(
                ToolMessage(
                    content=result_text(result),
                    tool_call_id=result.tool_call_id,
                    name=result.name,
                    status=result.status,
                    id=self.name(),
                )
            )
        self.inputs(inputs_of(step))

    def everything(self) -> Sequence[BaseMessage]:
        return self.messages

    def items(self, messages: Sequence[BaseMessage]) -> list[Item]:
        book = self.desk.book
        found: list[Item] = []
        for message in messages:
            if isinstance(message, ToolMessage):
                found.append(book.result(message.tool_call_id, str(message.text)))
                continue
            content = message.content
            texts = [content] if isinstance(content, str) else [part["text"] for part in content]
            role = ROLES[type(message)]
            if role == "system" and texts == [self.desk.system]:
                found += self.desk.leading
                continue
            # An empty text beside calls is how LangChain says that there is none.
            calls = getattr(message, "tool_calls", [])
            found += [book.message(role, text) for text in texts if text or not calls]
            found += [book.call(call["id"], call["name"], call["args"]) for call in calls]
        return found


class Trim(LangChain):
    """trim_messages over the whole history at each call."""

    holds_system = True

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        self.settings = settings

    async def request(self) -> Sequence[BaseMessage]:
        with self.desk.ledger.meter():
            return trim_messages(self.messages, **self.settings)


class Clear(LangChain):
    """ContextEditingMiddleware with one ClearToolUsesEdit, on a copy at each call."""

    def __init__(self, desk: Desk, token_counter: Any = None, **settings: Any) -> None:
        super().__init__(desk)
        self.model = FakeModel(desk=desk)
        self.middleware: Any = ContextEditingMiddleware(
            edits=[ClearToolUsesEdit(**settings)], token_counter=token_counter
        )

    async def request(self) -> Sequence[BaseMessage]:
        system = SystemMessage(self.desk.system) if self.desk.leading else None
        asked: Any = ModelRequest(
            model=self.model, messages=list(self.messages), system_message=system
        )
        with self.desk.ledger.meter():
            return self.middleware.wrap_model_call(asked, lambda edited: edited.messages)


class Summarize(LangChain):
    """SummarizationMiddleware, whose answer replaces the state's messages."""

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        self.middleware: Any = SummarizationMiddleware(FakeModel(desk=desk), **settings)

    async def request(self) -> Sequence[BaseMessage]:
        with self.desk.ledger.meter():
            update = self.middleware.before_model({"messages": self.messages}, None)
        if update is not None:
            # The first one tells LangGraph to remove all messages of the state.
            self.messages = list(update["messages"][1:])
            # An extract may quote an earlier placeholder; then it is not one itself.
            text = str(self.messages[0].content)
            self.desk.ledger.lost += PLACEHOLDER in text and MARK not in text
        return self.messages


def peers(limit: int, count: Count) -> list[Peer]:
    """Give LangChain's ways with their settings."""
    ours = counter(count)
    guide: dict[str, Any] = {
        "strategy": "last",
        "start_on": "human",
        "end_on": ("human", "tool"),
        "include_system": True,
    }
    made: list[tuple[str, str, Any]] = [
        (
            "langchain trim",
            (
                "trim_messages as in the guide: strategy=last, start_on=human, "
                f"end_on=(human, tool), include_system, max_tokens={limit}, counted approximately"
            ),
            partial(Trim, max_tokens=limit, token_counter=count_tokens_approximately, **guide),
        ),
        (
            "langchain trim, o200k",
            "the same, counted by o200k_base",
            partial(Trim, max_tokens=limit, token_counter=ours, **guide),
        ),
        (
            "langchain clear, defaults",
            "ClearToolUsesEdit(): trigger=100000, keep=3, clear_at_least=0, counted approximately",
            Clear,
        ),
        (
            "langchain clear",
            f"ClearToolUsesEdit(trigger={limit}), rest default",
            partial(Clear, trigger=limit),
        ),
        (
            "langchain clear, o200k",
            "the same, counted by o200k_base",
            partial(Clear, trigger=limit, token_counter=ours),
        ),
        (
            "langchain summary, guide",
            (
                "SummarizationMiddleware as in the guide: trigger=4000 tokens, keep=20 messages "
                "(default), trim_tokens_to_summarize=4000 (default); by default it has no trigger"
            ),
            partial(Summarize, trigger=("tokens", 4_000)),
        ),
        (
            "langchain summary",
            f"SummarizationMiddleware(trigger={limit} tokens), rest default",
            partial(Summarize, trigger=("tokens", limit)),
        ),
        (
            "langchain summary, untrimmed",
            "the same, trim_tokens_to_summarize=None",
            partial(Summarize, trigger=("tokens", limit), trim_tokens_to_summarize=None),
        ),
        (
            "langchain summary, tuned",
            (
                f"trigger={limit} tokens, keep={limit // 4} tokens, trim_tokens_to_summarize=None, "
                "counted by o200k_base"
            ),
            partial(
                Summarize,
                trigger=("tokens", limit),
                keep=("tokens", limit // 4),
                trim_tokens_to_summarize=None,
                token_counter=ours,
            ),
        ),
    ]
    return [Peer(name, settings, start, count) for name, settings, start in made]
