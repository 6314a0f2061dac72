"""Google ADK: ContextFilterPlugin and the compaction of events.

The plugin edits the contents of each request and stores nothing; its default
(`num_invocations_to_keep=None`) filters nothing. Compaction by a token threshold appends an event
with a summary to the session, before a call and after each turn; contents are assembled from the
events at each call. Neither has default numbers, so they are ours.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.apps._configs import EventsCompactionConfig
from google.adk.apps.compaction import _run_compaction_for_token_threshold_config
from google.adk.apps.llm_event_summarizer import LlmEventSummarizer
from google.adk.events.event import Event
from google.adk.flows.llm_flows.context._contents import _get_contents
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.context_filter_plugin import ContextFilterPlugin
from google.adk.sessions.session import Session as EventSession
from google.genai import types

from peers.base import Count, Desk, Peer, Session, assistant_items, inputs_of, results_of
from turnkeep.content import Item, Message, message_text, result_text
from turnkeep.formats.profile import SYSTEM_WRAPPER
from turnkeep.repair.steps import Step

# Compaction warns that it is experimental each time it is configured.
warnings.filterwarnings("ignore", message=r"\[EXPERIMENTAL\]")

AGENT = "agent"
_ENTRY = re.compile(
    r"^(?=(?:user|agent|Tool response from [^\n:]*):|agent called tool:)", re.MULTILINE
)


class Contents(Session):
    """Contents as ADK assembles them from its events; results of parallel calls are one."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.contents: list[Any] = []

    async def add(self, step: Step) -> None:
        texts, calls = assistant_items(step)
        parts = [types.Part(text=text) for text in texts]
        parts += [
            types.Part(
                function_call=types.FunctionCall(
                    id=call.tool_call_id, name=call.name, args=call.arguments
                )
            )
            for call in calls
        ]
        if parts:
            self.contents.append(types.Content(role="model", parts=parts))
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=result.tool_call_id,
                    name=result.name,
                    response={"result": result_text(result)},
                )
            )
            for result in results_of(step)
        ]
        if results:
            self.contents.append(types.Content(role="user", parts=results))
        for message in inputs_of(step):
            self.contents.append(
                types.Content(role="user", parts=[types.Part(text=self.user_text(message))])
            )

    def user_text(self, message: Message) -> str:
        """Write a message as a user's, which is all that contents know beside the model's."""
        text = message_text(message)
        if message.role != "user":
            text = SYSTEM_WRAPPER.format(text)
            self.desk.book.alias("user", text, message)
        return text

    def everything(self) -> Sequence[Any]:
        return self.contents

    def items(self, messages: Sequence[Any]) -> list[Item]:
        book = self.desk.book
        found: list[Item] = []
        for content in messages:
            role = "assistant" if content.role == "model" else "user"
            for part in content.parts or ():
                if part.function_call:
                    call = part.function_call
                    found.append(book.call(call.id, call.name, call.args))
                elif part.function_response:
                    response = part.function_response
                    found.append(book.result(response.id, response.response["result"]))
                else:
                    found.append(book.message(role, part.text))
        return found


class Filter(Contents):
    """ContextFilterPlugin over all contents at each call."""

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        self.plugin = ContextFilterPlugin(**settings)

    async def request(self) -> Sequence[Any]:
        asked = LlmRequest(contents=list(self.contents))
        context: Any = None
        with self.desk.ledger.meter():
            await self.plugin.before_model_callback(callback_context=context, llm_request=asked)
        return asked.contents


class FakeLlm(BaseLlm):
    """Answers with an extract of the history that the prompt holds, one text a line of it."""

    desk: Any

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        del stream
        prompt = llm_request.contents[0].parts[0].text
        texts = _ENTRY.split(prompt.partition("\n\n")[2])
        part = types.Part(text=self.desk.summarize([text for text in texts if text], prompt))
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


class Append:
    """The part of a session service that compaction uses."""

    async def append_event(self, session: EventSession, event: Event) -> None:
        session.events.append(event)


class Compact(Contents):
    """Events of a session, compacted before a call as ADK's request processor does it."""

    def __init__(self, desk: Desk, **settings: Any) -> None:
        super().__init__(desk)
        summarizer = LlmEventSummarizer(llm=FakeLlm(model="extractive-fake", desk=desk))
        self.config = EventsCompactionConfig(summarizer=summarizer, **settings)
        self.session = EventSession(id="s", app_name="a", user_id="u")
        self.agent = LlmAgent(name=AGENT)
        self.service: Any = Append()
        self.turn = self.clock = 0

    async def add(self, step: Step) -> None:
        known = len(self.contents)
        await super().add(step)
        self.turn += bool(inputs_of(step))
        for content in self.contents[known:]:
            self.clock += 1
            spoken = content.role == "user" and not content.parts[0].function_response
            self.session.events.append(
                Event(
                    author="user" if spoken else AGENT,
                    content=content,
                    invocation_id=f"turn{self.turn}",
                    timestamp=float(self.clock),
                )
            )

    async def request(self) -> Sequence[Any]:
        with self.desk.ledger.meter():
            await _run_compaction_for_token_threshold_config(
                config=self.config,
                session=self.session,
                session_service=self.service,
                agent=self.agent,
                agent_name=AGENT,
            )
            return _get_contents(None, self.session.events, AGENT, preserve_function_call_ids=True)


def peers(limit: int, count: Count) -> list[Peer]:
    """Give both with their settings; the filter counts turns of users, not tokens."""
    made = [
        (f"adk filter, {keep}", f"ContextFilterPlugin(num_invocations_to_keep={keep})", keep, 1)
        for keep in (1, 3)
    ]
    made.append(
        (
            "adk filter, 1 + 4",
            "ContextFilterPlugin(num_invocations_to_keep=1, remove_amount=4)",
            1,
            4,
        )
    )
    compaction = Peer(
        "adk compaction",
        f"EventsCompactionConfig(token_threshold={limit}, event_retention_size=20), counted as "
        "length/4",
        partial(Compact, token_threshold=limit, event_retention_size=20),
        count,
    )
    filters = [
        Peer(
            name, settings, partial(Filter, num_invocations_to_keep=keep, remove_amount=more), count
        )
        for name, settings, keep, more in made
    ]
    return [*filters, compaction]
